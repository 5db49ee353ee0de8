"""Nodes and seconds of `onnxtool optimize` beside the peers, and whether ONNX Runtime gets the same results.

usage: bench/optimize.py [--onnxtool PATH] [--level basic|extended] [--flags "..."] [--latency] [--json FILE]
                         [--peers FILE] MODEL...

Each tool runs in a process of its own with a time limit. Nodes are counted with subgraphs; a model that stands
beside test_data_set_0/ is compared on those inputs, any other on seeded ones. At level extended the target is onnxruntime's
CPU provider and the peer its own extended level. "ORT of ours" is what onnxruntime at its extended level makes of our
result, and of the original in brackets: more nodes of ours would be fusions that it finds no longer. --latency runs both
in onnxruntime in turns, and gives ours over the original with its 95 % interval. --peers keeps the peers' figures in a
file and takes from it what was measured before. Exits with 1 where a result of
onnxtool does not load, differs, or has more nodes than the best peer's.
"""

import argparse
import json
import os
import pathlib
import resource
import shlex
import subprocess
import sys
import tempfile
import time

PEERS = {"basic": ["ort_basic", "onnxsim", "onnxslim", "onnxoptimizer"], "extended": ["ort_extended"]}
LIMIT_SECONDS = 300
# ONNX Runtime without optimization against itself on another graph: float noise, and float16 where a model has it.
TOLERANCE = 2e-3


def count_nodes(graph):
    total = len(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            total += sum(count_nodes(g) for g in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs))
    return total


def nodes_of(path):
    import onnx

    return count_nodes(onnx.load(path, load_external_data=False).graph)


def run_peer(tool, source, target):
    """In a process of its own: prints a line of JSON."""
    import onnx

    if tool.startswith("ort_"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, "ORT_ENABLE_" + tool[4:].upper())
        options.optimized_model_filepath = target
        work = lambda: onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    elif tool == "onnxsim":
        import onnxsim

        work = lambda: onnx.save(onnxsim.simplify(onnx.load(source))[0], target)
    elif tool == "onnxslim":
        import onnxslim

        work = lambda: onnx.save(onnxslim.slim(source), target)
    else:
        import onnxoptimizer

        work = lambda: onnx.save(onnxoptimizer.optimize(onnx.load(source), onnxoptimizer.get_fuse_and_elimination_passes()), target)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "nodes": nodes_of(target), "bytes": os.path.getsize(target)}))


def peer(tool, source, target):
    command = [sys.executable, __file__, "--peer", tool, source, target]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        return {"nodes": None}


class Peers:
    """The peers' figures; those of files that did not change since are taken from `path`, where one is given."""

    def __init__(self, path):
        self.path = pathlib.Path(path) if path else None
        self.known = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}

    def run(self, tool, source, target):
        key = f"{tool} {os.path.realpath(source)} {os.path.getsize(source)} {int(os.path.getmtime(source))}"
        if key not in self.known:
            self.known[key] = peer(tool, source, target)
            if self.path:
                self.path.write_text(json.dumps(self.known, indent=1))
        return self.known[key]


def ours(binary, flags, source, target):
    start = time.perf_counter()
    done = subprocess.run([binary, "optimize", source, "-o", target, "--json", *flags], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    if done.returncode:
        return {"nodes": None, "error": done.stderr.strip().splitlines()[-2:]}
    report = json.loads(done.stdout)
    return {"seconds": seconds, "peak_mb": peak, "nodes": nodes_of(target), "bytes": os.path.getsize(target),
            "verified": report["verification"]["result"]}


def feeds(source, session):
    import numpy
    import onnx

    stored = pathlib.Path(source).parent / "test_data_set_0"
    if stored.is_dir():
        model = onnx.load(source, load_external_data=False)
        constants = {i.name for i in model.graph.initializer}
        names = [i.name for i in model.graph.input if i.name not in constants]
        out = {}
        for position, name in enumerate(names):
            tensor = onnx.TensorProto()
            file = stored / f"input_{position}.pb"
            if not file.exists():
                return None
            tensor.ParseFromString(file.read_bytes())
            out[name] = onnx.numpy_helper.to_array(tensor)
        return out
    random = numpy.random.default_rng(0)
    out = {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) else 2 for d in i.shape]
        if "float" in i.type:
            out[i.name] = random.standard_normal(shape).astype(numpy.float16 if "16" in i.type else numpy.float32)
        elif "int" in i.type:
            out[i.name] = random.integers(0, 2, shape).astype(numpy.int64 if "64" in i.type else numpy.int32)
        else:
            return None
    return out


def compare(source, target):
    """Of the results in ONNX Runtime without its own optimizations: "same", the largest relative error, or why not."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    load = lambda path: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    try:
        before = load(source)
    except Exception:
        before = None
    try:
        after = load(target)
    except Exception as error:
        return "the original does not load either" if before is None else f"does not load: {error}"
    if before is None:
        return "the original does not load"
    inputs = feeds(source, before)
    if inputs is None:
        return "loads"
    wanted = {i.name for i in after.get_inputs()}
    try:
        expected = before.run(None, inputs)
    except Exception:
        return "loads"
    actual = after.run(None, {k: v for k, v in inputs.items() if k in wanted})
    worst = 0.0
    for e, a in zip(expected, actual):
        if not isinstance(e, numpy.ndarray) or e.dtype.kind not in "fiub":
            if str(e) != str(a):
                return "differs"
            continue
        if e.shape != a.shape or e.dtype != a.dtype:
            return f"differs in shape or type: {e.shape} {e.dtype}, {a.shape} {a.dtype}"
        if e.size == 0 or numpy.array_equal(e, a, equal_nan=e.dtype.kind == "f"):
            continue
        scale = max(1e-12, float(numpy.nanmax(numpy.abs(e.astype(numpy.float64)))))
        worst = max(worst, float(numpy.nanmax(numpy.abs(e.astype(numpy.float64) - a.astype(numpy.float64)))) / scale)
    return "same" if worst == 0 else f"{worst:.1e}"


def latency(source, target):
    """Time of the target over that of the source in ONNX Runtime: median and interval, or why not."""
    import onnxruntime

    from latency_ort import interleaved, ratio_interval, round_of

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    load = lambda path: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    try:
        before, after = load(source), load(target)
        inputs = feeds(source, before)
        wanted = {i.name for i in after.get_inputs()}
        inputs = {k: v for k, v in inputs.items() if k in wanted}
        before.run(None, inputs)
        after.run(None, inputs)
    except Exception:
        return "does not run"
    runs = max(1, int(4 / max(round_of(before, inputs, 2), 1e-3)))
    ratio, low, high = ratio_interval(*interleaved(after, before, inputs, runs, 40))
    return f"{ratio:.2f} [{low:.2f}, {high:.2f}]"


def is_equal(verdict):
    try:
        return float(verdict) <= TOLERANCE
    except ValueError:
        return verdict in ("same", "loads") or verdict.startswith("the original does not load")


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--peer":
        run_peer(*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--onnxtool", default="build/release/bin/onnxtool")
    parser.add_argument("--level", choices=list(PEERS), default="basic")
    parser.add_argument("--latency", action="store_true", help="measure the latency in onnxruntime too")
    parser.add_argument("--flags", default="", help="further flags of onnxtool optimize")
    parser.add_argument("--json", help="write all figures here")
    parser.add_argument("--peers", help="keep the peers' figures here")
    arguments = parser.parse_args()
    peers, known = PEERS[arguments.level], Peers(arguments.peers)
    flags = shlex.split(arguments.flags) + (["--level", "extended", "--target", "ort-cpu"] if arguments.level == "extended" else [])
    rows, bad = [], 0
    print(f"| model | nodes | onnxtool | {' | '.join(peers)} | seconds | best peer's | verified | in ONNX Runtime | ORT of ours | latency |")
    print("|---" * (len(peers) + 9) + "|")
    with tempfile.TemporaryDirectory() as scratch:
        for source in arguments.models:
            path = pathlib.Path(source)
            name = path.parent.name if path.stem == "model" else path.stem
            target = str(pathlib.Path(scratch) / "ours.onnx")
            mine = ours(arguments.onnxtool, flags, source, target)
            verdict = compare(source, target) if mine["nodes"] is not None else "; ".join(mine["error"])
            scratch_file = str(pathlib.Path(scratch) / "peer.onnx")
            others = {tool: known.run(tool, source, scratch_file) for tool in peers}
            loaded = [known.run("ort_extended", source, scratch_file),
                      {"nodes": None} if mine["nodes"] is None else peer("ort_extended", target, scratch_file)]
            ratio = latency(source, target) if arguments.latency and mine["nodes"] is not None else ""
            done = [o for o in others.values() if o["nodes"] is not None]
            best = min((o["nodes"] for o in done), default=None)
            fastest = min((o["seconds"] for o in done), default=None)
            behind = mine["nodes"] is None or (best is not None and mine["nodes"] > best)
            bad += behind or not is_equal(verdict)
            rows.append({"model": name, "nodes": nodes_of(source), "onnxtool": mine, "peers": others, "verdict": verdict,
                         "ort_of_original": loaded[0]["nodes"], "ort_of_ours": loaded[1]["nodes"], "latency": ratio})
            counts = " | ".join(str(others[tool]["nodes"] or "fails") for tool in peers)
            mark = " (more)" if behind else ""
            seconds = "" if mine["nodes"] is None else f"{mine['seconds']:.2f}"
            print(f"| {name} | {rows[-1]['nodes']} | {mine['nodes']}{mark} | {counts} | {seconds} | "
                  f"{'' if fastest is None else f'{fastest:.2f}'} | {mine.get('verified', '')} | {verdict} | {loaded[1]['nodes']} ({loaded[0]['nodes']}) | {ratio} |", flush=True)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
