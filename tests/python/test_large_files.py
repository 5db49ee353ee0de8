"""A model of more than 2 GB of weights: quantized tensor by tensor in bounded memory, and run by ONNX Runtime.

The weights' file has holes, so that it takes next to no disk; each weight's first row is written. Skipped where the file system
has no holes or lacks room for the output.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

WIDTH, COUNT = 8192, 9  # 9 x 256 MB
WEIGHT_BYTES = 4 * WIDTH * WIDTH
# Codes of 4 bits with a float for each 32 of them, twice while the file is put together, and some more.
OUTPUT_BYTES = COUNT * WEIGHT_BYTES * 5 // 32
DISK_BYTES = 3 * OUTPUT_BYTES
# A few hundred MB, of which the two weights in work make most; all of them would be 2.4 GB.
MEMORY_BYTES = 1 << 30


def first_row(i):
    return np.random.default_rng(i).standard_normal(WIDTH).astype(np.float32)


MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def write_model(path):
    """y{i} = x W{i}; W{i} is 0 but for its first row, so that each block of 4-bit codes is exact."""
    tensors, nodes, outputs = [], [], []
    with open(path.with_name("weights.bin"), "wb") as data:
        data.truncate(COUNT * WEIGHT_BYTES)
        for i in range(COUNT):
            tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH],
                                 data_location=TensorProto.EXTERNAL)
            for key, value in (("location", "weights.bin"), ("offset", i * WEIGHT_BYTES), ("length", WEIGHT_BYTES)):
                tensor.external_data.add(key=key, value=str(value))
            data.seek(i * WEIGHT_BYTES)
            data.write(first_row(i).tobytes())
            tensors.append(tensor)
            nodes.append(helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"], f"product{i}"))
            outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, WIDTH]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])]
    graph = helper.make_graph(nodes, "large", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class LargeFiles(unittest.TestCase):
    def test_weight_only_beyond_2_gb(self):
        with tempfile.TemporaryDirectory() as directory:
            work = pathlib.Path(directory)
            if shutil.disk_usage(work).free < DISK_BYTES:
                self.skipTest(f"{work} has less than {DISK_BYTES >> 20} MB free")
            write_model(work / "large.onnx")
            weights = (work / "weights.bin").stat()
            self.assertGreater(weights.st_size, 1 << 31)
            if weights.st_blocks * 512 > weights.st_size // 8:
                self.skipTest(f"files in {work} have no holes")
            output, report = work / "small.onnx", work / "report.json"
            command = [os.environ["ONNXTOOL_BINARY"], "quantize", str(work / "large.onnx"), "--weight-only", "--weight-type", "s4",
                       "--verify", "off", "-q", "--report", f"json={report}", "-o", str(output)]
            # A process counts the memory of the one that started it, until it runs something else: a small one lies between.
            ran = subprocess.run([sys.executable, "-c", MEASURE, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            self.assertLess(int(ran.stdout) * 1024, MEMORY_BYTES)
            quantization = json.loads(report.read_text())["quantization"]
            self.assertEqual(quantization["quantized_nodes"], COUNT)
            self.assertEqual(quantization["weight_bytes_before"], COUNT * WEIGHT_BYTES)
            written = sum(f.stat().st_size for f in work.glob("small*"))
            self.assertAlmostEqual(written / OUTPUT_BYTES, 1, delta=0.01)
            self.run_output(output)

    def run_output(self, path):
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        x = np.zeros((1, WIDTH), np.float32)
        x[0, 0] = 1
        for i, y in enumerate(session.run(None, {"x": x})):
            np.testing.assert_allclose(y[0], first_row(i), rtol=0.02, err_msg=f"y{i}")


if __name__ == "__main__":
    unittest.main()
