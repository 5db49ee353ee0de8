"""Models for every --target, in the types that it has, load and run in ONNX Runtime with the error that the types promise.

Only its CPU provider is here: that the other runtimes take their models is not tested.
The data lies beside the checkout in ../shared; without it the tests are skipped.
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

import onnx
import onnxruntime as ort
from onnx import numpy_helper

from real_models import operators, samples, session, sqnr

SOURCE = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
MODELS = SOURCE.parent / "shared" / "data" / "models"
ONNXTOOL = os.environ["ONNXTOOL_BINARY"]
SUBJECTS = ("cifar10_cnn", "mlperf_tiny_resnet8", "micro_kws_fp32")
# Too small for 4 bits and a scale per channel.
FRAGILE = {"mlperf_tiny_resnet8"}

# Activations, weights, and a floor of the SQNR in dB, some dB below what was measured on the worst of the models.
TYPES = {
    "ort-cpu-no-vnni": [("u8", "s8", 19)],
    "ort-arm64": [("u8", "s8", 22), ("s8", "s8", 22)],
    "tensorrt": [("s8", "s8", 20)],
    "openvino": [("u8", "s8", 22), ("s8", "s8", 22)],
    "qnn": [("u8", "s8", 22), ("u16", "s8", 23), ("u16", "s4", 15)],
    "portable": [("u8", "u8", 22), ("s16", "u8", 23), ("s16", "u4", 15), ("u8", "s4", 15)],
}
# What of it runs on integers in ONNX Runtime's CPU provider, too.
INTEGER = {"ort-cpu-no-vnni", "ort-arm64", "qnn"}


class Targets(unittest.TestCase):
    def check(self, name, target, activations, weights, floor):
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        output = pathlib.Path(work.name) / "out.onnx"
        model = MODELS / name / "model.onnx"
        subprocess.run([ONNXTOOL, "quantize", str(model), "--calib", str(MODELS / name), "--target", target, "-q",
                        "--activation-type", activations, "--weight-type", weights, "-o", str(output)],
                       check=True, stdin=subprocess.DEVNULL)
        reference = session(model, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        saved = pathlib.Path(work.name) / "saved.onnx"
        test = session(output, saved=saved)
        feeds = samples(MODELS / name, [i.name for i in reference.get_inputs()])
        before, after = [reference.run(None, f)[0] for f in feeds], [test.run(None, f)[0] for f in feeds]
        self.assertGreater(sqnr(before, after), floor)
        counts = operators(onnx.load(saved).graph)
        integers = sum(n for op, n in counts.items() if op.startswith(("QLinear", "QGemm", "MatMulInteger")))
        if target in INTEGER and activations == "u8" and weights == "s8":
            self.assertGreater(integers, 0)
        if target == "tensorrt":
            self.check_tensorrt(onnx.load(output).graph)

    def check_tensorrt(self, graph):
        constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        for node in graph.node:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                self.assertFalse(constants[node.input[2]].any(), node.name)
                self.assertEqual(constants[node.input[2]].dtype.name, "int8")


def add_cases():
    if not MODELS.is_dir():
        setattr(Targets, "test_targets", unittest.skip(f"{MODELS} is absent")(lambda self: None))
        return
    for target, types in TYPES.items():
        for case in types:
            for name in SUBJECTS if not case[1].endswith("4") else set(SUBJECTS) - FRAGILE:
                test = lambda self, args=(name, target, *case): self.check(*args)
                setattr(Targets, "_".join(["test", target.replace("-", "_"), *case[:2], name]), test)


add_cases()

if __name__ == "__main__":
    unittest.main()
