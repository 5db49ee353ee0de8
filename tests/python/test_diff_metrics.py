"""The figures of `onnxtool diff` against numpy, from outputs that `onnxtool run` writes.

  python tests/python/test_diff_metrics.py REFERENCE.onnx TEST.onnx [flags for the samples]

ONNXTOOL names the program (default: onnxtool in PATH). Sums here are in extended precision.
"""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

TOOL = os.environ.get("ONNXTOOL", "onnxtool")
TOLERANCE = 1e-12


def total(x):
    return np.sum(np.asarray(x, dtype=np.longdouble))


def decibel(r, t):
    return float(10 * np.log10(total(np.square(r)) / total(np.square(t - r))))


def divergence(a, b):
    a, b = (v.astype(np.longdouble) - v.max() for v in (a, b))
    log_p, log_q = a - np.log(np.exp(a).sum()), b - np.log(np.exp(b).sum())
    p = np.exp(log_p)
    return float((p * (log_p - np.maximum(log_q, np.log(np.longdouble(1e-12)))))[p > 0].sum())


def expected(reference, test):
    """Metrics of one output over its samples."""
    r, t = (np.concatenate([x.ravel() for x in side]) for side in (reference, test))
    e = t - r
    rmse = float(np.sqrt(total(e * e) / e.size))
    per_sample = [decibel(a, b) for a, b in zip(reference, test) if (a != b).any()]
    relative = [np.abs(b - a) / np.maximum(np.abs(a), 1e-6 * np.abs(a).max()) for a, b in zip(reference, test)]
    out = {
        "max_abs": np.abs(e).max(), "mean_abs": float(total(np.abs(e)) / e.size), "rmse": rmse,
        "max_rel": max(x.max() for x in relative), "mismatch": (e != 0).mean(),
        "outside": (np.abs(e) > 1e-5 + 1e-3 * np.abs(r)).mean(),
        "cosine": float(total(r * t) / np.sqrt(total(r * r) * total(t * t))),
        "gain": float(np.sqrt(total(t * t) / total(r * r))),
    }
    if per_sample:
        out |= {
            "sqnr_db": decibel(r, t), "psnr_db": float(20 * np.log10(np.abs(r).max() / rmse)),
            "sqnr_min_db": min(per_sample), "sqnr_mean_db": np.mean(per_sample),
            "sqnr_median_db": np.median(per_sample), "sqnr_p1_db": np.percentile(per_sample, 1),
            "sqnr_p5_db": np.percentile(per_sample, 5),
        }
    if reference[0].ndim and reference[0].shape[-1] > 1:
        rows = [[v for x in side for v in x.reshape(-1, x.shape[-1])] for side in (reference, test)]
        best = lambda v: set(np.argsort(-v, kind="stable")[:5])
        out["argmax"] = np.mean([a.argmax() == b.argmax() for a, b in zip(*rows)])
        out["top_k"] = np.mean([best(a) == best(b) for a, b in zip(*rows)])
        kl = [divergence(a, b) for a, b in zip(*rows)]
        out |= {"kl": np.mean(kl), "kl_max": max(kl)}
    return out


def outputs_of(model, flags, directory):
    subprocess.run([TOOL, "run", model, *flags, "-o", directory, "-q", "--kernels", "cpu"], check=True)
    return lambda output: [
        np.load(f).astype(np.float64)
        for f in sorted(glob.glob(os.path.join(directory, re.sub(r"[^A-Za-z0-9._-]", "_", output), "*.npy")))
    ]


def main(reference, test, *flags):
    with tempfile.TemporaryDirectory() as work:
        ours = outputs_of(reference, flags, os.path.join(work, "r"))
        theirs = outputs_of(test, flags, os.path.join(work, "t"))
        diff = subprocess.run([TOOL, "diff", reference, test, *flags, "--kl", "--atol", "1e-5", "--rtol", "1e-3", "--json", "-q", "--exit-zero", "--kernels", "cpu"],
                              check=True, capture_output=True)
        worst, failed = 0.0, []
        for row in json.loads(diff.stdout)["outputs"]["metrics"]:
            for key, value in expected(ours(row["output"]), theirs(row["output"])).items():
                # The terms of a divergence cancel: what is left is exact to the size of the terms, not its own.
                error = abs(row[key] - value) / (1.0 if key.startswith("kl") else max(abs(value), 1e-300))
                worst = max(worst, error)
                if error > TOLERANCE:
                    failed.append(f"{row['output']} {key}: {row[key]}, expected {value}")
    print("\n".join(failed) or f"all figures agree; largest relative difference {worst:.1e}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
