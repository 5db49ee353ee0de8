"""`optimize --opset N` downwards: ONNX Runtime loads what comes out and computes what the original did.

Blockers are counted beside onnx's own converter, which must not go further than we do on any model whose result it can
check and run. The data lies beside the checkout in ../shared; without it the test is skipped.
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

import onnx
import onnx.version_converter
import onnxruntime as ort

import test_optimize_models as models
from real_models import session
from test_optimize_models import MODELS, feeds

UNOPTIMIZED = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
LARGEST = 60 << 20


def opset_of(path):
    imports = onnx.load(path, load_external_data=False).opset_import
    return max((o.version for o in imports if o.domain in ("", "ai.onnx")), default=0)


class LoweredModels(unittest.TestCase):
    compare = models.OptimizedModels.compare

    def lower(self, path, target, output):
        return subprocess.run([os.environ["ONNXTOOL_BINARY"], "optimize", str(path), "--opset", str(target), "-o", str(output),
                               "-q", "--verify", "off"], capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def peer_can(self, path, target, feed):
        """Whether onnx's converter gives a model that runs."""
        try:
            lowered = onnx.version_converter.convert_version(onnx.load(path), target)
            lowered.ir_version = min(lowered.ir_version, 10)
            ort.InferenceSession(lowered.SerializeToString()).run(None, feed)
            return True
        except Exception:
            return False

    @unittest.skipUnless(MODELS.is_dir(), "no ../shared/data/models")
    def test_onnxruntime_computes_the_same(self):
        ours, theirs = {}, {}
        for path in sorted(MODELS.glob("*/model.onnx")):
            if path.stat().st_size > LARGEST:
                continue
            for target in (12, 9):
                if opset_of(path) <= target:
                    continue
                name = (path.parent.name, target)
                with self.subTest(model=name), tempfile.TemporaryDirectory() as directory:
                    try:
                        original = session(path, level=UNOPTIMIZED)
                    except Exception:  # operators that this release lacks
                        continue
                    fed = next(iter(feeds(path, original)), None)
                    if fed is None:
                        continue
                    output = pathlib.Path(directory) / "out.onnx"
                    done = self.lower(path, target, output)
                    theirs[name] = self.peer_can(path, target, fed[0])
                    ours[name] = done.returncode == 0
                    if not ours[name]:
                        self.assertEqual(done.returncode, 2, done.stderr)
                        self.assertIn("cannot lower ai.onnx", done.stderr)
                        continue
                    self.assertEqual(opset_of(output), target)
                    lowered = session(output, level=UNOPTIMIZED)
                    names = {i.name for i in lowered.get_inputs()}
                    self.compare(path, fed[1], lowered.run(None, {n: v for n, v in fed[0].items() if n in names}))
        print(f"lowered: {sum(ours.values())} of {len(ours)}; onnx's converter: {sum(theirs.values())}")
        self.assertTrue(any(ours.values()))
        self.assertGreaterEqual(sum(ours.values()), sum(theirs.values()))
        self.assertEqual([n for n in ours if theirs[n] and not ours[n]], [])


if __name__ == "__main__":
    unittest.main()
