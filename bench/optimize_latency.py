"""The part of bench/optimize.py that compares latencies in onnxruntime."""

import hashlib
import json
import os
import pathlib
import time

from latency_ort import ratio_interval
from optimize_tools import FLAGS, PEERS, digest, feeds, name_of, ours, session

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


def fitting_feeds(source):
    """Images of a size that is worth measuring where the model leaves it open and runs on it; None: it does not run."""
    for open_extent in (64, 2):
        try:
            runs = session(source)
            inputs = feeds(source, runs, open_extent)
            if inputs is not None:
                runs.run(None, fit(runs, inputs))
                return inputs
        except Exception:
            pass
    return None


class Comparisons:
    """Those of earlier runs too, where `path` keeps them: a run goes on where the one before ended."""

    def __init__(self, arguments):
        self.path = pathlib.Path(arguments.results) if arguments.results else None
        self.known = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}
        if arguments.again:
            self.known = {k: v for k, v in self.known.items() if v[1] <= BOUND}
        self.deadline = time.monotonic() + arguments.seconds if arguments.seconds else None

    def keep(self, key, cell):
        self.known[key] = cell
        if self.path:
            self.path.write_text(json.dumps(self.known, indent=1))

    def is_late(self):
        return self.deadline is not None and time.monotonic() > self.deadline


def measure(source, targets, others, keys, scratch, peers, comparisons):
    """What is not known of a model yet, until time is up; `keys` by level and other."""
    missing = {other for (_, other), key in keys.items() if key not in comparisons.known}
    if not missing or comparisons.is_late():
        return
    inputs = fitting_feeds(source)
    files = {o: source if o == "original" else peers.make(o, source) for o in others if o in missing} if inputs is not None else {}
    graphs = {}
    for label, path in [*files.items(), *targets.items()]:
        try:
            graphs[label] = path and runtime_graph(path, scratch)
        except Exception:  # no such file, or its data lies elsewhere
            graphs[label] = None
    for (level, other), key in keys.items():
        if key in comparisons.known or comparisons.is_late():
            continue
        try:
            cell = compared(targets[level], files[other], inputs, (graphs[level], graphs[other])) if files.get(other) else ("-", 0)
        except Exception:
            cell = "-", 0
        comparisons.keep(key, cell)
    for path in files.values():
        if path and path != source:
            os.remove(path)


def latency(arguments, scratch, peers):
    missed, left = [], 0
    comparisons = Comparisons(arguments)
    others = [o for o in ("original", *PEERS["basic"], *PEERS["extended"]) if not arguments.against or o in arguments.against.split(",")]
    print("= : onnxruntime makes the same graph of both; - : one of them does not run; ? : not measured yet\n")
    print("| model | level | " + " | ".join(f"over {o}" for o in others) + " |\n" + "|---" * (len(others) + 2) + "|")
    for source in arguments.models:
        name, targets, keys = name_of(source), {}, {}
        for level in FLAGS:
            target = str(scratch / f"{level}.onnx")
            if ours(arguments.onnxtool, ["--verify", "off", *FLAGS[level]], source, target)["nodes"] is None:
                missed.append(f"{name}, {level}: fails")
                continue
            targets[level] = target
            keys |= {(level, o): f"{name} {level} over {o} {digest(source)} {digest(target)}" for o in others}
        measure(source, targets, others, keys, scratch, peers, comparisons)
        for level in targets:
            cells = {o: comparisons.known.get(keys[level, o], ("?", 0)) for o in others}
            left += sum(cell == "?" for cell, _ in cells.values())
            missed += [f"{name}, {level}, over {o}: {cell}" for o, (cell, high) in cells.items() if high > BOUND]
            print(f"| {name} | {level} | " + " | ".join(cell for cell, _ in cells.values()) + " |", flush=True)
    if left:
        print(f"\n{left} comparisons are left: run it again with the same --results")
    return missed
