"""What the parts of bench/optimize.py share: running the peers and ONNX Runtime, and counting what they make.

usage: optimize_tools.py TOOL IN OUT     one peer in this process; prints a line of JSON
       optimize_tools.py MODEL           its number of nodes
"""

import hashlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

PEERS = {"basic": ["ort_basic", "onnxsim", "onnxslim", "onnxoptimizer"], "extended": ["ort_extended"]}
FLAGS = {"basic": [], "extended": ["--level", "extended", "--target", "ort-cpu"]}
LIMIT_SECONDS = 300
# ONNX Runtime without optimization against itself on another graph: float noise, and four units of float16 where a model has it.
TOLERANCE = 2e-3
HALF_TOLERANCE = 2.0**-8
# A step of a quantized result is one of 256.
STEP = 2.0**-6


def name_of(path):
    path = pathlib.Path(path)
    return path.parent.name if path.stem == "model" else path.stem


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()[:16]


def graphs_in(graph):
    """The graph and all below it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for sub in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from graphs_in(sub)


def count_nodes(path):
    import onnx

    return sum(len(g.node) for g in graphs_in(onnx.load(path, load_external_data=False).graph))


def nodes_of(path):
    """In a process of its own: a child's peak memory begins with what its parent holds."""
    return int(subprocess.run([sys.executable, __file__, path], check=True, capture_output=True, text=True).stdout)


def session(path, level="ALL", threads=1, save=None):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, "ORT_" + ("" if level == "DISABLE_ALL" else "ENABLE_") + level)
    if save:
        options.optimized_model_filepath = save
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_peer(tool, source, target):
    import onnx

    if tool.startswith("ort_"):
        import onnxruntime

        work = lambda: session(source, tool[4:].upper(), 0, target)
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
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "nodes": count_nodes(target), "bytes": os.path.getsize(target)}))


class Peers:
    """The peers' figures, and their files. Those of models that did not change since are taken from `path`."""

    def __init__(self, path, scratch):
        self.path = pathlib.Path(path) if path else None
        self.known = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}
        self.scratch = pathlib.Path(scratch)

    def figures(self, tool, source):
        key = f"{tool} {name_of(source)} {digest(source)}"
        if key not in self.known:
            target = self.make(tool, source)
            self.known[key] = {"nodes": None} if target is None else self.last
            if target:
                os.remove(target)
            if self.path:
                self.path.write_text(json.dumps(self.known, indent=1))
        return self.known[key]

    def make(self, tool, source):
        """The file that the tool makes, or None."""
        target = self.scratch / f"{tool}-{hashlib.sha1(os.path.realpath(source).encode()).hexdigest()[:8]}.onnx"
        try:
            done = subprocess.run([sys.executable, __file__, tool, source, str(target)], capture_output=True, text=True, timeout=LIMIT_SECONDS)
            self.last = json.loads(done.stdout.strip().splitlines()[-1])
            return str(target)
        except (subprocess.TimeoutExpired, IndexError, ValueError):
            return None


def measured(command):
    """Exit status, stdout and stderr of a process, seconds of CPU time and of the clock, and its peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {"status": process.returncode, "out": out, "err": err, "seconds": time.perf_counter() - start,
            "cpu": usage.ru_utime + usage.ru_stime, "user": usage.ru_utime, "peak_mb": usage.ru_maxrss / 1024}


def ours(binary, flags, source, target):
    done = measured([binary, "optimize", source, "-o", target, "--json", "--no-config", "-q", *flags])
    if done["status"]:
        return {"nodes": None, "error": done["err"].strip().splitlines()[-2:]}
    report = json.loads(done["out"])
    return {k: done[k] for k in ("seconds", "cpu", "user", "peak_mb")} | {
        "nodes": report["model"]["nodes_after"], "bytes": os.path.getsize(target), "verified": report["verification"]["result"],
        "passes_seconds": report["timing"]["optimize_s"],
        "fired": {row["pass"]: row["fired"] for row in report["passes"].get("passes", [])}}


def feeds(source, to, open_extent=2):
    """Inputs of a session: those that are stored beside the model, or seeded ones; None: unknown types. Heights and widths that
    an input of four axes leaves open are `open_extent`, other extents 2."""
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
    for i in to.get_inputs():
        shape = [d if isinstance(d, int) else open_extent if axis > 1 and len(i.shape) == 4 else 2 for axis, d in enumerate(i.shape)]
        if "float" in i.type:
            out[i.name] = random.standard_normal(shape).astype(numpy.float16 if "16" in i.type else numpy.float32)
        elif "int" in i.type:
            out[i.name] = random.integers(0, 2, shape).astype(numpy.int64 if "64" in i.type else numpy.int32)
        else:
            return None
    return out


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(count_nodes(sys.argv[1]))
    else:
        run_peer(*sys.argv[1:])
