"""The main job beside its peer, in one run: time and memory of quantizing ResNet-50, float latency, start-up.

usage: main_job.py ONNXTOOL RESNET50 [ROUNDS]
RESNET50 is a float export with an input `input` float[batch, 3, 224, 224] and batch named. Needs onnxruntime. Runs are interleaved, figures are medians, outputs lie in /dev/shm.
"""
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

onnxtool, model = sys.argv[1:3]
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
here = os.path.dirname(os.path.abspath(__file__))
work = tempfile.mkdtemp(dir="/dev/shm")


def samples(count):
    directory = os.path.join(work, f"samples{count}")
    os.makedirs(directory)
    rng = np.random.default_rng(0)
    for i in range(count):
        np.save(os.path.join(directory, f"{i:04d}.npy"), rng.standard_normal((1, 3, 224, 224)).astype(np.float32))
    return directory


def ours(directory, calibrator, *flags):
    """Seconds of the whole command, and its peak memory in MB."""
    out = os.path.join(work, "ours.onnx")
    command = [onnxtool, "quantize", model, "--calib", directory, "--calibrator", calibrator, "-o", out, "-q", *flags]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def peer(directory, method):
    out = subprocess.run([sys.executable, os.path.join(here, "peer_quantize.py"), model, method, directory, os.path.join(work, "peer.onnx")],
                         check=True, capture_output=True, text=True).stdout
    result = json.loads(out.strip().splitlines()[-1])
    return result["seconds"], result["peak_mb"]


def milliseconds(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out)["timing"]["latency"][0]["p50_ms"] if out.startswith("{") else float(re.match(r"([\d.]+) ms", out)[1])


def main():
    sixteen, sixty_four = samples(16), samples(64)
    print("| quantizing ResNet-50 | ours s (MB) | peer s (MB) | ratio |\n|---|---|---|---|")
    for method in ("MinMax", "Percentile", "Entropy"):
        # The peer keeps every activation of histogram methods: 64 samples take 8 GB and half a minute.
        pairs = [(ours(sixty_four, method.lower(), "--verify", "off"), peer(sixty_four, method))
                 for _ in range(rounds if method == "MinMax" else 1 + rounds // 3)]
        ratio = statistics.median(a[0] / b[0] for a, b in pairs)
        mine, theirs = (statistics.median(p[i][0] for p in pairs) for i in (0, 1))
        print(f"| {method.lower()}, 64 samples | {mine:.2f} ({pairs[0][0][1]:.0f}) | {theirs:.2f} ({pairs[0][1][1]:.0f}) | {ratio:.2f} |", flush=True)
    few = ours(sixteen, "percentile", "--verify", "off")[1]
    checked = ours(sixty_four, "minmax")[0]
    shutil.rmtree(sixteen)
    shutil.rmtree(sixty_four)
    many = ours(samples(256), "percentile", "--verify", "off")[1]
    print(f"\npeak memory, percentile: 16 samples {few:.0f} MB, 256 samples {many:.0f} MB, ratio {many / few:.3f}")
    print(f"with the self-check, minmax, 64 samples: {checked:.2f} s\n")
    print("| float ResNet-50, batch 1 | ours ms | onnxruntime ms | ratio |\n|---|---|---|---|")
    for threads in ("1", "2"):
        pairs = [(milliseconds([onnxtool, "bench", model, "--input-shape", "input=1,3,224,224", "--threads", threads, "--runs", "10", "--json", "-q"]), milliseconds([sys.executable, os.path.join(here, "infer_ort.py"), model, threads, "10"]))
                 for _ in range(2 * rounds + 1)]
        print(f"| {threads} threads | {statistics.median(a for a, _ in pairs):.1f} | {statistics.median(b for _, b in pairs):.1f} | "
              f"{statistics.median(a / b for a, b in pairs):.2f} |", flush=True)
    starts = []
    for _ in range(20):
        start = time.perf_counter()
        subprocess.run([onnxtool, "--help"], check=True, stdout=subprocess.DEVNULL)
        starts.append(1e3 * (time.perf_counter() - start))
    print(f"\n--help: {statistics.median(starts):.1f} ms")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
