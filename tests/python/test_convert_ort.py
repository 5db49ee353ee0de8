"""`onnxtool convert-ort` judged by ONNX Runtime: files load at every level and compute the same bits, and what a full build
repairs when it loads a file (so that only a minimal one would notice) is right before.

The latter by saving what was loaded: every field that the runtime computed anew must be what the file had.
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort

import ort_file

SOURCE = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
DIGITS = SOURCE / "testdata" / "digits" / "model.onnx"
LEVELS = ort.GraphOptimizationLevel

CONTROL_FLOW = """
<ir_version: 8, opset_import: ["" : 16]>
g (bool a, bool b, float[2] x, float[2] t) => (float[2] y, float[N] z)
<float[2] unused = {1, 2}, int64 trips = {3}, bool yes = {1}>
{
  k = Abs (t)
  y = If (a) <
    then_branch = inner () => (float[2] p) {
      p = If (b) <then_branch = deep () => (float[2] q) { q = Add (k, t) }, else_branch = other () => (float[2] r) { r = Neg (x) }>
    },
    else_branch = plain () => (float[2] s) { c = Constant <value_floats = [1.0, 2.0]> () s = Mul (c, x) }>
  state, z1 = Loop (trips, yes, x) <body = step (int64 i, bool go, float[2] v) => (bool on, float[2] w, float[2] scan)
    { on = Identity (go)  w = Add (v, k)  scan = Neg (w) }>
  flat = Constant <value_ints = [-1]> ()
  z = Reshape (z1, flat)
}
"""
HALVES = """
<ir_version: 8, opset_import: ["" : 17]>
g (float16[2,3] x) => (float16[3,2] y, float16[2,3] h)
<float16[3] w = {15360, 16384, 14336}>
{
  a = Add (x, w)  m = Concat <axis = 0> (a, a)  s = Softmax (m)  two = Constant <value_ints = [2, 3]> ()
  c = Slice (s, zero, twos)  zero = Constant <value_ints = [0]> ()  twos = Constant <value_ints = [2]> ()
  r = Reshape (c, two)  t = Transpose <perm = [1, 0]> (r)  y = Sqrt (t)  h = HardSwish (x)
}
"""
DEFAULTS = """
<ir_version: 8, opset_import: ["" : 13, "ai.onnx.ml" : 3]>
g (float[2,3] x, int64[1] i) => (float[1,3] y, float[2,3] z, string[2] s)
<float hi = {1}, string[2] names = {"a", "b"}, float[0] none = {}>
{
  c = Clip (x, , hi)  y = Gather (c, i)  n = ai.onnx.ml.Normalizer (x)  e = Selu (n)  r = ReduceMax (e)
  z = Concat <axis = 1> (e, none2)  none2 = Constant <value = float[2,0] {}> ()  s = Identity (names)
}
"""


def convert(source, output, *flags):
    command = [os.environ["ONNXTOOL_BINARY"], "convert-ort", str(source), "-o", str(output), "-q", *flags]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def session(path, level, resaved=None):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    if resaved:
        options.add_session_config_entry("session.save_model_format", "ORT")
        options.optimized_model_filepath = str(resaved)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class ConvertOrt(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.output = self.directory / "out.ort"

    def model(self, text):
        path = self.directory / "model.onnx"
        onnx.save(onnx.parser.parse_model(text), path)
        return path

    def check(self, source, feeds):
        for style in ("fixed", "runtime"):
            result = convert(source, self.output, "--level", "disable", "--style", style)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(self.output.read_bytes()[4:8], b"ORTM")
            expected = session(source, LEVELS.ORT_DISABLE_ALL).run(None, feeds)
            for level in (LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_ALL):
                for e, g in zip(expected, session(self.output, level).run(None, feeds)):
                    self.assertEqual((e.dtype, e.shape), (g.dtype, g.shape))
                    self.assertEqual(e.tolist() if e.dtype == object else e.tobytes(), g.tolist() if g.dtype == object else g.tobytes())
        self.assertEqual(convert(source, self.output, "--level", "disable").returncode, 0)
        resaved = self.directory / "resaved.ort"
        session(self.output, LEVELS.ORT_DISABLE_ALL, resaved)
        self.assertEqual(ort_file.differences(ort_file.read(self.output), ort_file.read(resaved)), [])
        self.assertEqual(convert(source, self.output).returncode, 0)  # level basic
        for e, g in zip(expected, session(self.output, LEVELS.ORT_ENABLE_ALL).run(None, feeds)):
            if e.dtype != object:
                np.testing.assert_allclose(g, e, rtol=2e-2 if e.dtype == np.float16 else 1e-4, atol=1e-5)

    def test_control_flow_reads_values_of_graphs_around_it(self):
        for a, b in ((True, True), (True, False), (False, True)):
            self.check(self.model(CONTROL_FLOW), {"a": np.array(a), "b": np.array(b), "x": np.float32([1, 2]), "t": np.float32([-3, 4])})

    def test_float16_is_cast_as_the_runtime_casts_it(self):
        self.check(self.model(HALVES), {"x": np.float16([[1, 2, 3], [0.1, 0.25, -1]])})

    def test_defaults_empty_tensors_strings_and_what_is_left_out(self):
        self.check(self.model(DEFAULTS), {"x": np.float32([[1, 2, 3], [-4, 5, 6]]), "i": np.int64([1])})

    def test_a_real_classifier(self):
        rng = np.random.default_rng(1)
        feed = session(DIGITS, LEVELS.ORT_DISABLE_ALL).get_inputs()[0]
        shape = [d if isinstance(d, int) else 2 for d in feed.shape]
        self.check(DIGITS, {feed.name: rng.standard_normal(shape).astype(np.float32)})

    def test_a_file_of_the_runtime_is_read(self):
        source, saved, back = self.model(CONTROL_FLOW), self.directory / "theirs.ort", self.directory / "back.onnx"
        session(source, LEVELS.ORT_DISABLE_ALL, saved)
        self.assertEqual(convert(saved, back, "--to", "onnx").returncode, 0)
        feeds = {"a": np.array(True), "b": np.array(False), "x": np.float32([1, 2]), "t": np.float32([-3, 4])}
        onnx.checker.check_model(onnx.load(back))
        for e, g in zip(session(source, LEVELS.ORT_DISABLE_ALL).run(None, feeds), session(back, LEVELS.ORT_DISABLE_ALL).run(None, feeds)):
            self.assertEqual(e.tobytes(), g.tobytes())

    def test_the_comparison_can_fail(self):
        """A check that every resaved file passes might look at nothing."""
        one, other = self.directory / "one.ort", self.directory / "other.ort"
        self.assertEqual(convert(self.model(DEFAULTS), one, "--level", "disable").returncode, 0)
        self.assertEqual(convert(self.model(DEFAULTS.replace("axis = 1", "axis = -1")), other, "--level", "disable").returncode, 0)
        self.assertTrue(ort_file.differences(ort_file.read(one), ort_file.read(other)))

    def test_payloads_are_used_in_place_from_a_mapped_file(self):
        self.assertEqual(convert(DIGITS, self.output, "--level", "disable").returncode, 0)
        options = ort.SessionOptions()
        for key in ("session.use_memory_mapped_ort_model", "session.use_ort_model_bytes_for_initializers"):
            options.add_session_config_entry(key, "1")
        mapped = ort.InferenceSession(str(self.output), options, providers=["CPUExecutionProvider"])
        feed = mapped.get_inputs()[0]
        x = np.ones([d if isinstance(d, int) else 1 for d in feed.shape], np.float32)
        plain = session(self.output, LEVELS.ORT_ENABLE_ALL)
        for e, g in zip(plain.run(None, {feed.name: x}), mapped.run(None, {feed.name: x})):
            self.assertEqual(e.tobytes(), g.tobytes())


if __name__ == "__main__":
    unittest.main()
