"""The int8 file that `onnxtool quantize` writes for testdata/digits, judged by ONNX Runtime."""

import collections
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime as ort
from PIL import Image

DIGITS = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"]) / "testdata" / "digits"
MODEL = DIGITS / "model.onnx"
PREPROCESS = "--resize 32 --channels grey --scale 1/255 --mean 0.3 --std 0.35".split()


def quantize(output, *flags):
    command = [os.environ["ONNXTOOL_BINARY"], "quantize", str(MODEL), "--calib", str(DIGITS / "calib")]
    command += [*PREPROCESS, *flags, "-o", str(output)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_images():
    """The preprocess of the data's README, in Pillow and NumPy: independent of onnxtool's."""
    images, labels = [], []
    for path in sorted((DIGITS / "test").glob("*/*.png")):
        grey = Image.open(path).convert("L").resize((32, 32), Image.BILINEAR)
        images.append((np.asarray(grey, dtype=np.float32) / 255 - 0.3) / 0.35)
        labels.append(int(path.parent.name))
    return np.stack(images)[:, None].astype(np.float32), np.array(labels)


def session(path, optimized=None):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    if optimized:
        # Level all would be saved in a layout of this machine.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimized)
        options.log_severity_level = 3  # it warns that the saved file is for this machine
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class QuantizeDigits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.directory = pathlib.Path(directory.name)
        cls.output = cls.directory / "digits.int8.onnx"
        cls.result = quantize(cls.output, "--eval", str(DIGITS / "test"))
        cls.images, cls.labels = test_images()

    def setUp(self):
        self.assertEqual(self.result.returncode, 0, self.result.stdout + self.result.stderr)

    def logits(self, path):
        return session(path).run(None, {"image": self.images})[0]

    def test_writes_only_the_output(self):
        self.assertEqual([p.name for p in self.directory.iterdir() if p.suffix != ".saved"], ["digits.int8.onnx"])

    def test_is_a_valid_model(self):
        onnx.checker.check_model(str(self.output), full_check=True)

    def test_keeps_the_interface(self):
        before, after = onnx.load(MODEL).graph, onnx.load(self.output).graph
        self.assertEqual(list(before.input), list(after.input))
        self.assertEqual(list(before.output), list(after.output))

    def test_is_smaller(self):
        # 4 bytes a weight become 1; Q and DQ nodes, scales and names stay.
        self.assertLess(self.output.stat().st_size, MODEL.stat().st_size / 1.6)

    def test_keeps_the_accuracy(self):
        before, after = self.logits(MODEL), self.logits(self.output)
        right = lambda logits: np.mean(logits.argmax(1) == self.labels)
        self.assertGreater(right(before), 0.99)
        # Two images of 500.
        self.assertGreaterEqual(right(after), right(before) - 0.004)
        noise = np.square(before - after).sum()
        self.assertGreater(10 * np.log10(np.square(before).sum() / noise), 20)

    def test_convolutions_run_in_integers(self):
        saved = self.directory / "extended.saved"
        session(self.output, optimized=saved)
        operators = collections.Counter(node.op_type for node in onnx.load(saved).graph.node)
        self.assertEqual((operators["QLinearConv"], operators["Conv"], operators["FusedConv"]), (13, 1, 3), operators)

    def test_same_bytes_for_any_thread_count(self):
        with tempfile.TemporaryDirectory() as other:
            path = pathlib.Path(other) / "digits.int8.onnx"
            result = quantize(path, "--eval", str(DIGITS / "test"), "--threads", "1")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(path.read_bytes(), self.output.read_bytes())


if __name__ == "__main__":
    unittest.main()
