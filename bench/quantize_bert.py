"""Quantizing BERT-base beside onnxruntime's tools, in one run: seconds and peak memory of every mode.

usage: quantize_bert.py ONNXTOOL BERT [ROUNDS] [MODE ...]
BERT is a float export with int64 inputs `input_ids` and `attention_mask` [batch, seq], both dimensions named. Samples
are 1x128. The peer's percentile keeps every activation, 0.26 GB a sample: at 64 samples it wants 18 GB, so both get
PERCENTILE_SAMPLES of them; its entropy fails on this model, so that ours stands beside its percentile. Ours is the
whole command, without the comparison with the float model; the peer's is the tool alone. Runs are interleaved, figures
are medians, files lie in /dev/shm.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

SAMPLES, PERCENTILE_SAMPLES = 64, 48
MODES = {  # mode: our flags, the peer's kind, samples
    "static, minmax": (["--calibrator", "minmax"], "MinMax", SAMPLES),
    "static, percentile": (["--calibrator", "percentile"], "Percentile", PERCENTILE_SAMPLES),
    "static, entropy": (["--calibrator", "entropy"], "Percentile", PERCENTILE_SAMPLES),
    "dynamic": (["--dynamic"], "dynamic", 0),
    "fp16": (["--to", "fp16"], "fp16", 0),
    "int4": (["--weight-only", "--weight-type", "s4"], "int4", 0),
}
HERE = os.path.dirname(os.path.abspath(__file__))


def write_samples(directory, count):
    os.makedirs(directory)
    rng = np.random.default_rng(0)
    for i in range(count):
        np.savez(os.path.join(directory, f"{i:04d}.npz"), input_ids=rng.integers(5, 1000, (1, 128)),
                 attention_mask=np.ones((1, 128), np.int64))


def ours(onnxtool, model, flags, samples, out):
    data = ["--calib", samples] if samples else []
    command = [onnxtool, "quantize", model, *flags, *data, "--verify", "off", "-o", out, "-q"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def peer(model, kind, samples, out):
    command = [sys.executable, os.path.join(HERE, "peer_quantize.py"), model, kind, samples or "-", out]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result = json.loads(text.strip().splitlines()[-1])
    return result["seconds"], result["peak_mb"]


def main():
    onnxtool, model = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    chosen = sys.argv[4:] or list(MODES)
    work = tempfile.mkdtemp(dir="/dev/shm")
    print("| BERT-base | samples | ours s (MB) | peer s (MB) | ratio |\n|---|---|---|---|---|")
    for mode in chosen:
        flags, kind, count = MODES[mode]
        samples = os.path.join(work, f"samples{count}") if count else None
        if count and not os.path.isdir(samples):
            write_samples(samples, count)
        a, b = [], []
        for _ in range(rounds):
            a.append(ours(onnxtool, model, flags, samples, os.path.join(work, "ours.onnx")))
            b.append(peer(model, kind, samples, os.path.join(work, "peer.onnx")))
        (s, mb), (ps, pmb) = (tuple(statistics.median(x) for x in zip(*r)) for r in (a, b))
        print(f"| {mode} | {count or '-'} | {s:.2f} ({mb:.0f}) | {ps:.2f} ({pmb:.0f}) | {s / ps:.2f} |", flush=True)
    shutil.rmtree(work)


main()
