"""Weights chosen by samples, --gptq, --awq, --adaround and --smooth: every file loads in ONNX Runtime, and runs there closer to the
float model than without, on samples that calibration did not see.

The data lies beside the checkout in ../shared; without it the tests are skipped.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnxruntime as ort

SOURCE = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
DATA = SOURCE.parent / "shared" / "data"
ONNXTOOL = os.environ["ONNXTOOL_BINARY"]
sys.path.insert(0, str(SOURCE / "bench"))
import cifar10  # noqa: E402


def run(model, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return [session.run(None, f) for f in feeds]


def sqnr(reference, test):
    """Of the first output: the others are a few numbers."""
    signal = sum((r[0].astype(np.float64) ** 2).sum() for r in reference)
    noise = sum(((r[0].astype(np.float64) - t[0]) ** 2).sum() for r, t in zip(reference, test))
    return 10 * np.log10(signal / noise)


@unittest.skipUnless(DATA.is_dir(), "no data beside the checkout")
class CalibratedWeights(unittest.TestCase):
    def setUp(self):
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.work = pathlib.Path(work.name)

    def quantize(self, model, *flags):
        out = self.work / "out.onnx"
        subprocess.run([ONNXTOOL, "quantize", str(model), *flags, "--verify", "off", "-q", "-o", str(out)], check=True,
                       stdin=subprocess.DEVNULL)
        return out

    def test_transformer(self):
        model, rng = DATA / "models" / "bert_toy" / "model.onnx", np.random.default_rng(0)
        feeds = [{"input_ids": rng.integers(1, 99, (2, 32)), "token_type_ids": np.zeros((2, 32), np.int64),
                  "input_mask": np.ones((2, 32), np.int64)} for _ in range(24)]
        (self.work / "calib").mkdir()
        for i, feed in enumerate(feeds[:16]):
            np.savez(self.work / "calib" / f"{i:02}.npz", **feed)
        reference = run(model, feeds[16:])
        score = lambda *flags: sqnr(reference, run(self.quantize(model, "--calib", str(self.work / "calib"), *flags), feeds[16:]))
        weight_only = ["--weight-only", "--weight-type"]
        for kind, form in (("s4", "qoperator"), ("u4", "qdq")):
            nearest = score(*weight_only, kind, "--format", form)
            self.assertGreater(score(*weight_only, kind, "--format", form, "--gptq"), nearest + 0.3)
        self.assertGreater(score(*weight_only, "s4", "--awq"), score(*weight_only, "s4") + 0.3)
        static = ["--include", "op:MatMul", "--calibrator", "minmax"]
        self.assertGreater(score(*static, "--smooth"), score(*static))

    def test_network_of_convolutions(self):
        images = cifar10.images(DATA / "cifar10net" / "test")[0][::16]
        model = DATA / "cifar10net" / "model.onnx"
        reference = cifar10.logits(str(model), images)

        def score(*flags):
            out = self.quantize(model, "--calib", str(DATA / "cifar10net" / "calib"), "--preprocess", "cifar10", *flags)
            return cifar10.sqnr(reference, cifar10.logits(str(out), images))

        self.assertGreater(score("--weight-only", "--weight-type", "s4", "--gptq"), score("--weight-only", "--weight-type", "s4") + 2)
        coarse = ["--per-tensor", "--calibrator", "mse"]
        self.assertGreater(score(*coarse, "--adaround"), score(*coarse) + 2)


if __name__ == "__main__":
    unittest.main()
