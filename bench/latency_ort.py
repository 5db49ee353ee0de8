"""Latency of two models in ONNX Runtime, run in turns, one thread.

usage: latency_ort.py A.onnx B.onnx [RUNS]

Prints both medians, and the median of the ratios time(A) / time(B) of neighbouring runs with its 95 % bootstrap
interval. Runs are grouped into rounds of a few milliseconds, so that the clock and a switch of model do not count.
Both models get the same seeded input; symbolic extents are 1.
"""
import sys
import time

import numpy as np
import onnxruntime as ort

ROUND_S = 0.004  # long against the clock, short against what else disturbs the machine


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feed_of(session):
    rng = np.random.default_rng(1)
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    return {i.name: rng.standard_normal([d if isinstance(d, int) else 1 for d in i.shape]).astype(types[i.type])
            for i in session.get_inputs()}


def round_of(session, feed, runs):
    start = time.perf_counter()
    for _ in range(runs):
        session.run(None, feed)
    return 1e3 * (time.perf_counter() - start) / runs


def ratio_interval(a, b, seed=0):
    """Median of the ratios and its 95 % interval, by resampling rounds."""
    ratios = np.asarray(a) / np.asarray(b)
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    return float(np.median(ratios)), *(float(q) for q in np.quantile(medians, [0.025, 0.975]))


def interleaved(a, b, feed, runs, rounds):
    """Times in ms of both sessions, by rounds of `runs` runs."""
    times_a, times_b = [], []
    for i in range(rounds):
        # Whoever runs second finds caches warm or the clock down: take turns.
        for s, times in ((a, times_a), (b, times_b)) if i % 2 else ((b, times_b), (a, times_a)):
            times.append(round_of(s, feed, runs))
    return times_a, times_b


def compare(path_a, path_b, rounds):
    a, b = session(path_a), session(path_b)
    feed = feed_of(a)
    for s in (a, b):
        round_of(s, feed, 20)
    runs = max(1, round(1e3 * ROUND_S / round_of(a, feed, 20)))
    return interleaved(a, b, feed, runs, rounds)


def main():
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 400
    times_a, times_b = compare(sys.argv[1], sys.argv[2], rounds)
    ratio, low, high = ratio_interval(times_a, times_b)
    print(f"A {np.median(times_a):.4f} ms, B {np.median(times_b):.4f} ms, ratio {ratio:.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
