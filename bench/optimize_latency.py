"""The part of bench/optimize.py that compares latencies in onnxruntime."""

import hashlib
import os
import time

from latency_ort import ratio_interval
from optimize_tools import FLAGS, PEERS, feeds, name_of, ours, session

BOUND = 1.03  # of the interval's upper end
ROUND_SECONDS = 0.004
ROUNDS = 20
# Where a session's buffers lie can cost a small model 5 % for as long as it lives: each batch of rounds has new ones.
BATCHES = 10
MOST_SECONDS = 12  # of one comparison, in the model of ours


def one_round(s, inputs, runs):
    # CPU time: what else the machine does counts for little, and one thread does all the work.
    start = time.thread_time()
    for _ in range(runs):
        s.run(None, inputs)
    return time.thread_time() - start


def fit(s, inputs):
    return {k: v for k, v in inputs.items() if k in {i.name for i in s.get_inputs()}}


def batch(a, b, inputs, times_a, times_b):
    ours_in, other_in = fit(a, inputs), fit(b, inputs)
    once = one_round(a, ours_in, 1)
    one_round(b, other_in, 1)
    for s, i in ((a, ours_in), (b, other_in)) if once < 0.1 else ():
        one_round(s, i, 5)
    runs = max(1, round(ROUND_SECONDS / max(one_round(a, ours_in, 2) / 2, 1e-6))) if once < 0.1 else 1
    rounds = ROUNDS if once < 0.02 else ROUNDS // 4
    for turn in range(rounds):
        turns = ((a, ours_in, times_a), (b, other_in, times_b))
        for s, i, times in turns if turn % 2 else turns[::-1]:
            times.append(one_round(s, i, runs))


def ratio(target, other, inputs):
    """Median and interval of the ratios; more sessions where the interval does not settle it."""
    times_a, times_b = [], []
    for done in range(BATCHES):
        pair = [session(path) for path in ((target, other) if done % 2 else (other, target))]
        batch(*(pair if done % 2 else pair[::-1]), inputs, times_a, times_b)
        del pair
        middle, low, high = ratio_interval(times_a, times_b)
        if done and len(times_a) >= 10 and (high <= BOUND or sum(times_a) > MOST_SECONDS):
            break
    return middle, low, high


def runtime_graph(path, scratch):
    """A digest of what onnxruntime makes of the file at its highest level, whatever its values are called; None: it has subgraphs."""
    import onnx

    saved = str(scratch / "runtime.onnx")
    session(path, save=saved)
    graph = onnx.load(saved).graph
    os.remove(saved)
    known = {i.name: f"input {i.name}" for i in graph.input}
    for tensor in graph.initializer:
        content = hashlib.sha1(onnx.numpy_helper.to_array(tensor).tobytes()).hexdigest()
        known[tensor.name] = f"{tensor.data_type} {list(tensor.dims)} {content}"
    everything = []
    for node in graph.node:
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            return None
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
        inputs = [known.get(i, "") for i in node.input]
        everything.append(hashlib.sha1(repr((node.op_type, node.domain, attributes, inputs)).encode()).hexdigest())
        known |= {o: f"{everything[-1]} {k}" for k, o in enumerate(node.output)}
    return sorted(everything), [known[o.name] for o in graph.output]


def compared(target, other, inputs, graphs):
    """A cell of the table, and the interval's upper end."""
    if graphs[0] and graphs[0] == graphs[1]:
        return "=", 1
    middle, low, high = ratio(target, other, inputs)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]", high


def latency(arguments, scratch, peers):
    missed = []
    others = [o for o in ("original", *PEERS["basic"], *PEERS["extended"]) if not arguments.against or o in arguments.against.split(",")]
    print("= : onnxruntime makes the same graph of both\n")
    print("| model | level | " + " | ".join(f"over {o}" for o in others) + " |\n" + "|---" * (len(others) + 2) + "|")
    for source in arguments.models:
        name = name_of(source)
        try:
            inputs = feeds(source, session(source))
        except Exception:
            continue
        if inputs is None:
            continue
        files = {o: source if o == "original" else peers.make(o, source) for o in others}
        graphs = {}
        for other, path in files.items():
            try:
                graphs[other] = path and runtime_graph(path, scratch)
            except Exception:  # no such file, or its data lies elsewhere
                graphs[other] = None
        for level in FLAGS:
            target = str(scratch / f"{level}.onnx")
            if ours(arguments.onnxtool, ["--verify", "off", *FLAGS[level]], source, target)["nodes"] is None:
                continue
            mine, cells = runtime_graph(target, scratch), []
            for other, path in files.items():
                try:
                    cell, high = compared(target, path, inputs, (mine, graphs[other])) if path else ("-", 0)
                except Exception:
                    cell, high = "-", 0
                cells.append(cell)
                if high > BOUND:
                    missed.append(f"{name}, {level}, over {other}: {cell}")
            print(f"| {name} | {level} | " + " | ".join(cells) + " |", flush=True)
        for path in files.values():
            if path and path != source:
                os.remove(path)
    return missed
