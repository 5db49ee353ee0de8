"""`diff --per-layer local --bisect`: ONNX Runtime runs the layer that is to blame, alone, and sees the same error.

The layer is drawn anew each time and printed; ONNXTOOL_SEED repeats one.
"""

import json
import os
import pathlib
import random
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

ROOT = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
SEED = int(os.environ.get("ONNXTOOL_SEED", random.SystemRandom().randrange(1 << 32)))


def tensor(path):
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


class Bisect(unittest.TestCase):
    def test_the_spoiled_layer_stands_alone(self):
        reference = ROOT / "testdata" / "digits" / "model.onnx"
        model = onnx.load(reference)
        rng = random.Random(SEED)
        node = rng.choice([n for n in model.graph.node if n.op_type == "Conv"])
        print(f"\nONNXTOOL_SEED={SEED}: {node.name}")
        weight = next(t for t in model.graph.initializer if t.name == node.input[1])
        values = numpy_helper.to_array(weight).copy()
        values[rng.randrange(len(values))] *= 1.5
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            onnx.save(model, directory / "spoiled.onnx")
            out, report = directory / "out", directory / "report.json"
            command = [os.environ["ONNXTOOL_BINARY"], "diff", reference, directory / "spoiled.onnx", "--random", "4", "--dim", "batch=1"]
            command += ["--per-layer", "local", "--bisect", out, "--report", f"json={report}", "-q", "--no-config"]
            self.assertIn(subprocess.run(command, stderr=subprocess.DEVNULL).returncode, (0, 1))
            layers = json.loads(report.read_text())["layers"]
            self.assertEqual(layers["first_divergence"], node.output[0])
            part = onnx.load(out / "model.onnx")
            onnx.checker.check_model(part, full_check=True)
            self.assertEqual([n.name for n in part.graph.node], [node.name])
            data = out / "test_data_set_0"
            feeds = {v.name: tensor(data / f"input_{i}.pb") for i, v in enumerate(part.graph.input)}
            expected = tensor(data / "output_0.pb").astype(np.float64)
            session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
            error = session.run(None, feeds)[0] - expected
            decibels = 10 * np.log10((expected**2).sum() / (error**2).sum())
            self.assertAlmostEqual(decibels, layers["bisect_db"], delta=0.01)


if __name__ == "__main__":
    unittest.main()
