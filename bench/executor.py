"""Every figure that the executor is held to, beside ONNX Runtime: one table, in 10 to 20 minutes.

usage: executor.py ONNXTOOL EXPORTS SHARED [--parts NAME[,NAME]] [--rounds N] [--seconds S] [--only TEXT] [--node-tests DIR]

EXPORTS is a directory of float models (shared/bench/export_models.py), SHARED the one with data/. Parts, all unless given:

  nodes       onnx's test cases passed; needs ONNXTOOL's neighbour onnxtool_conformance, and their directory `node`
  latency     the exported models, one and two threads
  int8        ResNet-50, CIFAR10Net and digits, quantized by ONNXTOOL to QDQ with default flags; whether results are equal
  throughput  two samples at a time on two cores, beside the better of ONNX Runtime's two ways
  memory      peak of the process beside 64 MB + 1.1 x weights + 1.5 x the largest live set
  small       microseconds a step of models of many small steps, their arithmetic included

Times as in latency.py and throughput.py; --only narrows the models of latency and throughput. "of CPU time" is the ratio of
CPU times, for machines that do other things meanwhile. Ends with the table.
"""
import argparse
import math
import os
import re
import subprocess
import tempfile
import time

import latency
import throughput

PARTS = ["nodes", "latency", "int8", "throughput", "memory", "small"]
OTHER_SUITES = ("simple", "pytorch-converted", "pytorch-operator")
INTEGER_OPERATORS = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def summary(ratios, worst):
    name = worst(ratios, key=ratios.get)
    return f"{geometric_mean(ratios.values()):.3f} over {len(ratios)}, worst {ratios[name]:.2f} ({name})"


def models_of(arguments):
    return [(path, data) for path, data in latency.find_models([arguments.exports]) if arguments.only in latency.name_of(path)]


def nodes(arguments, table):
    conformance = os.path.join(os.path.dirname(arguments.tool), "onnxtool_conformance")
    if not os.path.exists(conformance) or not arguments.node_tests:
        return table.append(("node tests passed of 1,765; others of 140", "1,742 and 138", "not run: onnxtool_conformance or --node-tests is missing"))
    with tempfile.NamedTemporaryFile("r", suffix=".md") as out:
        data = os.path.dirname(arguments.node_tests.rstrip("/"))
        subprocess.run([conformance, data, os.path.join(arguments.shared, "data"), out.name, "cpu"], stdout=subprocess.DEVNULL)
        rows = {m[1]: (int(m[2]), int(m[3]), float(m[4])) for m in re.finditer(r"^\| (\S[^|]*?) \| (\d+) \| (\d+) \| ([^|]+) \|$", out.read(), re.M)}
    others, integer = [rows[s] for s in OTHER_SUITES], [rows[o] for o in INTEGER_OPERATORS if o in rows]
    table.append(("node tests passed of 1,765; others of 140", "1,742 and 138", f"{rows['node'][0]:,} of {sum(rows['node'][:2]):,} and {sum(r[0] for r in others)} of {sum(sum(r[:2]) for r in others)}"))
    table.append(("integer and quantization tests", "exactly", f"{sum(r[0] for r in integer)} of {sum(sum(r[:2]) for r in integer)}, largest error {max(r[2] for r in integer):g} ULP"))


def latencies(arguments, models, threads, title, needed, table):
    print(f"\n{title}, {threads} thread{'s' if threads > 1 else ''}\n\n| model | ours ms | onnxruntime ms | ratio | of CPU time |\n|---|---|---|---|---|")
    ratios, cpu = {}, {}
    for path, data in models:
        name = latency.name_of(path)
        try:
            row = latency.compare(arguments, path, data, threads)
        except RuntimeError as e:
            print(f"| {name} | {e} | | | |", flush=True)
            continue
        ratios[name], cpu[name] = row["ours_ms"] / row["ort_ms"], row["ours_cpu_ms"] / row["ort_cpu_ms"]
        print(f"| {name} | {row['ours_ms']:.4g} | {row['ort_ms']:.4g} | {ratios[name]:.2f} | {cpu[name]:.2f} |", flush=True)
    if ratios:
        table.append((f"{title}, {threads} thread{'s' if threads > 1 else ''}", needed, f"{summary(ratios, max)}; of CPU time {summary(cpu, max)}"))


def equality(arguments, path, work):
    """Elements of our outputs that equal ONNX Runtime's, of how many, over four random samples."""
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import numpy_helper

    out = os.path.join(work, "outputs")
    command = [arguments.tool, "run", path, "--random", "4", "-o", out, "--output-format", "pb", "-q", "--force"]
    subprocess.run(command + latency.input_flags(None, latency.shapes_of(path)), check=True, capture_output=True)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    equal = total = 0
    for name in sorted(os.listdir(out)):
        directory = os.path.join(out, name)
        for i, y in enumerate(session.run(None, latency.feed_of(session, directory, {}))):
            tensor = onnx.TensorProto()
            with open(os.path.join(directory, f"output_{i}.pb"), "rb") as f:
                tensor.ParseFromString(f.read())
            equal, total = equal + int(np.sum(numpy_helper.to_array(tensor) == y)), total + y.size
    return equal, total


def int8(arguments, table):
    data = os.path.join(arguments.shared, "data")
    resnet = os.path.join(arguments.exports, "resnet50.ts.onnx")
    sources = {
        "resnet50": [resnet, "--random", "4", *latency.input_flags(None, latency.shapes_of(resnet))],
        "cifar10net": [f"{data}/cifar10net/model.onnx", "--calib", f"{data}/cifar10net/calib", "--preprocess", "cifar10"],
        "digits": [f"{data}/digits/model.onnx", "--calib", f"{data}/digits/calib", "--resize", "32", "--channels", "grey", "--mean", "0.3", "--std", "0.35"],
    }
    with tempfile.TemporaryDirectory() as work:
        models, found = [], []
        for name, flags in sources.items():
            models.append((os.path.join(work, name + ".onnx"), None))
            subprocess.run([arguments.tool, "quantize", *flags, "-o", models[-1][0], "-q"], check=True)
            equal, total = equality(arguments, models[-1][0], work)
            found.append(f"{name} {equal} of {total}")
        for threads in (1, 2):
            latencies(arguments, models, threads, "int8 latency", "each at most 1.2", table)
        table.append(("elements of int8 outputs equal to ONNX Runtime's", "99 %", ", ".join(found)))


def throughputs(arguments, table):
    print("\nThroughput\n")
    ratios = throughput.ratios_of(arguments, models_of(arguments))
    if ratios:
        table.append(("throughput over the better of ONNX Runtime's ways", "geometric mean 1.0", summary(ratios, min)))


def weights_of(path):
    import onnx

    sizes = {t: onnx.helper.tensor_dtype_to_np_dtype(t).itemsize for t in onnx.helper.get_all_tensor_dtypes() if t}
    return sum(math.prod(t.dims) * sizes[t.data_type] for t in onnx.load(path, load_external_data=False).graph.initializer)


def memory(arguments, table):
    for name in ("resnet50.ts", "bert_base.ts"):
        path = os.path.join(arguments.exports, name + ".onnx")
        flags = latency.input_flags(None, latency.shapes_of(path))
        live = latency.last_json([arguments.tool, "inspect", path, "--json", *flags])["memory"]["peak_bytes"]
        command = [arguments.tool, "bench", path, "--runs", "3", "--threads", "2", "--json", "-q", *flags]
        peak = latency.last_json(command)["timing"]["peak_memory_bytes"] / 2**20
        bound = 64 + (1.1 * weights_of(path) + 1.5 * live) / 2**20
        table.append((f"peak memory, {name}", f"at most {bound:.0f} MB", f"{peak:.0f} MB"))


def small(arguments, table):
    for name in ("gpt2_past", "nested_loops_30"):
        directory = os.path.join(arguments.shared, "data", "models", name)
        path, data = os.path.join(directory, "model.onnx"), os.path.join(directory, "test_data_set_0")
        with tempfile.TemporaryDirectory() as work:
            command = [arguments.tool, "bench", path, "--data", data, "--threads", "1", "--seconds", "1", "--json", "-q"]
            median = min(latency.last_json(command)["timing"]["latency"][0]["p50_ms"] for _ in range(arguments.rounds))
            steps = sum(o["calls"] for o in latency.last_json([*command, "--profile", os.path.join(work, "p.json")])["timing"]["operators"])
        table.append((f"microseconds a step, {name}", "less than 1", f"{1e3 * median / steps:.2f} ({steps} steps, with their arithmetic)"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("exports")
    parser.add_argument("shared")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--only", default="")
    parser.add_argument("--node-tests", default=os.environ.get("ONNXTOOL_NODE_TESTS"))
    arguments = parser.parse_args()
    parts, table, begin = arguments.parts.split(","), [], time.monotonic()
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if "nodes" in parts:
        nodes(arguments, table)
    if "latency" in parts:
        for threads in (1, 2):
            latencies(arguments, models_of(arguments), threads, "float latency", "geometric mean 1.0, each at most 1.3", table)
    if "int8" in parts:
        int8(arguments, table)
    if "throughput" in parts:
        throughputs(arguments, table)
    if "memory" in parts:
        memory(arguments, table)
    if "small" in parts:
        small(arguments, table)
    print("\n| what | must reach | found |\n|---|---|---|")
    for row in table:
        print("| " + " | ".join(row) + " |")
    print(f"\n{(time.monotonic() - begin) / 60:.0f} minutes; load of the machine now {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
