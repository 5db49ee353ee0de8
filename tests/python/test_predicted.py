"""Small graphs around operators that fuse under conditions: ONNX Runtime's counts of integer operators, Q and DQ are those that
were predicted, and the error is that of 8 bits.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from real_models import is_integer, operators, session, sqnr

ONNXTOOL = os.environ["ONNXTOOL_BINARY"]
LEAST_DB = 28
SHAPE = [1, 8, 12, 12]


def conv(x, w, y):
    return helper.make_node("Conv", [x, w], [y], pads=[1, 1, 1, 1])


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], **attributes)


def graph_of(body, constants, inputs=(), opset=13):
    """x through a convolution to `a`, `body`, and `z` through another to y."""
    random = np.random.default_rng(1)
    weights = {n: (random.standard_normal((8, 8, 3, 3)) * 0.15).astype(np.float32) for n in ("w1", "w2", "w3")}
    info = helper.make_tensor_value_info
    graph = helper.make_graph([conv("x", "w1", "a"), *body, conv("z", "w2", "y")], "g",
                              [info("x", TensorProto.FLOAT, SHAPE), *(info(n, TensorProto.BOOL, s) for n, s in inputs)],
                              [info("y", TensorProto.FLOAT, None)],
                              [numpy_helper.from_array(np.asarray(v), n) for n, v in (weights | constants).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


class Predicted(unittest.TestCase):
    def check(self, model, expected, *flags):
        """Quantizes the model; `expected`: counts of some operators in the graph that runs."""
        with tempfile.TemporaryDirectory() as directory:
            work = pathlib.Path(directory)
            onnx.save(model, work / "m.onnx")
            random = np.random.default_rng(2)
            feeds = [{i.name: self.values(random, i) for i in model.graph.input} for _ in range(6)]
            (work / "calib").mkdir()
            for i, feed in enumerate(feeds):
                np.savez(work / "calib" / f"{i}.npz", **feed)
            result = subprocess.run([ONNXTOOL, "quantize", work / "m.onnx", "--calib", work / "calib", "--calibrator", "minmax",
                                     "-o", work / "q.onnx", "--json", *flags], capture_output=True, text=True,
                                    stdin=subprocess.DEVNULL)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            report = json.loads(result.stdout)
            quantized = session(work / "q.onnx", saved=work / "s.onnx")
            counts = operators(onnx.load(work / "s.onnx").graph)
            runs = {op: n for op, n in counts.items() if is_integer(op) or op in ("QuantizeLinear", "DequantizeLinear")}
            predicted = {row["op"]: row["count"] for row in report["quantization"]["predicted"] if row["count"]}
            self.assertEqual(predicted, runs)
            self.assertEqual({op: counts[op] for op in expected}, expected)
            reference = session(work / "m.onnx", level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
            run = lambda s: [s.run(None, feed)[0] for feed in feeds]
            self.assertGreater(sqnr(run(reference), run(quantized)), LEAST_DB)

    @staticmethod
    def values(random, value):
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.elem_type == TensorProto.BOOL:
            return random.random(shape) > 0.5
        return random.standard_normal(shape).astype(np.float32)

    def check_forms(self, model, expected):
        for flags in (["--include", "op:*"], ["--target", "ort-arm64"], ["--target", "ort-mobile"],
                      ["--include", "op:*", "--format", "qoperator"]):
            with self.subTest(flags=flags):
                self.check(model, expected, *flags)

    def test_where(self):
        condition = [("c", SHAPE)]
        for name, body, constants in (
                ("scalar", [node("Where", "c a k", "z")], {"k": np.float32(-0.5)}),
                ("row", [node("Where", "c k a", "z")], {"k": np.linspace(-1, 1, 8, dtype=np.float32).reshape(8, 1, 1)}),
                ("two", [conv("x", "w3", "b"), node("Where", "c b a", "z")], {})):
            with self.subTest(name):
                self.check_forms(graph_of(body, constants, condition), {"QLinearWhere": 1, "Where": 0, "QuantizeLinear": 1})

    def test_activation_behind_movers(self):
        first, rows = np.array([0], np.int64), np.array([1, 8, 144], np.int64)
        square = np.array(SHAPE, np.int64)
        for name, body, constants in (
                ("squeeze", [node("Squeeze", "a first", "s"), node("Relu", "s", "r"), node("Unsqueeze", "r first", "z")],
                 {"first": first}),
                ("reshape", [node("Reshape", "a rows", "s"), node("Relu", "s", "r"), node("Reshape", "r square", "z")],
                 {"rows": rows, "square": square}),
                ("pool", [node("MaxPool", "a", "s", kernel_shape=[2, 2]), node("Relu", "s", "z")], {}),
                ("transpose", [node("Transpose", "a", "s", perm=[0, 2, 3, 1]), node("Relu", "s", "r"),
                               node("Transpose", "r", "z", perm=[0, 3, 1, 2])], {})):
            with self.subTest(name):
                self.check_forms(graph_of(body, constants), {"Relu": 0, "QLinearConv": 2, "QuantizeLinear": 1})

    def test_sum_of_two(self):
        body = [node("Relu", "a", "r"), conv("r", "w3", "b"), node("Sum", "b r", "s"), node("Relu", "s", "z")]
        self.check_forms(graph_of(body, {}), {"QLinearAdd": 1, "Sum": 0, "QLinearConv": 3, "QuantizeLinear": 1})

    def test_where_in_float(self):
        model = graph_of([node("Where", "c a k", "z")], {"k": np.float32(-0.5)}, [("c", SHAPE)])
        self.check(model, {"QLinearWhere": 0, "Where": 1, "QLinearConv": 2}, "--include", "op:*", "--exclude", "op:Where")
        mask = graph_of([node("Where", "c a k", "z")], {"k": np.float32(-1e9)}, [("c", SHAPE)])
        self.check(mask, {"QLinearWhere": 0, "Where": 1, "QLinearConv": 2}, "--target", "ort-arm64")


if __name__ == "__main__":
    unittest.main()
