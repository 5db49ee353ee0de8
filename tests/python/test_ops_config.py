"""Operator configs against onnxruntime's own converter, over the real models, with optimization disabled."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
MODELS = ROOT / ".." / "shared" / "data" / "models"


def lines(text):
    """All but comments, which name paths."""
    return [line for line in text.splitlines() if not line.startswith("#")]


def ours(paths, *flags):
    command = [os.environ["ONNXTOOL_BINARY"], "ops-config", "--no-config", *flags, *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise AssertionError(f"exit {result.returncode}: {result.stderr}")
    return lines(result.stdout)


def convert(model, out, *flags):
    """What onnxruntime's converter writes for one model into a directory of its own."""
    command = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", "--optimization_style", "Fixed"]
    environment = {**os.environ, "ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL": "disable"}
    return subprocess.run([*command, *flags, "--output_dir", str(out), str(model)], capture_output=True, env=environment).returncode == 0


class Configs(unittest.TestCase):
    def compare(self, name, *flags):
        paths = sorted(MODELS.glob("*/model.onnx"))
        if not paths:
            self.skipTest("no models here")
        compared = 0
        for path in paths:
            with tempfile.TemporaryDirectory() as out:
                peer_flags = ["--enable_type_reduction"] if flags else []
                if not convert(path, out, *peer_flags):
                    continue
                compared += 1
                written = next(pathlib.Path(out).glob(f"*{name}.disable.config"))
                with self.subTest(model=path.parent.name):
                    self.assertEqual(lines(written.read_text()), ours([path], *flags))
                    if path.parent.name == "nested_loops_30":
                        continue  # nested deeper than a .ort file may be: onnxruntime writes it and refuses to load it
                    # The same from the .ort file that the converter wrote.
                    self.assertEqual(lines(written.read_text()), ours(list(pathlib.Path(out).glob("*.ort")), *flags))
        self.assertGreater(compared, 40)

    def test_types_of_real_models(self):
        self.compare("required_operators_and_types", "--type-reduction")

    def test_operators_of_many_models_together(self):
        from onnxruntime.tools.ort_format_model import create_config_from_models

        with tempfile.TemporaryDirectory() as out:
            paths = []
            for path in sorted(MODELS.glob("*/model.onnx"))[:12]:
                place = pathlib.Path(out) / path.parent.name
                if convert(path, place):
                    paths.append((path, next(place.glob("*.ort"))))
            if not paths:
                self.skipTest("no models here")
            config = pathlib.Path(out) / "all.config"
            create_config_from_models([ort for _, ort in paths], config, False)
            self.assertEqual(lines(config.read_text()), ours([onnx for onnx, _ in paths]))


if __name__ == "__main__":
    unittest.main()
