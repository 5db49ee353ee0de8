"""Our executor beside ONNX Runtime on many models: latency of each, geometric mean and worst of the ratios.

usage: latency.py ONNXTOOL [--threads N[,N]] [--rounds N] [--seconds S] [--only TEXT] [--json FILE] PATH [PATH ...]

A PATH is a model, or a directory: of models (*.onnx), or of directories that hold model.onnx and test_data_set_0.
Both programs get the model's first data set where there is one, else seeded values of the declared shapes (open
extents are 1, or 128 where their name begins with seq). Each model is run by both in turns, ROUNDS times, each time in processes of their own and for
SECONDS; a figure is the smallest of the rounds' medians, since other work on the machine only ever adds. Next to it
stands CPU time of a run, the smallest mean of a round. Models that ONNX Runtime or ours cannot run are listed.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import time


def feed_of(session, data, shapes):
    """The data set's inputs, else seeded ones."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    inputs = session.get_inputs()
    feed = {}
    if data:
        for i, name in enumerate(sorted((n for n in os.listdir(data) if n.startswith("input_")), key=lambda n: int(n[6:-3]))):
            tensor = onnx.TensorProto()
            with open(os.path.join(data, name), "rb") as f:
                tensor.ParseFromString(f.read())
            feed[tensor.name if tensor.name in {k.name for k in inputs} else inputs[i].name] = numpy_helper.to_array(tensor)
    else:
        rng = np.random.default_rng(1)
        for k in inputs:
            dims = shapes[k.name]
            kind = k.type.removeprefix("tensor(").removesuffix(")").replace("double", "float64")
            if kind.startswith("float"):
                feed[k.name] = rng.standard_normal(dims).astype(np.float32 if kind == "float" else kind)
            else:
                feed[k.name] = rng.integers(0, 2, dims).astype(kind)
    return feed


def peer(path, data, shapes, threads, seconds):
    """Runs in a process of its own: prints median ms and mean CPU ms of ONNX Runtime's runs."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = feed_of(session, data, shapes)
    for _ in range(3):
        session.run(None, feed)
    times, cpu, begin = [], time.process_time(), time.perf_counter()
    while len(times) < 10 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        session.run(None, feed)
        times.append(1e3 * (time.perf_counter() - start))
    cpu = 1e3 * (time.process_time() - cpu) / len(times)
    print(json.dumps({"p50_ms": sorted(times)[len(times) // 2], "cpu_ms": cpu}))


def last_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "rror" in line] or done.stderr.splitlines() or ["?"]
        raise RuntimeError(lines[0 if "onnxtool" in command[0] else -1][:160])
    return json.loads(done.stdout[done.stdout.index("{"):])


def input_flags(data, shapes):
    if data:
        return ["--data", data]
    return [f for name, dims in shapes.items() if dims for f in ("--input-shape", name + "=" + ",".join(map(str, dims)))]


def name_of(path):
    return os.path.basename(os.path.dirname(path)) if os.path.basename(path) == "model.onnx" else os.path.basename(path)[:-5]


def measure_ours(tool, path, data, shapes, threads, seconds):
    command = [tool, "bench", path, "--threads", str(threads), "--seconds", str(seconds), "--json", "-q"]
    row = last_json(command + input_flags(data, shapes))["timing"]["latency"][0]
    return {"p50_ms": row["p50_ms"], "cpu_ms": row["cpu_ms"]}


def measure_peer(path, data, shapes, threads, seconds):
    return last_json([sys.executable, os.path.abspath(__file__), "--peer", json.dumps([path, data, shapes, threads, seconds])])


def shapes_of(path):
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constants = {t.name for t in graph.initializer}
    extent = lambda d: d.dim_value or (128 if d.dim_param.startswith("seq") else 1)
    return {i.name: [extent(d) for d in i.type.tensor_type.shape.dim] for i in graph.input if i.name not in constants}


def find_models(paths):
    """Pairs of a model and its data set, or None."""
    for path in paths:
        if os.path.isfile(path):
            yield path, None
            continue
        for name in sorted(os.listdir(path)):
            full = os.path.join(path, name)
            if name.endswith(".onnx"):
                yield full, None
            elif os.path.isfile(os.path.join(full, "model.onnx")):
                data = os.path.join(full, "test_data_set_0")
                yield os.path.join(full, "model.onnx"), data if os.path.isdir(data) and os.listdir(data) else None


def compare(arguments, path, data, threads):
    shapes = {} if data else shapes_of(path)
    ours, theirs = [], []
    for k in range(arguments.rounds):
        for mine in ((True, False) if k % 2 else (False, True)):
            if mine:
                ours.append(measure_ours(arguments.tool, path, data, shapes, threads, arguments.seconds))
            else:
                theirs.append(measure_peer(path, data, shapes, threads, arguments.seconds))
    best = lambda rows, key: min(r[key] for r in rows)
    return {"ours_ms": best(ours, "p50_ms"), "ort_ms": best(theirs, "p50_ms"), "ours_cpu_ms": best(ours, "cpu_ms"), "ort_cpu_ms": best(theirs, "cpu_ms")}


def main():
    if sys.argv[1:2] == ["--peer"]:
        return peer(*json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--only", default="")
    parser.add_argument("--json")
    parser.add_argument("paths", nargs="+")
    arguments = parser.parse_args()
    rows = []
    for threads in map(int, arguments.threads.split(",")):
        print(f"\n{threads} thread{'s' if threads > 1 else ''}\n\n| model | ours ms | onnxruntime ms | ratio | of CPU time |\n|---|---|---|---|---|")
        ratios = {}
        for path, data in find_models(arguments.paths):
            name = name_of(path)
            if arguments.only not in name:
                continue
            try:
                row = compare(arguments, path, data, threads)
            except RuntimeError as e:
                print(f"| {name} | {e} | | | |", flush=True)
                continue
            ratios[name] = row["ours_ms"] / row["ort_ms"]
            rows.append({"model": name, "threads": threads, **row})
            print(f"| {name} | {row['ours_ms']:.4g} | {row['ort_ms']:.4g} | {ratios[name]:.2f} | {row['ours_cpu_ms'] / row['ort_cpu_ms']:.2f} |", flush=True)
        if ratios:
            worst = max(ratios, key=ratios.get)
            mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
            print(f"\n{len(ratios)} models, geometric mean of the ratios {mean:.3f}, worst {ratios[worst]:.2f} ({worst})", flush=True)
    if arguments.json:
        with open(arguments.json, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
