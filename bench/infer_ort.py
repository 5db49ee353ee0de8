"""Latency of one model in ONNX Runtime: the peer of infer.cc.

usage: infer_ort.py MODEL THREADS RUNS
"""
import sys
import time

import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rng = np.random.default_rng(1)
feed = {i.name: rng.standard_normal([d if isinstance(d, int) else 1 for d in i.shape]).astype(np.float32) for i in session.get_inputs()}
for _ in range(3):
    session.run(None, feed)
times = []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    session.run(None, feed)
    times.append(1e3 * (time.perf_counter() - start))
print(f"{sorted(times)[len(times) // 2]:.3f} ms median of {len(times)}, {min(times):.3f} minimum")
