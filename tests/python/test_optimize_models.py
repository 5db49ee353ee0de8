"""Real models at level extended: ONNX Runtime's own kernels of com.microsoft operators compute what the original did.

The built-in verification runs our kernels on both sides, so a fusion that both misread would pass there. The data lies
beside the checkout in ../shared; without it the test is skipped.
"""

import collections
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime as ort

from real_models import DATA, samples, session

MODELS = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"]).parent / "shared" / "data" / "models"
UNOPTIMIZED, ALL_ON = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL
# Of the largest magnitude of an output. Float kernels sum in other orders; models with float16 round every result.
TOLERANCE, TOLERANCE_FP16 = 2e-4, 1e-2


def drawn(inputs):
    """Seeded values; small integers are valid indices everywhere. None: an input is no tensor of numbers."""
    random = np.random.default_rng(0)
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
             "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    feed = {}
    for i in inputs:
        if i.type not in types:
            return None
        shape, dtype = [d if isinstance(d, int) else 2 for d in i.shape], types[i.type]
        is_integer = np.issubdtype(dtype, np.integer)
        feed[i.name] = (random.integers(0, 2, shape) if is_integer else random.standard_normal(shape)).astype(dtype)
    return feed


def feeds(path, original):
    """Stored samples, else drawn ones, on which the original runs, with its results."""
    names = [i.name for i in original.get_inputs()]
    folder = MODELS / DATA.get(path.parent.name, path.parent.name)
    try:
        candidates = samples(folder, names)[:2]
    except FileNotFoundError:
        candidates = []
    for feed in candidates or [drawn(original.get_inputs())]:
        if feed is None:
            continue
        try:
            yield feed, original.run(None, feed)
        except Exception:  # the original refuses what was drawn
            continue


def uses_fp16(path):
    graph = onnx.load(path, load_external_data=False).graph
    half = onnx.TensorProto.FLOAT16
    return (any(t.data_type == half for t in graph.initializer)
            or any(n.op_type == "Cast" and n.attribute[0].i == half for n in graph.node))


def is_quantized(path):
    return any(n.op_type == "DequantizeLinear" for n in onnx.load(path, load_external_data=False).graph.node)


class OptimizedModels(unittest.TestCase):
    def compare(self, path, expected, actual):
        tolerance = TOLERANCE_FP16 if uses_fp16(path) else TOLERANCE
        self.assertEqual(len(expected), len(actual))
        for e, a in zip(expected, actual):
            if not isinstance(e, np.ndarray) or e.dtype.kind not in "fiub":
                self.assertEqual(str(e), str(a))
                continue
            self.assertEqual((e.shape, e.dtype), (a.shape, a.dtype))
            if e.size == 0:
                continue
            np.testing.assert_array_equal(np.isnan(a) if e.dtype.kind == "f" else 0, np.isnan(e) if e.dtype.kind == "f" else 0)
            scale = np.max(np.abs(e[np.isfinite(e)].astype(np.float64)), initial=0) if e.dtype.kind == "f" else 0
            np.testing.assert_allclose(a.astype(np.float64), e.astype(np.float64), rtol=0, atol=tolerance * scale)

    @unittest.skipUnless(MODELS.is_dir(), "no ../shared/data/models")
    def test_onnxruntime_computes_the_same(self):
        fused, compared = collections.Counter(), 0
        for path in sorted(MODELS.glob("*/model.onnx")):
            with self.subTest(model=path.parent.name), tempfile.TemporaryDirectory() as directory:
                try:
                    session(path, level=UNOPTIMIZED)
                except Exception:  # operators that this release lacks
                    continue
                output = pathlib.Path(directory) / "out.onnx"
                # Integer operators round once where Q and DQ around a float one round several times: with them the file
                # says what ONNX Runtime makes of the original; without them it computes what the original does.
                pairs = [((), UNOPTIMIZED, UNOPTIMIZED), ((), ALL_ON, ALL_ON)]
                if is_quantized(path):
                    pairs = [((), ALL_ON, UNOPTIMIZED), ((), ALL_ON, ALL_ON), (("--disable", "fuse-qdq"), UNOPTIMIZED, UNOPTIMIZED)]
                for flags, level_before, level_after in pairs:
                    done = subprocess.run([os.environ["ONNXTOOL_BINARY"], "optimize", str(path), "-o", str(output), "-q", "--force",
                                           "--verify", "off", "--level", "extended", "--target", "ort-cpu", *flags],
                                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    fused.update(n.op_type for n in onnx.load(output, load_external_data=False).graph.node
                                 if n.domain == "com.microsoft")
                    original = session(path, level=level_before)
                    optimized = session(output, level=level_after)
                    names = {i.name for i in optimized.get_inputs()}
                    for feed, expected in feeds(path, original):
                        actual = optimized.run(None, {n: v for n, v in feed.items() if n in names})
                        self.compare(path, expected, actual)
                        compared += 1
        self.assertGreater(compared, 60)
        # What it is for: operators that only ONNX Runtime has.
        for op in ("Attention", "BiasGelu", "FastGelu", "FusedConv", "FusedGemm", "FusedMatMul"):
            self.assertGreater(fused[op], 0, op)
        # ONNX Runtime's kernels for these are slower than the nodes.
        self.assertEqual(fused["SkipLayerNormalization"] + fused["EmbedLayerNormalization"], 0)

    @unittest.skipUnless(MODELS.is_dir(), "no ../shared/data/models")
    def test_twice_is_once(self):
        """What comes out of optimizing is optimal, and comes out as it is, byte for byte."""
        for path in sorted(MODELS.glob("*/model.onnx")):
            for flags in ([], ["--level", "extended", "--target", "ort-cpu"]):
                with self.subTest(model=path.parent.name, flags=flags), tempfile.TemporaryDirectory() as directory:
                    # Of one file name: with external data the model holds the data file's name.
                    once, twice = (pathlib.Path(directory) / n / "out.onnx" for n in ("once", "twice"))
                    once.parent.mkdir()
                    twice.parent.mkdir()
                    for source, output in ((path, once), (once, twice)):
                        done = subprocess.run([os.environ["ONNXTOOL_BINARY"], "optimize", str(source), "-o", str(output),
                                               "-q", "--verify", "off", *flags],
                                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
                        if done.returncode == 2 and source == path:
                            break  # what cannot be read has no answer to repeat
                        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    else:
                        self.assertEqual(once.read_bytes(), twice.read_bytes())


if __name__ == "__main__":
    unittest.main()
