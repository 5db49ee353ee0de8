"""The figures of `onnxtool diff` against numpy, on outputs that are constants of two models.

Sums here are in extended precision, whose exponents hold the square of any double.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
from onnx import helper, numpy_helper

TOLERANCE = 1e-12


def total(x):
    return np.sum(np.asarray(x, dtype=np.longdouble))


def decibel(r, t):
    return float(10 * np.log10(total(np.square(r)) / total(np.square(t - r))))


def divergence(a, b):
    a, b = (v - v.max() for v in (a, b))
    log_p, log_q = a - np.log(np.exp(a).sum()), b - np.log(np.exp(b).sum())
    p = np.exp(log_p)
    return float((p * (log_p - np.maximum(log_q, np.log(np.longdouble(1e-12)))))[p > 0].sum())


def position(x):
    """Place among the floats of its type."""
    bits = x.view(np.int32 if x.dtype == np.float32 else np.int64).ravel().tolist()
    least = -(2 ** (8 * x.dtype.itemsize - 1))
    return [b if b >= 0 else least - b for b in bits]


def flips(a, b):
    x, y = a.argmax(), b.argmax()
    return bool(x != y and a[x] != a[y] and b[x] != b[y])


def expected(reference, test):
    """Metrics of one output of finite numbers and one sample."""
    steps = max(abs(p - q) for p, q in zip(position(reference), position(test)))
    rows = [side.astype(np.longdouble).reshape(-1, side.shape[-1]) for side in (reference, test)]
    r, t = (side.ravel() for side in rows)
    e = t - r
    rmse = np.sqrt(total(e * e) / e.size)
    relative = np.abs(e) / np.maximum(np.abs(r), np.longdouble(1e-6) * np.abs(r).max())
    best = lambda v: set(np.argsort(-v, kind="stable")[:min(5, len(v) - 1)])
    kl = [divergence(a, b) for a, b in zip(*rows)]
    return {
        "max_abs": np.abs(e).max(), "mean_abs": total(np.abs(e)) / e.size, "rmse": rmse,
        "max_rel": relative.max(), "mismatch": (e != 0).mean(), "ulp": float(steps),
        "outside": (np.abs(e) > 1e-5 + 1e-3 * np.abs(r)).mean(),
        "cosine": total(r * t) / np.sqrt(total(r * r) * total(t * t)),
        "gain": np.sqrt(total(t * t) / total(r * r)),
        "sqnr_db": decibel(r, t), "sqnr_min_db": decibel(r, t), "psnr_db": 20 * np.log10(np.abs(r).max() / rmse),
        "argmax": np.mean([a.argmax() == b.argmax() for a, b in zip(*rows)]),
        "flips": np.mean([flips(a, b) for a, b in zip(*rows)]),
        "top_k": np.mean([best(a) == best(b) for a, b in zip(*rows)]),
        "kl": np.mean(kl), "kl_max": max(kl),
    }, relative


def expected_of_samples(references, tests):
    """The same over samples, whose relative errors have a floor of their own each."""
    figures, _ = expected(np.concatenate(references), np.concatenate(tests))
    alone = [expected(r, t) for r, t in zip(references, tests)]
    relative = np.concatenate([part for _, part in alone])
    figures["max_rel"] = relative.max()
    figures["sqnr_min_db"] = min(f["sqnr_db"] for f, _ in alone)
    return figures, relative


class DiffMetrics(unittest.TestCase):
    def diff(self, references, tests):
        """The row of every metric, and the exit code. Sample i makes both models give their i-th array."""
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            paths = []
            for name, values in (("r", references), ("t", tests)):
                kind = helper.np_dtype_to_tensor_dtype(values[0].dtype)
                node = helper.make_node("Gather", ["c", "i"], ["y"])
                graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("i", onnx.TensorProto.INT64, [])],
                                          [helper.make_tensor_value_info("y", kind, values[0].shape)],
                                          [numpy_helper.from_array(np.stack(values), "c")])
                model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
                paths.append(directory / f"{name}.onnx")
                onnx.save(model, paths[-1])
            (directory / "data").mkdir()
            for i in range(len(references)):
                np.save(directory / "data" / f"{i}.npy", np.int64(i))
            run = subprocess.run([os.environ["ONNXTOOL_BINARY"], "diff", *paths, "--data", directory / "data", "--kl", "--atol", "1e-5",
                                  "--rtol", "1e-3", "--json", "-q", "--no-config"], capture_output=True, text=True)
            self.assertIn(run.returncode, (0, 1), run.stderr)
            return json.loads(run.stdout)["outputs"]["metrics"][0], run.returncode

    def check(self, *pairs):
        references, tests = zip(*pairs)
        row, code = self.diff(references, tests)
        figures, relative = expected_of_samples(references, tests)
        for key, value in figures.items():
            # The terms of a divergence cancel: what is left is exact to the size of the terms, not its own.
            error = abs(np.longdouble(row[key]) - value) / (1 if key.startswith("kl") else max(abs(value), np.longdouble(1e-300)))
            self.assertLess(error, TOLERANCE, f"{key}: {row[key]}, expected {value}")
        # Quantiles of a histogram of floats, whose bins are narrow.
        for key, share in (("rel_p50", 50), ("rel_p99", 99)):
            near = np.percentile(relative.astype(float), [share - 1, min(share + 1, 100)])
            self.assertTrue(near[0] * 0.98 - 1e-37 <= row[key] <= near[1] * 1.02, f"{key}: {row[key]}, expected within {near}")
        self.assertEqual(code, int(figures["outside"] > 0))

    def pair(self, dtype, scale=1.0, error=0.05):
        random = np.random.default_rng(7)
        r = random.normal(size=(60, 50))
        t = r + error * random.normal(size=r.shape)
        r[0, :2] = t[0, :2] = 9  # a tie
        return (r * scale).astype(dtype), (t * scale).astype(dtype)

    def test_floats(self):
        self.check(self.pair(np.float32))

    def test_large_errors(self):
        self.check(self.pair(np.float32, error=3))

    def test_doubles(self):
        self.check(self.pair(np.float64))

    def test_small_doubles(self):
        self.check(self.pair(np.float64, scale=1e-170))

    def test_large_doubles(self):
        self.check(self.pair(np.float64, scale=1e200))

    def test_sizes_apart(self):
        r, t = self.pair(np.float64)
        r[:20], t[:20] = r[:20] * 1e-170, t[:20] * 1e-170
        r[40:], t[40:] = r[40:] * 1e180, t[40:] * 1e180
        self.check((r, t))

    def test_samples(self):
        """Of different sizes and errors: the worst one is neither the first nor the last."""
        self.check(*(self.pair(np.float64, scale, error) for scale, error in ((1, 0.05), (1e3, 0.1), (1e-3, 2), (1e-9, 1e-4), (30, 0.01))))

    def test_samples_apart(self):
        """Sums of squares that no double holds beside those that it does."""
        self.check(*(self.pair(np.float64, scale, error) for scale, error in ((1e170, 0.05), (1e-170, 0.5), (1, 0.1))))

    def test_non_finite(self):
        r, t = self.pair(np.float32)
        r[0, 0] = t[0, 0] = np.nan
        r[1, 0] = t[1, 0] = np.inf
        r[2, 0], t[3, 0] = np.nan, np.nan
        r[4, 0], t[4, 0] = np.inf, -np.inf
        row, code = self.diff([r], [t])
        self.assertEqual(code, 1)
        self.assertEqual([row[k] for k in ("nan_both", "nan_reference_only", "nan_test_only", "infinity_mismatches")], [1, 1, 1, 1])
        finite = np.isfinite(r) & np.isfinite(t)
        self.assertEqual(row["compared"], finite.sum())
        self.assertAlmostEqual(row["max_abs"], np.abs(t[finite].astype(float) - r[finite]).max(), 12)

    def test_identical(self):
        r, _ = self.pair(np.float64, scale=1e-170)
        row, code = self.diff([r], [r])
        self.assertEqual((code, row["identical"], row["mismatch"], row["cosine"], row["ulp"]), (0, True, 0, 1, 0))


if __name__ == "__main__":
    unittest.main()
