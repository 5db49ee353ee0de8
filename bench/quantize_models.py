"""Every float model of shared/data/models quantized with default flags, in ONNX Runtime: a table.

usage: quantize_models.py ONNXTOOL MODELS [NAME ...]     MODELS is shared/data/models

Columns: integer operators, QuantizeLinear and DequantizeLinear in the graph that ONNX Runtime saves at level extended,
and whether they are those that were predicted; SQNR of the output that suffers most, over all samples; one thread's
latency of the float model, and the ratio int8 / float of interleaved rounds with its 95 % bootstrap interval.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

import latency_ort

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests", "python"))
import real_models

SECONDS = 4  # of latency a model


def latency(first, second, feed):
    """Medians in ms, and the ratio first / second with its interval."""
    for s in (first, second):
        latency_ort.round_of(s, feed, 3)
    one = latency_ort.round_of(second, feed, 3)
    runs = max(1, round(1e3 * latency_ort.ROUND_S / one))
    rounds = int(np.clip(1e3 * SECONDS / (2 * runs * one), 20, 400))
    a, b = latency_ort.interleaved(first, second, feed, runs, rounds)
    return np.median(b), *latency_ort.ratio_interval(a, b)


def row(onnxtool, directory, out):
    model = directory / "model.onnx"
    data = directory.parent / real_models.DATA.get(directory.name, directory.name)
    command = [onnxtool, "quantize", str(model), "--calib", str(data), "-o", str(out), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        reason = json.loads(result.stdout)["findings"][0]["message"] if result.stdout else result.stderr.split("error")[-1]
        return f"exit {result.returncode}: {reason.strip()}"
    saved = out.with_name("extended.onnx")
    real_models.session(out, saved=saved)
    counts = real_models.operators(onnx.load(saved, load_external_data=False).graph)
    q, dq = counts["QuantizeLinear"], counts["DequantizeLinear"]
    runs = {op: n for op, n in counts.items() if real_models.is_integer(op)}
    predicted = {r["op"]: r["count"] for r in json.loads(result.stdout)["quantization"]["predicted"] if r["count"]}
    same = predicted == runs | {op: n for op, n in (("QuantizeLinear", q), ("DequantizeLinear", dq)) if n}
    exact = real_models.session(model, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    before, after = real_models.session(model), real_models.session(out)
    feeds = real_models.samples(data, [i.name for i in exact.get_inputs()])
    expected, given = ([s.run(None, f) for f in feeds] for s in (exact, after))
    worst = min(real_models.sqnr([r[i] for r in expected], [r[i] for r in given])
                for i in range(len(expected[0])) if expected[0][i].dtype == np.float32)
    ms, ratio, low, high = latency(after, before, feeds[0])
    return (f"{sum(runs.values())} | {q} / {dq} | {'yes' if same else 'NO'} | {worst:.1f} | {ms:.3f} | "
            f"{ratio:.2f} [{low:.2f}, {high:.2f}]")


def main():
    onnxtool, models, names = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    print("| model | integer operators | Q / DQ | as predicted | SQNR dB | float ms | int8 / float |\n|---|---|---|---|---|---|---|")
    for directory in sorted(models.iterdir()):
        model = directory / "model.onnx"
        if names and directory.name not in names or not model.exists() or not real_models.is_subject(model):
            continue
        with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
            print(f"| {directory.name} | {row(onnxtool, directory, pathlib.Path(work) / 'int8.onnx')} |", flush=True)


if __name__ == "__main__":
    main()
