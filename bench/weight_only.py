"""Weight-only quantization of a large model: time beside cp, peak memory, and onnxruntime's tool on a smaller model.

usage: weight_only.py ONNXTOOL [--gb 4] [--peer-gb 0.5] [--directory DIR] [--weight-type s4]

Writes a synthetic model of matrix products with external data (normal weights, an embedding table that is also the
last product), copies its files with `cp --reflink=never` and quantizes it, both from a cold cache and synced. The
peer's MatMulNBitsQuantizer (blocks of 32, symmetric) then meets ours on a smaller model of the same kind.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

WIDTH, VOCABULARY = 4096, 16384

PEER = """
import sys, onnx
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
quantizer = MatMulNBitsQuantizer(onnx.load(sys.argv[1]), block_size=32, is_symmetric=True)
quantizer.process()
quantizer.model.save_model_to_file(sys.argv[2], True)
"""


def external(name, dims, offset):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    size = 4 * int(np.prod(dims))
    for key, value in (("location", "model.data"), ("offset", offset), ("length", size)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor, offset + size


def make(directory, gigabytes):
    """A table, products with Relu between, and the table again; weights drawn once and shifted."""
    directory.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pool = (rng.standard_normal(1 << 24, dtype=np.float32) / 64).tobytes()
    table, offset = external("table", [VOCABULARY, WIDTH], 0)
    tensors, nodes, value = [table], [helper.make_node("Gather", ["table", "ids"], ["x0"])], "x0"
    count = max(1, int((gigabytes * 1e9 - offset) / (4 * WIDTH * WIDTH)))
    for i in range(count):
        tensor, offset = external(f"w{i}", [WIDTH, WIDTH], offset)
        tensors.append(tensor)
        nodes.append(helper.make_node("MatMul", [value, tensor.name], [f"m{i}"], f"product{i}"))
        nodes.append(helper.make_node("Relu", [f"m{i}"], [f"x{i + 1}"]))
        value = f"x{i + 1}"
    nodes += [helper.make_node("Transpose", ["table"], ["head"], perm=[1, 0]),
              helper.make_node("MatMul", [value, "head"], ["logits"], "head_product")]
    graph = helper.make_graph(nodes, "synthetic", [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", VOCABULARY])], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    with open(directory / "model.data", "wb") as out:
        while out.tell() < offset:
            at = 4 * int(rng.integers(len(pool) // 8))
            out.write(pool[at:at + min(len(pool) - at, offset - out.tell())])
    os.sync()
    return offset


def chill(directory):
    """Puts the files out of the page cache."""
    os.sync()
    for file in directory.iterdir():
        with open(file, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(command):
    """Seconds until everything is on disk, and peak memory in MB."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    os.sync()
    if status:
        sys.exit(f"{command[0]} failed with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("onnxtool")
    parser.add_argument("--gb", type=float, default=4)
    parser.add_argument("--peer-gb", type=float, default=0.5)
    parser.add_argument("--directory")
    parser.add_argument("--weight-type", default="s4")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as work:
        work = pathlib.Path(work)
        ours = lambda source, target: [arguments.onnxtool, "quantize", str(source / "model.onnx"), "--weight-only", "--weight-type",
                                       arguments.weight_type, "--verify", "off", "-q", "-o", str(target / "model.int.onnx")]
        large, out = work / "large", work / "out"
        size = make(large, arguments.gb)
        chill(large)
        copy, _ = measure(["cp", "--reflink=never", "-r", str(large), str(out)])
        shutil.rmtree(out)
        out.mkdir()
        chill(large)
        seconds, memory = measure(ours(large, out))
        written = sum(f.stat().st_size for f in out.iterdir())
        result = {"weight_type": arguments.weight_type, "input_bytes": size, "output_bytes": written, "cp_s": copy, "ours_s": seconds,
                  "ratio_to_cp": seconds / copy, "peak_mb": memory}
        shutil.rmtree(large)
        shutil.rmtree(out)
        if arguments.peer_gb:
            small = work / "small"
            make(small, arguments.peer_gb)
            out.mkdir()
            result["small_ours_s"], result["small_ours_peak_mb"] = measure(ours(small, out))
            result["small_peer_s"], result["small_peer_peak_mb"] = measure(
                [sys.executable, "-c", PEER, str(small / "model.onnx"), str(out / "peer.onnx")])
            result["ratio_to_peer"] = result["small_ours_s"] / result["small_peer_s"]
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
