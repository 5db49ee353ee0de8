"""Which products ONNX Runtime adds in 16 bits on CPUs without VNNI: its own kernels for AVX2, against plain sums.

Valgrind runs them on any machine: the CPU that it shows has AVX2 and nothing newer. Without it the tests are skipped.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from real_models import session, sqnr

SOURCE = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
DIGITS = SOURCE.parent / "shared" / "data" / "digits"
ONNXTOOL = os.environ["ONNXTOOL_BINARY"]
SIDE = 4


def run_all(folder):
    """Of each x.onnx on x.in.npy."""
    out = {}
    for model in sorted(pathlib.Path(folder).glob("*.onnx")):
        s = session(model)
        out[model.stem] = s.run(None, {s.get_inputs()[0].name: np.load(model.with_suffix(".in.npy"))})[0]
    return out


def save(folder, name, op, inputs, out, domain="", **attributes):
    constants = [numpy_helper.from_array(np.asarray(a), f"i{k}") for k, a in enumerate(inputs) if k]
    x = helper.make_tensor_value_info("i0", helper.np_dtype_to_tensor_dtype(inputs[0].dtype), inputs[0].shape)
    node = helper.make_node(op, [f"i{k}" for k in range(len(inputs))], ["y"], domain=domain, **attributes)
    graph = helper.make_graph([node], "g", [x], [helper.make_tensor_value_info("y", out, None)], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / f"{name}.onnx")
    np.save(folder / f"{name}.in.npy", inputs[0])


def summed(data, weights, in_pairs):
    products = data.astype(np.int64) * weights
    if len(products) % 2:
        products = np.append(products, 0)
    sums = products[0::2] + products[1::2]
    return (np.clip(sums, -32768, 32767) if in_pairs else sums).sum()


def windows(x, w, group, order):
    """Each output's data and weights, side by side in the order of the sum."""
    outputs, channels, kernel = w.shape[:3]
    n = SIDE - kernel + 1
    for m in range(outputs):
        first = m // (outputs // group) * channels
        for i in range(n):
            for j in range(n):
                patch = x[0, first:first + channels, i:i + kernel, j:j + kernel]
                yield patch.transpose(order).ravel(), w[m].transpose(order).ravel()


@unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed")
class PairSums(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        work = tempfile.TemporaryDirectory()
        cls.addClassCleanup(work.cleanup)
        cls.folder = pathlib.Path(work.name)
        cls.random = np.random.default_rng(1)
        cls.expected = {}
        # One for each kernel: by im2col, direct and indirect, pointwise, in groups, two outputs for a channel, depthwise.
        for name, shape, group in (("im2col", (5, 3, 3, 3), 1), ("indirect", (16, 4, 3, 3), 1), ("pointwise", (16, 8, 1, 1), 1),
                                   ("groups", (12, 3, 2, 2), 2), ("multiplied", (8, 1, 3, 3), 4), ("depthwise", (16, 1, 3, 3), 16),
                                   ("few-depthwise", (3, 1, 3, 3), 3)):
            cls.add_conv(name, shape, group)
        for rows, depth, columns in ((3, 7, 5), (2, 401, 20), (1, 9, 40)):
            a, b = cls.data((rows, depth)), cls.weights((depth, columns))
            products = {p: np.array([[summed(r, c, p) for c in b.T] for r in a]) for p in (False, True)}
            name = f"{rows}x{depth}"
            save(cls.folder, f"matmul-{name}", "MatMulInteger", [a, b], TensorProto.INT32)
            one, zero = np.float32(1), (np.uint8(0), np.int8(0))
            save(cls.folder, f"gemm-{name}", "QGemm", [a, one, zero[0], b.T.copy(), one, zero[1]], TensorProto.FLOAT,
                 "com.microsoft", transB=1)
            for op in ("matmul", "gemm"):
                cls.expected[f"{op}-{name}"] = products[True], [products[False]]
        x, w = cls.data((1, 4, SIDE, SIDE)), cls.weights((4, 4, 3, 3))
        save(cls.folder, "conv-integer", "ConvInteger", [x, w], TensorProto.INT32)
        exact = [summed(d, c, False) for d, c in windows(x, w, 1, (0, 1, 2))]
        cls.expected["conv-integer"] = np.reshape(exact, (1, 4, 2, 2)), []
        if DIGITS.is_dir():
            cls.add_digits()
        cls.native = run_all(cls.folder)
        subprocess.run(["valgrind", "--tool=none", "-q", sys.executable, __file__, str(cls.folder)], check=True,
                       capture_output=True, timeout=1200)
        cls.without_vnni = dict(np.load(cls.folder / "out.npz"))

    @classmethod
    def data(cls, shape):
        return cls.random.integers(128, 256, shape).astype(np.uint8)

    @classmethod
    def weights(cls, shape):
        return cls.random.integers(-128, 128, shape).astype(np.int8)

    @classmethod
    def add_conv(cls, name, shape, group):
        x, w = cls.data((1, shape[1] * group, SIDE, SIDE)), cls.weights(shape)
        by_channel, by_tap = (1, 2, 0), (0, 1, 2)
        sums = {(p, o): np.array([summed(d, c, p) for d, c in windows(x, w, group, o)])
                for p, o in ((True, by_channel), (True, by_tap), (False, by_tap))}
        n = SIDE - shape[2] + 1
        scale = np.float32(max(np.ptp(s) for s in sums.values()) / 200)
        codes = {k: np.clip(np.rint(s.astype(np.float32) * (1 / scale)) + 128, 0, 255).reshape(1, shape[0], n, n)
                 for k, s in sums.items()}
        one = np.float32(1)
        save(cls.folder, name, "QLinearConv", [x, one, np.uint8(0), w, one, np.int8(0), scale, np.uint8(128)],
             TensorProto.UINT8, group=group)
        exact = codes.pop((False, by_tap))
        if name.endswith("depthwise"):
            cls.expected[name] = exact, list(codes.values())
        else:
            others = [exact] + ([codes[True, by_tap]] if shape[1] > 1 and shape[2] > 1 else [])
            cls.expected[name] = codes[True, by_channel], others

    @classmethod
    def add_digits(cls):
        how = "--resize 32 --channels grey --mean 0.3 --std 0.35".split()
        for target in ("ort-cpu", "ort-cpu-no-vnni"):
            for flag in ("--per-tensor", "--adaround"):
                out = cls.folder / f"digits-{target}{flag}.onnx"
                subprocess.run([ONNXTOOL, "quantize", str(DIGITS / "model.onnx"), "--calib", str(DIGITS / "calib"), *how, "-q",
                                "--verify", "off", "--target", target, flag, "-o", str(out)], check=True, stdin=subprocess.DEVNULL)
                shape = [d.dim_value or 3 for d in onnx.load(out).graph.input[0].type.tensor_type.shape.dim]
                np.save(out.with_suffix(".in.npy"), np.random.default_rng(2).normal(size=shape).astype(np.float32))

    def test_kernels_add_the_pairs(self):
        for name, (expected, others) in self.expected.items():
            with self.subTest(name):
                np.testing.assert_array_equal(self.without_vnni[name], expected)
                for other in others:  # else this shows nothing
                    self.assertTrue((other != expected).any())

    @unittest.skipUnless(DIGITS.is_dir(), "no ../shared")
    def test_our_models_lose_nothing(self):
        for flag in ("--per-tensor", "--adaround"):
            with self.subTest(flag):
                quality = {}
                for target in ("ort-cpu", "ort-cpu-no-vnni"):
                    name = f"digits-{target}{flag}"
                    quality[target] = sqnr([self.native[name]], [self.without_vnni[name].astype(np.float64)])
                self.assertLess(quality["ort-cpu"], 45)
                self.assertGreater(quality["ort-cpu-no-vnni"], 100)


if __name__ == "__main__":
    np.savez(pathlib.Path(sys.argv[1]) / "out.npz", **run_all(sys.argv[1]))
