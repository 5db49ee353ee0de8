"""Range files beside the tools that made or take them: onnxruntime's calibration JSON, to the last bit; shards under GNU parallel."""

import logging
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import load_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

import test_ort_compat

DIGITS, CIFAR10NET, DIGITS_FLAGS = test_ort_compat.DIGITS, test_ort_compat.CIFAR10NET, test_ort_compat.DIGITS_FLAGS
METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile, "entropy": CalibrationMethod.Entropy}


def onnxtool(*arguments, cwd=None):
    return subprocess.run([os.environ["ONNXTOOL_BINARY"], *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd)


def parallel():
    """GNU parallel; another program has the same name."""
    path = shutil.which("parallel")
    if path and "GNU parallel" in subprocess.run([path, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout:
        return path
    return None


class Ranges(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.work = pathlib.Path(directory.name)
        logging.disable(logging.WARNING)
        self.addCleanup(logging.disable, logging.NOTSET)

    def run_tool(self, *arguments):
        result = onnxtool(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def samples(self, data, flags, count):
        self.prepared = self.work / "prepared.onnx"
        quant_pre_process(str(data / "model.onnx"), str(self.prepared))
        self.name = onnx.load(self.prepared).graph.input[0].name
        self.data = self.work / "samples"
        self.data.mkdir()
        for i, array in enumerate(test_ort_compat.OrtCompat().images(data, flags)[:count]):
            np.save(self.data / f"{i:04d}.npy", array)

    def theirs(self, method, per_channel=True, cache=None, **options):
        output = self.work / "theirs.onnx"
        cache = cache or self.work / "theirs.json"
        quantize_static(str(self.prepared), str(output), test_ort_compat.Samples(self.name, sorted(self.data.iterdir())),
                        quant_format=QuantFormat.QDQ, per_channel=per_channel, calibrate_method=METHODS[method],
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibration_cache_path=str(cache),
                        extra_options=options)
        return onnx.load(output).graph

    def ours(self, *flags, per_channel=True):
        output = self.work / "ours.onnx"
        self.run_tool("quantize", self.prepared, "-q", "-o", output, "--preset", "ort-compat", *flags,
                      *([] if per_channel else ["--per-tensor"]))
        return onnx.load(output).graph

    def assert_equal(self, ours, theirs):
        tensors = lambda graph: {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        a, b = tensors(theirs), tensors(ours)
        self.assertEqual(sorted(b), sorted(a))
        for name, value in a.items():
            self.assertEqual(b[name].dtype, value.dtype, name)
            np.testing.assert_array_equal(b[name].ravel(), value.ravel(), err_msg=name)
        self.assertEqual(sorted((n.op_type, n.name) for n in ours.node), sorted((n.op_type, n.name) for n in theirs.node))

    def from_their_ranges(self, data, flags, method, per_channel):
        """Everything that onnxruntime computes from its ranges, from the same file, to the last bit."""
        self.samples(data, flags, 50)
        theirs = self.theirs(method, per_channel)
        self.assert_equal(self.ours("--ranges", self.work / "theirs.json", per_channel=per_channel), theirs)

    def test_digits_minmax(self):
        self.from_their_ranges(DIGITS, DIGITS_FLAGS, "minmax", True)

    def test_digits_percentile(self):
        self.from_their_ranges(DIGITS, DIGITS_FLAGS, "percentile", False)

    @unittest.skipUnless(CIFAR10NET.is_dir(), f"{CIFAR10NET} is absent")
    def test_cifar10net_minmax(self):
        self.from_their_ranges(CIFAR10NET, (), "minmax", True)

    @unittest.skipUnless(CIFAR10NET.is_dir(), f"{CIFAR10NET} is absent")
    def test_cifar10net_percentile(self):
        self.from_their_ranges(CIFAR10NET, (), "percentile", True)

    def our_own_run(self, data, flags, method, tolerance, *ours, **options):
        """The same calibrator on the same samples: scales within the tolerance."""
        self.samples(data, flags, 50)
        theirs = {t.name: numpy_helper.to_array(t) for t in self.theirs(method, **options).initializer}
        graph = self.ours("--calib", self.data, *ours)
        scales = 0
        for t in graph.initializer:
            if not t.name.endswith("_scale"):
                continue
            scales += 1
            np.testing.assert_allclose(numpy_helper.to_array(t).ravel(), theirs[t.name].ravel(), rtol=tolerance, err_msg=t.name)
        self.assertGreater(scales, 20)

    def test_own_percentile_digits(self):
        self.our_own_run(DIGITS, DIGITS_FLAGS, "percentile", 0.01, "--calibrator", "percentile")

    def test_own_percentile_99_digits(self):
        self.our_own_run(DIGITS, DIGITS_FLAGS, "percentile", 0.01, "--calibrator", "percentile", "--percentile", 99, CalibPercentile=99)

    @unittest.skipUnless(CIFAR10NET.is_dir(), f"{CIFAR10NET} is absent")
    def test_own_percentile_cifar10net(self):
        self.our_own_run(CIFAR10NET, (), "percentile", 0.01, "--calibrator", "percentile")

    def test_own_entropy_digits(self):
        self.our_own_run(DIGITS, DIGITS_FLAGS, "entropy", 1e-5, "--calibrator", "entropy")

    def test_own_moving_average_digits(self):
        self.our_own_run(DIGITS, DIGITS_FLAGS, "minmax", 1e-5, "--calibrator", "moving-average", CalibMovingAverage=True)

    def test_onnxruntime_takes_ours(self):
        """Its quantizer, from the file that we write, makes the model that we make."""
        self.samples(DIGITS, DIGITS_FLAGS, 20)
        cache = self.work / "ours.json"
        ours = self.ours("--calib", self.data, "--save-ranges", cache, "--ranges-format", "ort")
        self.assertGreater(len(list(load_tensors_data(cache).keys())), 20)
        self.assert_equal(ours, self.theirs("minmax", cache=cache))

    @unittest.skipUnless(parallel(), "GNU parallel is absent")
    def test_parallel(self):
        """docs/ranges.md's recipe: the joined file is that of one run, and so is the model."""
        flags = ["--calib", DIGITS / "calib", *DIGITS_FLAGS, "-q"]
        tool = os.environ["ONNXTOOL_BINARY"]
        subprocess.run([parallel(), "--will-cite", tool, "quantize", DIGITS / "model.onnx", *flags, "--threads", "1", "--shard", "{}/5",
                        "--save-ranges", "part-{}.json", ":::", *"01234"], check=True, cwd=self.work, stdin=subprocess.DEVNULL)
        self.run_tool("ranges", "merge", *(self.work / f"part-{i}.json" for i in (3, 1, 4, 0, 2)), "-o", self.work / "merged.json")
        self.run_tool("quantize", DIGITS / "model.onnx", *flags, "--save-ranges", self.work / "whole.json", "-o", self.work / "a.onnx")
        self.run_tool("quantize", DIGITS / "model.onnx", *flags, "--ranges", self.work / "merged.json", "-o", self.work / "b.onnx")
        read = lambda name: (self.work / name).read_bytes()
        self.assertEqual(read("merged.json"), read("whole.json"))
        self.assertEqual(read("a.onnx"), read("b.onnx"))


if __name__ == "__main__":
    unittest.main()
