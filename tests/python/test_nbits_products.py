"""Products by dequantized weights: `inspect` predicts a MatMulNBits where ONNX Runtime makes one when it loads the model, and
nowhere else. `quantize --weight-only --format qdq` takes models that hold such products already.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from real_models import operators, session

ONNXTOOL = os.environ["ONNXTOOL_BINARY"]
K, N = 64, 48
RANDOM = np.random.default_rng(1)
CODES = RANDOM.integers(-8, 8, (K, N)).astype(np.int8)
CHANNEL = np.linspace(0.01, 0.02, N, dtype=np.float32)
SCALAR = np.float32(0.01)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def dequantize(inputs="q s", output="d", **attributes):
    return node("DequantizeLinear", inputs, output, **attributes)


def turned(**attributes):
    return [node("Transpose", "d", "t", **attributes), node("MatMul", "x t", "y")]


def blocks(rows, value=0.01):
    return np.full((rows, N), value, np.float32)


def typed(array, element_type):
    return lambda name: helper.make_tensor(name, element_type, array.shape, array.flatten().tolist())


def initializers(constants):
    return [c(name) if callable(c) else numpy_helper.from_array(np.asarray(c), name) for name, c in constants.items()]


def values(infos, default_shape=None):
    """Names with shapes, or with (type, shape)."""
    return [helper.make_tensor_value_info(name, *(s if isinstance(s, tuple) else (TensorProto.FLOAT, s)))
            for name, s in infos.items()]


def model_of(nodes, constants, inputs=None, outputs=None, opset=21):
    graph = helper.make_graph(nodes, "g", values(inputs or {"x": [4, K]}), values(outputs or {"y": None}), initializers(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
                             ir_version=10)


def product(scales, codes=CODES, zeros=None, behind=None, more=None, before=(), inputs=None, outputs=None, opset=21, **attributes):
    constants = {"q": codes, "s": scales} | ({} if zeros is None else {"z": zeros}) | (more or {})
    nodes = [*before, dequantize("q s" if zeros is None else "q s z", **attributes), *(behind or [node("MatMul", "x d", "y")])]
    return model_of(nodes, constants, inputs, outputs, opset)


def two(first, second, names=("q s", "q2 s2"), codes=CODES, zeros=None, **attributes):
    """Two products of x. `names`: what their DequantizeLinears read."""
    constants = {"q": codes, "s": first, "q2": codes[::-1].copy(), "s2": second} | (zeros or {})
    read = set(" ".join(names).split())
    return model_of([dequantize(names[0], "d", **attributes), dequantize(names[1], "d2", **attributes),
                     node("MatMul", "x d", "y"), node("MatMul", "x d2", "y2")],
                    {name: c for name, c in constants.items() if name in read}, None, {"y": None, "y2": None})


def conditional(inner, outer):
    """A product in a branch, whose constants are the branch's (`inner`) and the graph's around it."""
    then = helper.make_graph([dequantize("q s z" if "z" in (inner | outer) else "q s"), node("MatMul", "x d", "t")], "then", [],
                             values({"t": None}), initializers(inner))
    other = helper.make_graph([node("Neg", "x", "e")], "else", [], values({"e": None}))
    return model_of([node("If", "c", "y", then_branch=then, else_branch=other)], outer,
                    {"c": (TensorProto.BOOL, []), "x": [4, K]})


def granularities():
    z = lambda *shape: np.zeros(shape, np.int8)
    yield "channel", product(CHANNEL, axis=1), 1
    yield "channel, no axis said", product(CHANNEL), 1
    yield "channel, axis from the end", product(CHANNEL, axis=-1), 0
    yield "channel, zero points", product(CHANNEL, zeros=z(N) + 3), 1
    yield "channel, one zero point", product(CHANNEL, zeros=z(1)), 0
    yield "channel, scalar zero point", product(CHANNEL, zeros=z()), 0
    yield "scalar", product(SCALAR), 1
    yield "scalar, zero point", product(SCALAR, zeros=z()), 1
    yield "scalar, zero point [1]", product(SCALAR, zeros=z(1)), 0
    yield "scale [1]", product(CHANNEL[:1]), 0
    yield "scale [1] of one column", product(CHANNEL[:1], CODES[:, :1]), 1
    yield "opset 10", product(SCALAR, opset=10), 1
    yield "16 bits", product(CHANNEL, CODES.astype(np.int16)), 0
    yield "depth 1", product(CHANNEL, CODES[:1], inputs={"x": [4, 1]}), 1
    yield "input of rank 1", product(CHANNEL, inputs={"x": [K]}), 1
    yield "codes are an input", product(CHANNEL, inputs={"x": [4, K], "q": (TensorProto.INT8, [K, N])}), 0
    half = {"inputs": {"x": (TensorProto.FLOAT16, [4, K])}, "outputs": {"y": (TensorProto.FLOAT16, None)}}
    yield "float16", product(CHANNEL.astype(np.float16), **half), 1
    for block, rows in ((8, 8), (16, 4), (20, 4), (32, 2), (48, 2), (64, 1), (256, 1), (512, 1), (1 << 40, 1), (1 << 60, 1)):
        yield f"block {block}", product(blocks(rows), axis=0, block_size=block), block in (16, 32, 64, 256)
    yield "block, axis from the end", product(blocks(2), axis=-2, block_size=32), 0
    yield "blocks along columns", product(np.full((K, 3), 0.01, np.float32), axis=1, block_size=16), 0
    yield "blocks and a rest", product(blocks(2), CODES[:60], inputs={"x": [4, 60]}, axis=0, block_size=32), 1
    for name, kind, codes in (("s4", TensorProto.INT4, CODES), ("u4", TensorProto.UINT4, CODES + 8), ("u2", TensorProto.UINT2, CODES & 3)):
        yield f"{name}", product(CHANNEL, typed(codes, kind), opset=25), 1
        yield f"{name}, blocks", product(blocks(4), typed(codes, kind), typed(np.ones((4, N), int), kind), opset=25, axis=0, block_size=16), 1


def readers():
    yield "two of the DequantizeLinear", product(CHANNEL, behind=[node("MatMul", "x d", "y"), node("Neg", "d", "n")],
                                                 outputs={"y": None, "n": None}), 0
    yield "the DequantizeLinear is an output", product(CHANNEL, outputs={"y": None, "d": None}), 0
    yield "the codes are an output", product(CHANNEL, outputs={"y": None, "q": (TensorProto.INT8, [K, N])}), 1
    yield "none shared", two(CHANNEL, CHANNEL), 2
    yield "codes shared", two(CHANNEL, CHANNEL * 2, ("q s", "q s2")), 0
    yield "scales shared", two(CHANNEL, CHANNEL, ("q s", "q2 s")), 0
    zeros = {"z": np.zeros(N, np.int8)}
    yield "zero points shared", two(CHANNEL, CHANNEL * 2, ("q s z", "q2 s2 z"), zeros=zeros), 2
    yield "scalars", two(SCALAR, 2 * SCALAR), 2
    yield "equal scalars", two(SCALAR, SCALAR), 0
    yield "8 equal scales", two(CHANNEL[:8], CHANNEL[:8], codes=CODES[:, :8]), 0
    yield "9 equal scales", two(CHANNEL[:9], CHANNEL[:9], codes=CODES[:, :9]), 2


def transposes():
    swap = {"perm": [1, 0]}
    yield "channel", product(CHANNEL, CODES.T, behind=turned(**swap), axis=0), 1
    yield "opset 20", product(CHANNEL, CODES.T, behind=turned(**swap), axis=0, opset=20), 0
    yield "scalar, opset 20", product(SCALAR, CODES.T, behind=turned(**swap), opset=20), 0
    yield "channel, axis from the end", product(CHANNEL, CODES.T, behind=turned(**swap), axis=-2), 1
    yield "channel, other axis", product(np.linspace(0.01, 0.02, K, dtype=np.float32), CODES.T, behind=turned(**swap), axis=1), 0
    yield "no axes said", product(CHANNEL, CODES.T, behind=turned(), axis=0), 0
    yield "scalar", product(SCALAR, CODES.T, behind=turned(**swap)), 1
    yield "scalar, no axes said", product(SCALAR, CODES.T, behind=turned()), 1
    yield "blocks", product(np.full((N, 2), 0.01, np.float32), CODES.T, behind=turned(**swap), axis=1, block_size=32), 0
    yield "4 bits", product(CHANNEL, typed(CODES.T, TensorProto.INT4), behind=turned(**swap), axis=0), 0
    yield "Gemm", product(CHANNEL, CODES.T, behind=[node("Transpose", "d", "t", **swap), node("Gemm", "x t", "y")], axis=0), 0
    yield "transB", product(CHANNEL, CODES.T, behind=[node("Gemm", "x d", "y", transB=1)], axis=0), 0
    yield "and a sum", product(CHANNEL, CODES.T, more={"b": np.zeros(N, np.float32)}, axis=0, behind=[
        node("Transpose", "d", "t", **swap), node("MatMul", "x t", "h"), node("Add", "h b", "y")]), 1
    yield "two products", product(CHANNEL, CODES.T, axis=0, behind=[*turned(**swap), node("MatMul", "x2 t", "y2")],
                                  inputs={"x": [4, K], "x2": [4, K]}, outputs={"y": None, "y2": None}), 0
    codes_read = [*turned(**swap), node("Gather", "q i", "g")]
    yield "codes of an embedding", product(CHANNEL, CODES.T, axis=0, behind=codes_read, inputs={"x": [4, K], "i": (TensorProto.INT64, [2])},
                                           outputs={"y": None, "g": (TensorProto.INT8, None)}), 1


def surroundings():
    b = np.zeros(N, np.float32)
    gemm = lambda bias, name="b", **attributes: product(CHANNEL, behind=[node("Gemm", "x d b", "y", **attributes)], more={name: bias})
    yield "Gemm", product(CHANNEL, behind=[node("Gemm", "x d", "y", beta=2.0)]), 1
    yield "Gemm, bias", gemm(b), 1
    yield "Gemm, bias [1]", gemm(b[:1]), 0
    yield "Gemm, bias [1, N]", gemm(b[None]), 0
    yield "Gemm, beta", gemm(b, beta=2.0), 0
    yield "Gemm, alpha", gemm(b, alpha=0.5), 0
    yield "Gemm, integer bias", product(CHANNEL, before=[dequantize("bq bs", "b")], behind=[node("Gemm", "x d b", "y")],
                                        more={"bq": b.astype(np.int32), "bs": np.float32(0.5)}), 1
    add = lambda bias, shape=(4, K): product(CHANNEL, behind=[node("MatMul", "x d", "h"), node("Add", "h b", "y")], more={"b": bias},
                                             inputs={"x": list(shape)})
    yield "Add", add(b), 1
    yield "Add [1]", add(b[:1]), 1
    yield "Add of rows", add(np.zeros((4, N), np.float32)), 0
    yield "Add, rank 3", add(b, (2, 4, K)), 1
    behind = lambda *nodes, outputs=None, **more: product(CHANNEL, behind=[node("MatMul", "x d", "h"), *nodes], more=more, outputs=outputs)
    yield "Relu, output", behind(node("Relu", "h", "y")), 1
    yield "Relu, one reader", behind(node("Relu", "h", "r"), node("Neg", "r", "y")), 0
    yield "Relu, two readers", behind(node("Relu", "h", "r"), node("Neg", "r", "a"), node("Add", "a r", "y")), 1
    yield "Clip, one reader", behind(node("Clip", "h", "r"), node("Neg", "r", "y")), 0
    yield "Sigmoid, one reader", behind(node("Sigmoid", "h", "r"), node("Neg", "r", "y")), 1
    sum_relu = lambda shape: product(CHANNEL, more={"b": b}, inputs={"x": shape}, behind=[
        node("MatMul", "x d", "h"), node("Add", "h b", "a"), node("Relu", "a", "r"), node("Neg", "r", "y")])
    yield "Add, Relu, one reader", sum_relu([4, K]), 0
    yield "Add, Relu, one reader, rank 3", sum_relu([2, 4, K]), 1
    quantized = {"y": (TensorProto.UINT8, None)}
    yield "QuantizeLinear", behind(node("QuantizeLinear", "h k", "y"), outputs=quantized, k=SCALAR), 0
    yield "of integers", product(CHANNEL, before=[dequantize("xq xs", "x")], inputs={"xq": (TensorProto.INT8, [4, K])},
                                 more={"xs": np.float32(0.5)}), 0
    yield "weight on the left", product(CHANNEL, behind=[node("MatMul", "d x", "y")], inputs={"x": [N, 4]}), 0


def branches():
    yield "constants of the branch", conditional({"q": CODES, "s": CHANNEL}, {}), 1
    yield "zero points of the graph around it", conditional({"q": CODES, "s": CHANNEL}, {"z": np.zeros(N, np.int8)}), 1


class NBitsProducts(unittest.TestCase):
    def check(self, cases):
        with tempfile.TemporaryDirectory() as directory:
            work = pathlib.Path(directory)
            for name, model, expected in cases:
                with self.subTest(name):
                    onnx.save(model, work / "m.onnx")
                    session(work / "m.onnx", saved=work / "s.onnx")
                    self.assertEqual(operators(onnx.load(work / "s.onnx").graph)["MatMulNBits"], expected)
                    result = subprocess.run([ONNXTOOL, "inspect", work / "m.onnx", "--target", "ort-cpu", "--json"],
                                            capture_output=True, text=True, stdin=subprocess.DEVNULL)
                    self.assertEqual(result.returncode, 0, result.stderr)
                    rows = json.loads(result.stdout)["quantization"]["integer_operators"]
                    self.assertEqual({r["op"]: r["count"] for r in rows}.get("MatMulNBits", 0), expected)

    def test_granularities(self):
        self.check(granularities())

    def test_readers(self):
        self.check(readers())

    def test_transposes(self):
        self.check(transposes())

    def test_surroundings(self):
        self.check(surroundings())

    def test_branches(self):
        self.check(branches())

    def test_quantize_what_holds_such_already(self):
        with tempfile.TemporaryDirectory() as directory:
            work = pathlib.Path(directory)
            for name, model, _ in [*granularities(), *branches()]:
                if model.opset_import[0].version != 21 or model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16:
                    continue
                with self.subTest(name):
                    # A float weight beside them is what is quantized.
                    model.graph.initializer.append(numpy_helper.from_array(RANDOM.standard_normal((N, 32)).astype(np.float32), "w"))
                    model.graph.node.append(node("MatMul", "x2 w", "y3"))
                    model.graph.input.extend(values({"x2": [4, N]}))
                    model.graph.output.extend(values({"y3": None}))
                    onnx.save(model, work / "m.onnx")
                    result = subprocess.run([ONNXTOOL, "quantize", work / "m.onnx", "--weight-only", "--format", "qdq", "-o", work / "q.onnx"],
                                            capture_output=True, text=True, stdin=subprocess.DEVNULL)
                    if name in ("channel, one zero point", "channel, scalar zero point"):  # no runtime takes them
                        self.assertEqual(result.returncode, 2)
                        self.assertIn("zero point has shape", result.stderr)
                        continue
                    self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
                    (work / "q.onnx").unlink()


if __name__ == "__main__":
    unittest.main()
