"""`--accuracy-target` and `--bias-correction`, judged by ONNX Runtime on the same samples."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnxruntime as ort

import test_quantize_digits

DIGITS, PREPROCESS = test_quantize_digits.DIGITS, test_quantize_digits.PREPROCESS


def sqnr(reference, test):
    return 10 * np.log10((reference.astype(np.float64) ** 2).sum() / ((reference.astype(np.float64) - test) ** 2).sum())


class Accuracy(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.work = pathlib.Path(directory.name)
        self.images, self.labels = test_quantize_digits.test_images()

    def quantize(self, *flags, code=0):
        """The report, and what ONNX Runtime makes of the file."""
        output, report = self.work / "out.onnx", self.work / "report.json"
        result = test_quantize_digits.quantize(output, "-q", "--report", f"json={report}", *flags)
        self.assertEqual(result.returncode, code, result.stderr)
        return json.loads(report.read_text()), self.run_model(output) if code == 0 else None

    def run_model(self, path):
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(None, {session.get_inputs()[0].name: i[None]})[0] for i in self.images])

    def test_target_holds_in_onnxruntime(self):
        reference = self.run_model(test_quantize_digits.MODEL)
        _, values = self.quantize("--per-tensor", "--no-equalize", "--calibrator", "minmax", "--eval", DIGITS / "test")
        before = sqnr(reference, values)
        target = np.ceil(before) + 2
        report, values = self.quantize("--per-tensor", "--no-equalize", "--calibrator", "minmax", "--eval", DIGITS / "test",
                                       "--accuracy-target", f"sqnr={target}")
        search = report["accuracy_target"]
        self.assertTrue(search["met"])
        self.assertAlmostEqual(search["before"], before, delta=0.5)
        self.assertGreater(sqnr(reference, values), target - 0.3)  # its kernels round a little differently
        self.assertLessEqual(search["runs"], search["budget"])
        self.assertGreater(report["quantization"]["integer_nodes"], 0)
        self.assertGreater(search["layers_in_float"], 0)

    def test_target_out_of_reach(self):
        report, _ = self.quantize("--eval", DIGITS / "test", "--accuracy-target", "sqnr=120", code=1)
        self.assertEqual(report["findings"][0]["code"], "accuracy-target-missed")
        self.assertFalse((self.work / "out.onnx").exists())

    def test_no_layer_in_float_where_a_rung_is_enough(self):
        """Few samples say 42 dB of 16-bit activations, as those where u8 does badly are others; on all they have 45 dB."""
        for calibrator in ["auto", "mse"]:  # with one of them the budget is three times smaller
            report, _ = self.quantize("--target", "portable", "--calibrator", calibrator, "--accuracy-target", "sqnr=44")
            search = report["accuracy_target"]
            self.assertEqual(search["layers_in_float"], 0)
            self.assertGreater(search["after"], 44)
            self.assertEqual([r["setting"] for r in search["rungs"] if r["kept"]], ["activation-type"])
            self.assertLessEqual(search["runs"], search["budget"])

    def test_drop_of_labels(self):
        report, values = self.quantize("--eval", DIGITS / "test", "--accuracy-target", "drop=0.5")
        reference = self.run_model(test_quantize_digits.MODEL)
        right = lambda scores: (scores.argmax(1) == self.labels).mean() * 100
        self.assertLessEqual(right(reference) - right(values), 0.5)
        self.assertTrue(report["accuracy_target"]["met"])

    def test_bias_correction_helps_other_samples(self):
        """Corrections come from calibration samples; test samples gain by them."""
        reference = self.run_model(test_quantize_digits.MODEL)
        flags = ["--per-tensor", "--no-equalize", "--calibrator", "minmax", "--include", "op:Conv", "--include", "op:Gemm"]
        _, plain = self.quantize(*flags)
        report, corrected = self.quantize(*flags, "--bias-correction")
        self.assertTrue(report["bias_correction"]["kept"])
        self.assertGreater(sqnr(reference, corrected), sqnr(reference, plain))


if __name__ == "__main__":
    unittest.main()
