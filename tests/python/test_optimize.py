"""What `onnxtool optimize` writes, judged by ONNX Runtime and onnx's checker."""

import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort

DIGITS = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"]) / "testdata" / "digits" / "model.onnx"

# Heads of attention as exporters write them, with shapes computed from the input.
HEADS = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[batch,seq,4] x) => (float[batch,seq,4] y)
<float[4,4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}, float[4] b = {1,2,3,4}, int64 zero = {0}, int64 one = {1}, int64[1] axis = {0},
 int64[1] two = {2}, int64[1] four = {4}>
{
  s = Shape (x)
  n = Gather (s, zero)
  m = Gather (s, one)
  un = Unsqueeze (n, axis)
  um = Unsqueeze (m, axis)
  p = MatMul (x, w)
  q = Add (p, b)
  split = Concat <axis = 0> (un, um, two, two)
  h = Reshape (q, split)
  t = Transpose <perm = [0, 2, 1, 3]> (h)
  a = Softmax <axis = -1> (t)
  u = Transpose <perm = [0, 2, 1, 3]> (a)
  join = Concat <axis = 0> (un, um, four)
  r = Reshape (u, join)
  y = Identity (r)
}
"""


def optimize(source, output, *flags):
    command = [os.environ["ONNXTOOL_BINARY"], "optimize", str(source), "-o", str(output), *flags]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def run(path, feeds):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds)


class Optimize(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.output = self.directory / "out.onnx"

    def check(self, source, feeds, tolerance):
        result = optimize(source, self.output)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        onnx.checker.check_model(str(self.output), full_check=True)
        before, after = onnx.load(source).graph, onnx.load(self.output).graph
        self.assertEqual(list(before.input), list(after.input))
        self.assertEqual(list(before.output), list(after.output))
        for sample in feeds:
            for expected, actual in zip(run(source, sample), run(self.output, sample)):
                np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
        return [node.op_type for node in after.node]

    def test_digits(self):
        images = np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32)
        operators = self.check(DIGITS, [{"image": images}], 1e-4)
        self.assertNotIn("BatchNormalization", operators)

    def test_computed_shapes(self):
        source = self.directory / "heads.onnx"
        onnx.save(onnx.parser.parse_model(HEADS), source)
        random = np.random.default_rng(0)
        feeds = [{"x": random.standard_normal((n, m, 4)).astype(np.float32)} for n, m in [(1, 1), (2, 5), (3, 2)]]
        operators = self.check(source, feeds, 1e-5)
        # Softmax runs along another axis instead of between two Transposes.
        self.assertEqual(operators, ["MatMul", "Add", "Reshape", "Softmax", "Reshape"])

    def test_twice_is_once(self):
        self.assertEqual(optimize(DIGITS, self.output).returncode, 0)
        again = self.directory / "again.onnx"
        self.assertEqual(optimize(self.output, again).returncode, 0)
        self.assertEqual(self.output.read_bytes(), again.read_bytes())

    def test_same_bytes_for_any_thread_count(self):
        self.assertEqual(optimize(DIGITS, self.output, "--threads", "1").returncode, 0)
        other = self.directory / "other.onnx"
        self.assertEqual(optimize(DIGITS, other, "--threads", "3").returncode, 0)
        self.assertEqual(self.output.read_bytes(), other.read_bytes())


if __name__ == "__main__":
    unittest.main()
