"""examples/record_golden.py: what ONNX Runtime answered is a golden set that models pass, and changed ones do not."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])


class RecordGolden(unittest.TestCase):
    def test_other_runtimes_can_be_compared(self):
        model = ROOT / "testdata" / "digits" / "model.onnx"
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            samples = [directory / f"{i}.npz" for i in range(3)]
            for i, path in enumerate(samples):
                np.savez(path, image=np.random.default_rng(i).normal(size=(1, 1, 32, 32)).astype(np.float32))
            golden = directory / "golden"
            subprocess.run([sys.executable, ROOT / "examples" / "record_golden.py", model, golden, *samples], check=True)
            changed = onnx.load(model)
            weight = changed.graph.initializer[0]
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.5, weight.name))
            onnx.save(changed, directory / "changed.onnx")
            for path, expected in ((model, 0), (directory / "changed.onnx", 1)):
                command = [os.environ["ONNXTOOL_BINARY"], "diff", golden, path, "-q", "--no-config"]
                result = subprocess.run(command, capture_output=True, text=True)
                self.assertEqual(result.returncode, expected, result.stderr)


if __name__ == "__main__":
    unittest.main()
