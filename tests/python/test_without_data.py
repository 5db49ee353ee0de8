"""Models quantized without data, --dynamic and --weight-only: every output loads and runs in ONNX Runtime, and its error
is what the form promises, or the answer is exit code 1 with a reason.

The data lies beside the checkout in ../shared; without it the tests are skipped.
"""

import json
import logging
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic

from real_models import DATA, is_subject, operators, samples, session, sqnr

SOURCE = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
MODELS = SOURCE.parent / "shared" / "data" / "models"
ONNXTOOL = os.environ["ONNXTOOL_BINARY"]

# Floors of the SQNR in dB of the output that suffers most. Random weights (bert_toy) and a model of few digits
# (mlperf_tiny_resnet8) magnify errors: two roundings of the same quality differ there by 10 dB.
MODES = {
    "s4": (["--weight-only", "--weight-type", "s4"], 10, {"mlperf_tiny_resnet8": 5}),
    "u4-qdq": (["--weight-only", "--weight-type", "u4", "--format", "qdq"], 10, {"mlperf_tiny_resnet8": 5}),
    "s8": (["--weight-only"], 33, {"mlperf_tiny_resnet8": 22, "ppocr_cls_fp16": 30}),
    "s8-qdq": (["--weight-only", "--format", "qdq"], 33, {"mlperf_tiny_resnet8": 22, "ppocr_cls_fp16": 30}),
    "dynamic": (["--dynamic"], 20, {}),
}
# The peer's dynamic quantization may be this much better by chance.
CHANCE_DB = 1


class WithoutData(unittest.TestCase):
    def setUp(self):
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.work = pathlib.Path(work.name)

    def judge(self, name, path):
        """SQNR of the worst output over the model's samples."""
        model = MODELS / name / "model.onnx"
        reference, test = session(model, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL), session(path)
        feeds = samples(MODELS / DATA.get(name, name), [i.name for i in reference.get_inputs()])
        before, after = [reference.run(None, f) for f in feeds], [test.run(None, f) for f in feeds]
        return min((sqnr([b[i] for b in before], [a[i] for a in after]) for i, v in enumerate(before[0])
                    if v.dtype in (np.float32, np.float16)), default=np.inf)

    def check(self, name, mode):
        flags, floor, exceptions = MODES[mode]
        output = self.work / f"{mode}.onnx"
        result = subprocess.run([ONNXTOOL, "quantize", str(MODELS / name / "model.onnx"), *flags, "-q", "-o", str(output)],
                                capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if result.returncode:
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertRegex(result.stderr, "no weight can be quantized|nothing is worth quantizing")
            self.assertFalse(output.exists())
            return
        error = self.judge(name, output)
        self.assertGreaterEqual(error, exceptions.get(name, floor), f"{name} {mode}")
        if mode == "dynamic":
            self.check_beside_peer(name, output, error)

    def check_beside_peer(self, name, output, error):
        """Not dominated: where the peer has as many products on integers, recurrent ones too, it is not better."""
        peer = self.work / "peer.onnx"
        kinds = ["MatMul"] + ["LSTM"] * bool(operators(onnx.load(output).graph)["DynamicQuantizeLSTM"])
        try:
            quantize_dynamic(MODELS / name / "model.onnx", peer, weight_type=QuantType.QInt8, op_types_to_quantize=kinds)
            theirs = self.judge(name, peer)
        except Exception:  # the peer refuses, or its file does not load
            return
        products = lambda path: operators(onnx.load(path).graph)["MatMulInteger"]
        if products(peer) == products(output) > 0:
            self.assertGreaterEqual(error, theirs - CHANCE_DB, name)


class Reports(unittest.TestCase):
    """The SQNR that the report of --weight-only promises is that of onnxruntime's default session."""

    PRODUCTS = {
        "MatMul": ([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": (60, 48)}),
        "Gemm": ([onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"w": (60, 48), "b": (48,)}),
        "Gemm, transposed": ([onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], {"w": (48, 60)}),
        "a tied head": ([onnx.helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
                         onnx.helper.make_node("MatMul", ["x", "t"], ["y"])], {"w": (48, 60)}),
        "axes unnamed": ([onnx.helper.make_node("Transpose", ["w"], ["t"]), onnx.helper.make_node("MatMul", ["x", "t"], ["y"])],
                         {"w": (48, 60)}),
    }

    def test_products(self):
        flags = [["s8"], ["u8"], ["s8", "--block-size", "16"], ["s4"], ["u4", "--block-size", "64"]]
        for name, (nodes, shapes) in self.PRODUCTS.items():
            for weights in flags:
                for form in ("qdq", "qoperator"):
                    with self.subTest(f"{name} {weights} {form}"), tempfile.TemporaryDirectory() as work:
                        self.check(pathlib.Path(work), nodes, shapes, ["--format", form, "--weight-type", *weights])

    def check(self, work, nodes, shapes, flags):
        random, h = np.random.default_rng(0), onnx.helper
        constants = [onnx.numpy_helper.from_array(random.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]
        graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4, 60])],
                             [h.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4, 48])], constants)
        onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10), work / "m.onnx")
        feed = {"x": random.normal(size=(4, 60)).astype(np.float32)}
        (work / "data").mkdir()
        np.savez(work / "data" / "0.npz", **feed)
        command = [ONNXTOOL, "quantize", str(work / "m.onnx"), "--weight-only", *flags, "--eval", str(work / "data"), "-q",
                   "--json", "-o", str(work / "o.onnx")]
        result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(result.returncode, 0, result.stderr)
        promised = json.loads(result.stdout)["accuracy"]["outputs"][0]["sqnr_db"]
        before, after = (session(work / f).run(None, feed)[0] for f in ("m.onnx", "o.onnx"))
        self.assertAlmostEqual(promised, sqnr(before, after), delta=0.1)


def add_models():
    """One test a model and mode, so that each is counted and skipped by itself."""
    if not MODELS.is_dir():
        setattr(WithoutData, "test_models", unittest.skip(f"{MODELS} is absent")(lambda self: None))
        return
    logging.disable(logging.WARNING)
    for directory in sorted(MODELS.iterdir()):
        model = directory / "model.onnx"
        if not model.exists() or not is_subject(model):
            continue
        counts = operators(onnx.load(model, load_external_data=False).graph)
        if not any(counts[op] for op in ("MatMul", "Gemm", "LSTM", "Gather")):
            continue
        for mode in MODES:
            test = lambda self, name=directory.name, mode=mode: self.check(name, mode)
            setattr(WithoutData, f"test_{directory.name}_{mode.replace('-', '_')}", test)


add_models()

if __name__ == "__main__":
    unittest.main()
