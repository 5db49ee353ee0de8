"""Products with a constant matrix of 8 or 4 bits: ours beside ONNX Runtime, on one thread.

usage: integer_products.py ONNXTOOL [M K N]

Prints the fastest of 60 runs of each in milliseconds: int8 quantized in two ways, then 4 bits in blocks of 32
(K must be a multiple of that) with and without zero points. Needs onnx, onnxruntime and numpy.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

RUNS = 60


def save(path, nodes, rows, depth, columns, constants):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, depth])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, columns])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(v, k) for k, v in constants.items()])
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    onnx.save(model, path)


def make_models(directory, rows, depth, columns):
    weights = np.random.default_rng(0).integers(-127, 128, (depth, columns)).astype(np.int8)
    constants = {"w": weights, "ws": np.float32(0.002), "wz": np.int8(0).reshape(())}
    dynamic = [helper.make_node("DynamicQuantizeMatMul", ["x", "w", "ws", "wz"], ["y"], domain="com.microsoft")]
    save(os.path.join(directory, "dynamic.onnx"), dynamic, rows, depth, columns, constants)
    scales = {"xs": np.float32(0.02), "xz": np.uint8(120).reshape(()), "ys": np.float32(0.05), "yz": np.uint8(128).reshape(())}
    node = helper.make_node
    static = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        node("MatMul", ["xd", "wd"], ["m"]),
        node("QuantizeLinear", ["m", "ys", "yz"], ["mq"]),
        node("DequantizeLinear", ["mq", "ys", "yz"], ["y"]),
    ]
    save(os.path.join(directory, "qdq.onnx"), static, rows, depth, columns, {**constants, **scales})


    random = np.random.default_rng(2)
    blocks = depth // 32
    bits = {
        "w": random.integers(0, 256, (columns, blocks, 16)).astype(np.uint8),
        "s": random.random(columns * blocks, np.float32) / 50,
        "z": random.integers(0, 256, columns * ((blocks + 1) // 2)).astype(np.uint8),
    }
    for name, inputs in (("nbits", "xws"), ("nbits_zeros", "xwsz")):
        constants = {k: v for k, v in bits.items() if k in inputs}
        product = node("MatMulNBits", list(inputs), ["y"], domain="com.microsoft", K=depth, N=columns, bits=4, block_size=32)
        save(os.path.join(directory, name + ".onnx"), [product], rows, depth, columns, constants)


def theirs(path, rows, depth):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((rows, depth)).astype(np.float32)
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        session.run(None, {"x": x})
        best = min(best, 1e3 * (time.perf_counter() - start))
    return best


def ours(tool, path):
    command = [tool, "bench", path, "--threads", "1", "--runs", str(RUNS), "--no-optimize", "--json"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(out[out.index("{") :])["timing"]["latency"][0]["min_ms"]


def main():
    tool = sys.argv[1]
    rows, depth, columns = map(int, sys.argv[2:5] or (128, 768, 3072))
    with tempfile.TemporaryDirectory() as directory:
        make_models(directory, rows, depth, columns)
        print("| model | ours | onnxruntime |\n|---|---|---|")
        for name in ("qdq", "dynamic", "nbits", "nbits_zeros"):
            path = os.path.join(directory, name + ".onnx")
            print(f"| {name} | {ours(tool, path):.2f} | {theirs(path, rows, depth):.2f} |")


if __name__ == "__main__":
    main()
