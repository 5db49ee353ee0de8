"""`onnxtool convert-ort` judged by ONNX Runtime: files load at every level and compute the same bits, and what a full build
repairs when it loads a file (so that only a minimal one would notice) is right before.

The latter by saving what was loaded: every field that the runtime computed anew must be what the file had.
"""

import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort

import ort_file
import real_models

SOURCE = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
MODELS = SOURCE / ".." / "shared" / "data" / "models"
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


def session(path, level, resaved=None, replay=False):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    if replay:
        options.add_session_config_entry("session.enable_saved_runtime_optimizations", "1")
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


def feeds_of(model):
    inputs = session(model, LEVELS.ORT_DISABLE_ALL).get_inputs()
    stored = real_models.samples(model.parent, [i.name for i in inputs])
    if stored:
        return stored[0]
    rng, kinds = np.random.default_rng(1), {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int64)": np.int64}
    shape = lambda i: [d if isinstance(d, int) and d > 0 else 1 for d in i.shape]
    return {i.name: rng.uniform(0, 100 if "int8" in i.type else 1, shape(i)).astype(kinds[i.type]) for i in inputs if i.type in kinds}


def worst(expected, got):
    """The largest difference, relative to the largest value of its tensor."""
    errors = [0.0]
    for e, g in zip(expected, got):
        if isinstance(e, np.ndarray) and e.dtype.kind in "fiu" and e.size:
            e, g = e.astype(np.float64), g.astype(np.float64)
            errors.append(float(np.max(np.abs(e - g)) / max(np.max(np.abs(e)), 1e-9)))
    return max(errors)


class RealModels(unittest.TestCase):
    """Levels that change the graph, and what the runtime makes of recorded fusions."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.output = self.directory / "out.ort"
        self.models = sorted(MODELS.glob("*/model.onnx"))
        if not self.models:
            self.skipTest("no models here")

    def quantized(self):
        found = [m for m in self.models if real_models.operators(onnx.load(m, load_external_data=False).graph)["DequantizeLinear"]]
        self.assertGreater(len(found), 2)
        return found

    def test_levels_beside_the_original(self):
        compared = 0
        for model in self.models:
            counts = real_models.operators(onnx.load(model, load_external_data=False).graph)
            quantized, half = counts["DequantizeLinear"] > 0, "fp16" in model.parent.name
            for level in ("basic", "extended", "all"):
                with self.subTest(model=model.parent.name, level=level):
                    result = convert(model, self.output, "--level", level)
                    if result.returncode and "nested so deep" in result.stderr:
                        continue
                    self.assertEqual(result.returncode, 0, result.stderr)
                    # Integers round otherwise than floats do: the runtime's own integer graph is what to compare with.
                    original = session(model, LEVELS.ORT_ENABLE_EXTENDED if quantized and level != "basic" else LEVELS.ORT_DISABLE_ALL)
                    feeds = feeds_of(model)
                    expected = original.run(None, feeds)
                    for load in (LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_ALL):
                        bound = 2e-2 if quantized else 1e-2 if half else 1e-3
                        self.assertLess(worst(expected, session(self.output, load).run(None, feeds)), bound)
                    compared += 1
        self.assertGreater(compared, 60)

    def test_signed_activations_become_unsigned_for_x86(self):
        quantized = self.directory / "s8.onnx"
        command = [os.environ["ONNXTOOL_BINARY"], "quantize", str(DIGITS), "--random", "8", "--input-shape", "image=1,1,32,32", "--activation-type", "s8", "-o", str(quantized), "-q"]
        self.assertEqual(subprocess.run(command, capture_output=True).returncode, 0)
        x = np.random.default_rng(5).random((1, 1, 32, 32), np.float32)
        results = {}
        for arch in ("arm", "amd64"):
            result = convert(quantized, self.output, "--level", "all", "--arch", arch)
            self.assertEqual(result.returncode, 0, result.stderr)
            loaded = session(self.output, LEVELS.ORT_DISABLE_ALL)
            results[arch] = loaded.run(None, {loaded.get_inputs()[0].name: x})[0]
            kinds = {kind for kind, dims, *_ in ort_file.read(self.output)["graph"]["initializers"].values() if not dims}
            self.assertEqual(onnx.TensorProto.UINT8 in kinds, arch == "amd64", kinds)
        np.testing.assert_array_equal(results["arm"], results["amd64"])

    def test_recorded_integer_operators_are_made_at_load(self):
        for model in self.quantized():
            with self.subTest(model=model.parent.name):
                self.assertEqual(convert(model, self.output, "--style", "runtime").returncode, 0)
                saved, baked = self.directory / "saved.ort", self.directory / "baked.ort"
                feeds = feeds_of(model)
                unfused = session(self.output, LEVELS.ORT_DISABLE_ALL).run(None, feeds)
                fused = session(self.output, LEVELS.ORT_ENABLE_EXTENDED, saved, replay=True).run(None, feeds)
                self.assertEqual(convert(model, baked, "--level", "extended").returncode, 0)
                made, wanted = (collections.Counter(n["op"][1] for n in ort_file.read(path)["graph"]["nodes"]) for path in (saved, baked))
                for op in ("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearAveragePool", "QGemm"):
                    self.assertEqual(made[op], wanted[op], op)
                # Softmax is integer in one and float in the other: a step of 1/256.
                bound = 5e-3 if wanted["QLinearSoftmax"] else 1e-6
                self.assertLess(worst(session(baked, LEVELS.ORT_DISABLE_ALL).run(None, feeds), fused), bound)
                self.assertLess(worst(session(model, LEVELS.ORT_DISABLE_ALL).run(None, feeds), unfused), 1e-6)

    def test_records_are_those_of_the_runtimes_converter(self):
        """As many of each integer operator that computes, and all in the same form."""
        for model in self.quantized():
            with self.subTest(model=model.parent.name):
                out = self.directory / model.parent.name
                command = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", "--optimization_style", "Runtime", "--output_dir", str(out), str(model)]
                subprocess.run(command, capture_output=True, check=True)
                self.assertEqual(convert(model, self.output, "--style", "runtime").returncode, 0)
                theirs, ours = (ort_file.fusions(path) for path in (next(out.glob("*.ort")), self.output))
                wanted = collections.Counter()
                for (optimizer, made, forms, extents), count in theirs.items():
                    # Releases from 1.31 on name an activation that saturation covers; here it is gone, for older ones.
                    wanted[optimizer, made, forms[:-1] if forms[-1] in ("Relu", "Clip") else forms, extents] += count
                for record, count in wanted.items():
                    if record[1][0].startswith((":QLinear", "com.microsoft:Q")) and "Softmax" not in record[1][0]:
                        self.assertGreaterEqual(ours[record], count, record)


if __name__ == "__main__":
    unittest.main()
