"""CIFAR10Net quantized: the error of its logits in ONNX Runtime, also where every hidden channel was scaled by a power of
two that the next layer undoes, so that the float output keeps its bits.
"""

import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

SOURCE = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
DATA = SOURCE.parent / "shared" / "data" / "cifar10net"
sys.path.insert(0, str(SOURCE / "bench"))

import cifar10

EVERY = 8  # of the test images


def scaled(source, target, seed=3):
    """Hidden channels times 2^u, u in -4..4, undone in the next layer; the BatchNormalizations must be folded."""
    model = onnx.load(source)
    rng = np.random.default_rng(seed)
    tensors = {t.name: t for t in model.graph.initializer}
    layers = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    assert all(n.op_type == "Conv" or n.attribute and any(a.name == "transB" and a.i for a in n.attribute) for n in layers)

    def multiply(name, factors, axis):
        array = numpy_helper.to_array(tensors[name])
        shape = [-1 if i == axis else 1 for i in range(array.ndim)]
        tensors[name].CopyFrom(numpy_helper.from_array(array * factors.reshape(shape).astype(np.float32), name))

    for first, second in zip(layers, layers[1:]):
        factors = 2.0 ** rng.integers(-4, 5, tensors[first.input[1]].dims[0])
        multiply(first.input[1], factors, 0)
        multiply(first.input[2], factors, 0)
        columns = tensors[second.input[1]].dims[1]
        multiply(second.input[1], np.repeat(1 / factors, columns // len(factors)), 1)
    onnx.save(model, target)


@unittest.skipUnless(DATA.is_dir(), f"{DATA} is absent")
class Cifar10Net(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.work = pathlib.Path(directory.name)
        logging.disable(logging.WARNING)
        quant_pre_process(str(DATA / "model.onnx"), str(cls.work / "float.onnx"))
        logging.disable(logging.NOTSET)
        scaled(cls.work / "float.onnx", cls.work / "scaled.onnx")
        cls.images = cifar10.images(DATA / "test")[0][::EVERY]
        cls.reference = cifar10.logits(str(cls.work / "float.onnx"), cls.images)

    def sqnr(self, model, calibrator):
        out = self.work / f"{model}.{calibrator}.int8.onnx"
        command = [os.environ["ONNXTOOL_BINARY"], "quantize", str(self.work / f"{model}.onnx"), "--calib", str(DATA / "calib"),
                   "--preprocess", "cifar10", "--calibrator", calibrator, "--verify", "off", "-q", "-o", str(out)]
        result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(result.returncode, 0, result.stderr)
        return cifar10.sqnr(self.reference, cifar10.logits(str(out), self.images))

    def test_scaling_leaves_the_float_model_alone(self):
        np.testing.assert_array_equal(cifar10.logits(str(self.work / "scaled.onnx"), self.images), self.reference)

    def within_one(self, calibrator, at_least):
        unscaled = self.sqnr("float", calibrator)
        self.assertGreater(unscaled, at_least)
        self.assertGreater(self.sqnr("scaled", calibrator), unscaled - 1)

    # Measured on all 2,000 images: minmax 37.3 dB, entropy 38.3 dB; onnxruntime's quantizer reaches 35.9 dB at best.
    def test_minmax(self):
        self.within_one("minmax", 36)

    def test_entropy(self):
        self.within_one("entropy", 36.9)

    def test_mse(self):
        self.within_one("mse", 36.9)

    def test_percentile(self):
        self.within_one("percentile", 36.5)


if __name__ == "__main__":
    unittest.main()
