"""The part of bench/optimize.py that compares latencies in onnxruntime."""

import time

from latency_ort import ratio_interval
from optimize_tools import FLAGS, PEERS, feeds, name_of, ours, session

BOUND = 1.03  # of the interval's upper end
ROUND_SECONDS = 0.004


def one_round(s, inputs, runs):
    # CPU time: what else the machine does counts for little, and one thread does all the work.
    start = time.thread_time()
    for _ in range(runs):
        s.run(None, inputs)
    return time.thread_time() - start


def ratio(a, b, inputs, slow):
    """Of sessions run in turns; more rounds where the interval does not settle it."""
    fit = lambda s: {k: v for k, v in inputs.items() if k in {i.name for i in s.get_inputs()}}
    ours_in, other_in = fit(a), fit(b)
    for s, i in ((a, ours_in), (b, other_in)):
        one_round(s, i, 1 if slow else 5)
    runs = max(1, round(ROUND_SECONDS / max(one_round(a, ours_in, 2) / 2, 1e-6)))
    times_a, times_b = [], []
    for limit in (10, 40, 160):
        while len(times_a) < limit:
            turns = ((a, ours_in, times_a), (b, other_in, times_b))
            for s, i, times in turns if len(times_a) % 2 else turns[::-1]:
                times.append(one_round(s, i, runs))
        middle, low, high = ratio_interval(times_a, times_b)
        if high <= BOUND or low > BOUND or sum(times_a) > 4:
            break
    return middle, low, high


def latency(arguments, scratch, peers):
    missed = []
    others = [o for o in ("original", *PEERS["basic"], *PEERS["extended"]) if not arguments.against or o in arguments.against.split(",")]
    print("| model | level | " + " | ".join(f"over {o}" for o in others) + " |\n" + "|---" * (len(others) + 2) + "|")
    for source in arguments.models:
        name, files = name_of(source), {"original": source}
        for tool in others:
            if tool != "original":
                files[tool] = peers.make(tool, source)
        loaded = {}
        for other, path in files.items():
            try:
                loaded[other] = session(path) if path else None
            except Exception:
                loaded[other] = None
        if loaded["original"] is None or (inputs := feeds(source, loaded["original"])) is None:
            continue
        for level in FLAGS:
            target = str(scratch / f"{level}.onnx")
            if ours(arguments.onnxtool, ["--verify", "off", *FLAGS[level]], source, target)["nodes"] is None:
                continue
            cells, mine = [], None
            for other in others:
                try:
                    mine = mine or session(target)
                    start = time.thread_time()
                    loaded[other].run(None, {k: v for k, v in inputs.items() if k in {i.name for i in loaded[other].get_inputs()}})
                    middle, low, high = ratio(mine, loaded[other], inputs, time.thread_time() - start > 0.1)
                except Exception:
                    cells.append("-")
                    continue
                cells.append(f"{middle:.2f} [{low:.2f}, {high:.2f}]")
                if high > BOUND:
                    missed.append(f"{name}, {level}, over {other}: {cells[-1]}")
            print(f"| {name} | {level} | " + " | ".join(cells) + " |", flush=True)
        for path in files.values():
            if path and path != source:
                __import__("os").remove(path)
    return missed
