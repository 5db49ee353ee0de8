"""The verdicts of `onnxtool check` against onnx.checker's, on onnx's own models, on real ones, and on mutants.

Mutants are made from a seed that is drawn anew each time and printed; ONNXTOOL_SEED repeats one.
ONNXTOOL_NODE_TESTS names the directory of onnx's node tests, whose neighbours are taken too.
"""

import hashlib
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
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
SEED = int(os.environ.get("ONNXTOOL_SEED", random.SystemRandom().randrange(1 << 32)))
ROUNDS = 5  # of every mutation


def check(paths, *flags):
    """The findings of each file, by its path."""
    found = {}
    for start in range(0, len(paths), 400):
        part = [str(p) for p in paths[start : start + 400]]
        result = subprocess.run([os.environ["ONNXTOOL_BINARY"], "check", "--no-config", "--json", *flags, *part], capture_output=True, text=True)
        if result.returncode not in (0, 1):
            raise AssertionError(f"exit {result.returncode}: {result.stderr}")
        for p in part:
            found[p] = []
        for finding in json.loads(result.stdout).get("findings", []):
            found[finding["file"]].append(finding)
    return found


def refusal(path):
    """What onnx.checker says; None where it accepts."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # its kinds are many: checker, inference, protobuf, Python
        return str(error) or type(error).__name__
    return None


class Verdicts(unittest.TestCase):
    def compare(self, paths):
        if not paths:
            self.skipTest("no models here")
        found = check(paths)
        for path in paths:
            errors = [f for f in found[str(path)] if f["severity"] == "error"]
            reason = refusal(path)
            with self.subTest(path=str(path)):
                self.assertEqual(reason is None, not errors, f"onnx: {reason}; onnxtool: {errors[:3]}")

    def test_models_of_onnx(self):
        node = os.environ.get("ONNXTOOL_NODE_TESTS")
        self.compare(sorted(pathlib.Path(node).parent.glob("*/*/model.onnx")) if node else [])

    def test_real_models(self):
        self.compare(sorted((ROOT.parent / "shared" / "data").rglob("*.onnx")))


class Kernels(unittest.TestCase):
    """The tables of kernels against the runtime that they are of."""

    def refusal(self, path):
        try:
            onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:
            return str(error)
        return None

    def test_what_loads_has_kernels(self):
        node = os.environ.get("ONNXTOOL_NODE_TESTS")
        if not node:
            self.skipTest("onnx's node tests are not here")
        paths = sorted(pathlib.Path(node).parent.glob("*/*/model.onnx"))
        paths += sorted((ROOT.parent / "shared" / "data").rglob("*.onnx"))
        onnxruntime.set_default_logger_severity(4)
        release = ".".join(onnxruntime.__version__.split(".")[:2])
        found = check(paths, "--runtime", f"ort-{release}")
        lacking = 0
        for path in paths:
            errors = [f for f in found[str(path)] if f["severity"] == "error"]
            ours = [f for f in errors if f["code"].startswith("runtime-")]
            reason = self.refusal(path)
            with self.subTest(path=str(path)):
                self.assertFalse(ours and reason is None, f"loads, but: {ours[:3]}")
                missing = reason and ("find an implementation" in reason or "is not a registered function/op" in reason)
                if missing:
                    lacking += 1
                    self.assertTrue(errors, reason)
        self.assertGreater(lacking, 20)


class Biases(unittest.TestCase):
    """What is said of biases against what ONNX Runtime makes of their layer."""

    def layer(self, op, factor, dtype, zero):
        weights = np.arange(-24, 24).reshape((4, 3, 2, 2) if op == "Conv" else (12, 4)).astype(np.int8)
        constants = {
            "sx": np.float32(0.02), "zx": np.uint8(128), "w": weights, "sw": np.float32(0.01), "zw": np.int8(0),
            "b": np.array([90, -70, 50, -30], dtype), "sb": np.float32(0.02) * np.float32(0.01) * np.float32(factor), "zb": dtype(zero),
            "sy": np.float32(0.05), "zy": np.uint8(128),
        }  # fmt: skip
        nodes = [helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["xq"])]
        nodes += [helper.make_node("DequantizeLinear", [n + "q" if n == "x" else n, "s" + n, "z" + n], [n + "d"]) for n in "xwb"]
        nodes.append(helper.make_node(op, ["xd", "wd", "bd"], ["layer"], "layer"))
        nodes.append(helper.make_node("QuantizeLinear", ["layer", "sy", "zy"], ["yq"]))
        nodes.append(helper.make_node("DequantizeLinear", ["yq", "sy", "zy"], ["y"]))
        shape = [1, 3, 4, 4] if op == "Conv" else [2, 12]
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )  # fmt: skip
        graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 3, 3] if op == "Conv" else [2, 4]))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def test_a_finding_is_a_layer_in_float_or_another_result(self):
        onnxruntime.set_default_logger_severity(4)
        cases = [(f, np.int32, 0) for f in (1, 1.005, 2)] + [(1, np.int32, 5000), (1, np.int8, 0)]
        with tempfile.TemporaryDirectory() as name:
            for op in ("Conv", "Gemm"):
                for number, (factor, dtype, zero) in enumerate(cases):
                    path = pathlib.Path(name) / f"{op}{number}.onnx"
                    onnx.save(self.layer(op, factor, dtype, zero), path)
                    results = []
                    for level in (onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED):
                        options = onnxruntime.SessionOptions()
                        options.graph_optimization_level = level
                        options.optimized_model_filepath = f"{name}/optimized"
                        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
                        x = np.linspace(-2, 2, int(np.prod(session.get_inputs()[0].shape)), dtype=np.float32).reshape(session.get_inputs()[0].shape)
                        results.append(session.run(None, {"x": x})[0])
                    integer = any(n.op_type in ("QLinearConv", "QGemm") for n in onnx.load(f"{name}/optimized").graph.node)
                    same = integer and np.array_equal(*results)
                    codes = [f["code"] for f in check([path])[str(path)]]
                    with self.subTest(op=op, factor=factor, dtype=dtype.__name__, zero=zero):
                        self.assertEqual("bias-scale" in codes, not same)


# --- models to change ------------------------------------------------------------------------------


def weights(rng, name, *dims):
    return numpy_helper.from_array(np.random.default_rng(rng.randrange(1 << 31)).normal(size=dims).astype(np.float32), name)


def base_model(rng):
    """Convolutions, a classifier, an If and a call of a local function."""
    channels, layers = rng.choice([4, 6, 8]), rng.randrange(2, 5)
    nodes, initializers, value, width = [], [], "x", 3
    for i in range(layers):
        initializers += [weights(rng, f"w{i}", channels, width, 3, 3), weights(rng, f"b{i}", channels)]
        nodes.append(helper.make_node("Conv", [value, f"w{i}", f"b{i}"], [f"c{i}"], f"conv{i}", pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
        value, width = f"r{i}", channels
    initializers += [weights(rng, "fw", channels * 64, 10), weights(rng, "fb", 10), numpy_helper.from_array(np.array(True), "flag")]
    nodes += [
        helper.make_node("Flatten", [value], ["flat"], "flatten", axis=1),
        helper.make_node("Gemm", ["flat", "fw", "fb"], ["scores"], "gemm"),
        helper.make_node("Twice", ["scores"], ["doubled"], "call", domain="local"),
        helper.make_node("Cast", ["doubled"], ["cast"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Concat", ["scores", "cast"], ["both"], "concat", axis=1),
    ]
    branches = {}
    for branch, op in (("then_branch", "Relu"), ("else_branch", "Neg")):
        out = helper.make_tensor_value_info(f"{branch}_out", TensorProto.FLOAT, None)
        inner = helper.make_node(op, ["both"], [f"{branch}_out"], f"{branch}_node")
        branches[branch] = helper.make_graph([inner], branch, [], [out])
    nodes.append(helper.make_node("If", ["flag"], ["chosen"], "if", **branches))
    nodes.append(helper.make_node("Softmax", ["chosen"], ["y"], "softmax", axis=1))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 20])],
        initializers,
        value_info=[helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
    )
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["t"]), helper.make_node("Identity", ["t"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[twice])


def node(model, name):
    return next(n for n in model.graph.node if n.name == name)


def weight(model, rng):
    return rng.choice([t for t in model.graph.initializer if t.name != "flag"])


def move_outside(tensor, location, **more):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))


# --- what is done to them --------------------------------------------------------------------------

MUTATIONS = []


def mutation(*codes, refused=True):
    """Codes of which one must be found; whether onnx.checker refuses it too."""
    return lambda f: MUTATIONS.append((f.__name__, f, codes, refused)) or f


@mutation("unknown-input")
def dropped_edge(m, rng):
    rng.choice([n for n in m.graph.node]).input[0] = "nowhere"


@mutation("unknown-input")
def dropped_node(m, rng):
    m.graph.node.remove(rng.choice(m.graph.node[:-1]))


@mutation("unknown-input")
def dropped_initializer(m, rng):
    m.graph.initializer.remove(weight(m, rng))


@mutation("unknown-input")
def dropped_edge_in_branch(m, rng):
    rng.choice(node(m, "if").attribute).g.node[0].input[0] = "nowhere"


@mutation("unknown-input")
def dropped_edge_in_function(m, rng):
    m.functions[0].node[rng.randrange(2)].input[0] = "nowhere"


@mutation("unknown-output")
def dropped_output(m, rng):
    m.graph.output[0].name = f"z{rng.randrange(100)}"


@mutation("unknown-output", "missing-output")
def renamed_last_result(m, rng):
    m.graph.node[-1].output[0] = f"z{rng.randrange(100)}"


@mutation("type-conflict")
def wrong_input_type(m, rng):
    m.graph.input[0].type.tensor_type.elem_type = rng.choice([TensorProto.STRING, TensorProto.INT64, TensorProto.BOOL])


@mutation("type-conflict")
def wrong_output_type(m, rng):
    m.graph.output[0].type.tensor_type.elem_type = rng.choice([TensorProto.INT32, TensorProto.DOUBLE])


@mutation("type-conflict")
def wrong_output_shape(m, rng):
    m.graph.output[0].type.tensor_type.shape.dim[1].dim_value = rng.choice([1, 19, 21])


@mutation("type-conflict")
def wrong_declaration(m, rng):
    dims = m.graph.value_info[0].type.tensor_type.shape.dim
    rng.choice([lambda: dims.add(dim_value=1), lambda: setattr(dims[1], "dim_value", 11)])()


@mutation("type-conflict")
def wrong_rank(m, rng):
    m.graph.input[0].type.tensor_type.shape.dim.add(dim_value=rng.choice([1, 8]))


@mutation("type-conflict")
def negative_extent(m, rng):
    shape = rng.choice([m.graph.output[0], m.graph.value_info[0]]).type.tensor_type.shape
    shape.dim[1].dim_value = rng.choice([-1, -2, -20])


@mutation("type-conflict")
def output_like_an_input(m, rng):
    kind, last = rng.choice([(TensorProto.INT64, 8), (TensorProto.FLOAT, 9)])
    m.graph.output.append(helper.make_tensor_value_info("x", kind, [1, 3, 8, last]))


@mutation("type-conflict")
def output_twice(m, rng):
    m.graph.output.append(helper.make_tensor_value_info("y", *rng.choice([(TensorProto.INT64, [1, 20]), (TensorProto.FLOAT, [1, 21])])))


@mutation("type-conflict")
def declaration_in_branch(m, rng):
    branch = rng.choice(node(m, "if").attribute).g
    branch.value_info.append(helper.make_tensor_value_info("both", rng.choice([TensorProto.INT64, TensorProto.DOUBLE]), [1, 20]))


@mutation("type-conflict")
def bad_axis(m, rng):
    target = node(m, rng.choice(["flatten", "concat"]))
    target.attribute[0].i = rng.choice([-9, 7, 99])


@mutation("type-conflict")
def bad_pads(m, rng):
    node(m, "conv0").attribute[0].ints[:] = [1] * rng.choice([1, 3, 6])


@mutation("duplicate-name")
def duplicate_output(m, rng):
    a, b = rng.sample(list(m.graph.node), 2)
    a.output[0] = b.output[0]
    for n in m.graph.node:  # nothing else is wrong
        for i, name in enumerate(n.input):
            if name not in {o for k in m.graph.node for o in k.output} | {t.name for t in m.graph.initializer} | {"x"}:
                n.input[i] = "x"


@mutation("duplicate-name")
def duplicate_initializer(m, rng):
    m.graph.initializer.append(weight(m, rng))


@mutation("duplicate-name")
def duplicate_input(m, rng):
    m.graph.input.append(m.graph.input[0])


@mutation("duplicate-name")
def shadowed_name(m, rng):
    g = rng.choice(node(m, "if").attribute).g
    g.node[0].output[0] = g.output[0].name = rng.choice(["scores", "flat", "both"])


@mutation("cycle")
def cycle(m, rng):
    node(m, f"conv{rng.randrange(2)}").input[0] = rng.choice(["scores", "both", "y"])


@mutation("cycle")
def own_tail(m, rng):
    n = rng.choice([n for n in m.graph.node if n.op_type == "Relu"])
    n.input[0] = n.output[0]


@mutation("unsorted")
def unsorted_nodes(m, rng):
    i = rng.randrange(1, len(m.graph.node))
    n = onnx.NodeProto()
    n.CopyFrom(m.graph.node[i])
    del m.graph.node[i]
    m.graph.node.insert(0, n)


@mutation("unknown-operator")
def unknown_operator(m, rng):
    rng.choice([n for n in m.graph.node if not n.domain]).op_type = rng.choice(["Konv", "relu", "FusedConv"])


@mutation("unknown-operator")
def operator_of_later_opset(m, rng):
    m.graph.node.append(helper.make_node("Gelu", ["scores"], ["gelu"], "late"))


@mutation("deprecated-operator")
def deprecated_operator(m, rng):
    m.graph.node.append(helper.make_node("Upsample", ["x", "b0"], ["up"], "old", mode="nearest"))


@mutation("empty-node")
def empty_operator(m, rng):
    rng.choice(m.graph.node).op_type = ""


@mutation("empty-node")
def node_without_edges(m, rng):
    m.graph.node.append(helper.make_node("Relu", [], [], "idle"))


@mutation("no-opset-import")
def unknown_domain(m, rng):
    rng.choice([n for n in m.graph.node if not n.domain]).domain = f"domain{rng.randrange(9)}"


@mutation("input-count")
def too_many_inputs(m, rng):
    node(m, rng.choice(["flatten", "softmax", "relu0"])).input.append("scores")


@mutation("input-count")
def too_few_inputs(m, rng):
    del node(m, rng.choice(["conv0", "gemm"])).input[1:]


@mutation("missing-input")
def missing_input(m, rng):
    node(m, rng.choice(["conv0", "gemm"])).input[rng.randrange(2)] = ""


@mutation("output-count")
def too_many_outputs(m, rng):
    node(m, rng.choice(["flatten", "gemm", "conv0"])).output.append("extra")


@mutation("unknown-attribute")
def unknown_attribute(m, rng):
    n = rng.choice([n for n in m.graph.node if not n.domain])
    n.attribute.append(helper.make_attribute(f"extra{rng.randrange(9)}", 1))


@mutation("attribute-type")
def attribute_type(m, rng):
    a = node(m, rng.choice(["flatten", "softmax", "concat"])).attribute[0]
    a.CopyFrom(helper.make_attribute("axis", rng.choice([1.5, "one", [1]])))


@mutation("attribute-type")
def attribute_type_and_field(m, rng):
    node(m, rng.choice(["flatten", "softmax", "concat"])).attribute[0].type = onnx.AttributeProto.FLOAT


@mutation("attribute-value")
def two_values(m, rng):
    node(m, rng.choice(["flatten", "softmax", "concat"])).attribute[0].f = 1.0


@mutation("missing-attribute")
def missing_attribute(m, rng):
    del node(m, rng.choice(["concat", "cast"])).attribute[:]


@mutation("duplicate-attribute")
def duplicate_attribute(m, rng):
    n = node(m, rng.choice(["flatten", "softmax", "concat"]))
    n.attribute.append(n.attribute[0])


@mutation("missing-ir-version")
def no_ir_version(m, rng):
    m.ClearField("ir_version")


@mutation("unknown-ir-version")
def future_ir_version(m, rng):
    m.ir_version = rng.choice([999, 1 << 20])


@mutation("opset-import")
def no_opset(m, rng):
    del m.opset_import[:]


@mutation("duplicate-opset-import", refused=False)
def opset_twice(m, rng):
    m.opset_import.append(m.opset_import[0])


@mutation("duplicate-metadata")
def duplicate_metadata(m, rng):
    for _ in range(2):
        m.metadata_props.add(key="a", value=str(rng.randrange(9)))


@mutation("missing-name")
def unnamed_graph(m, rng):
    rng.choice([m.graph, node(m, "if").attribute[0].g]).ClearField("name")


@mutation("missing-name")
def unnamed_initializer(m, rng):
    t = onnx.TensorProto()
    t.CopyFrom(weight(m, rng))
    t.name = ""
    m.graph.initializer.append(t)


@mutation("missing-type")
def untyped_input(m, rng):
    m.graph.input[0].ClearField("type")


@mutation("missing-type")
def input_without_shape(m, rng):
    m.graph.input[0].type.tensor_type.ClearField("shape")


@mutation("initializer-not-input")
def old_ir_version(m, rng):
    m.ir_version = 3
    del m.functions[:]
    m.graph.node.remove(node(m, "call"))
    node(m, "cast").input[0] = "scores"


@mutation("tensor-size")
def short_tensor(m, rng):
    t = weight(m, rng)
    t.raw_data = t.raw_data[: -rng.randrange(1, 16)]


@mutation("tensor-size")
def larger_dims(m, rng):
    weight(m, rng).dims[0] += rng.randrange(1, 5)


@mutation("tensor-field")
def empty_tensor(m, rng):
    weight(m, rng).ClearField("raw_data")


@mutation("tensor-field")
def wrong_field(m, rng):
    t = weight(m, rng)
    t.ClearField("raw_data")
    t.int64_data[:] = [1] * int(np.prod(t.dims))


@mutation("tensor-field")
def two_fields(m, rng):
    weight(m, rng).float_data.append(1.0)


@mutation("tensor-type")
def undefined_type(m, rng):
    weight(m, rng).data_type = 0


@mutation("tensor-dims")
def negative_dims(m, rng):
    weight(m, rng).dims[0] = -rng.randrange(1, 9)


@mutation("initializer-type")
def declared_otherwise(m, rng):
    t = weight(m, rng)
    m.graph.input.append(helper.make_tensor_value_info(t.name, TensorProto.FLOAT, [d + 1 for d in t.dims]))


@mutation("initializer-type")
def declared_as_sequence(m, rng):
    m.graph.input.append(helper.make_tensor_sequence_value_info(weight(m, rng).name, TensorProto.FLOAT, None))


@mutation("sparse-tensor")
def sparse_out_of_range(m, rng):
    values = helper.make_tensor("s", TensorProto.FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [2], rng.choice([[1, 10], [3, 2], [-1, 1], [4, 4]]))
    m.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10]))


@mutation("external-path")
def escaping_path(m, rng):
    move_outside(weight(m, rng), rng.choice(["../w.bin", "a/../../w.bin", "/etc/passwd", "./../x"]))


@mutation("external-missing")
def missing_data_file(m, rng):
    move_outside(weight(m, rng), f"gone{rng.randrange(99)}.bin")


@mutation("external-entry")
def no_location(m, rng):
    t = weight(m, rng)
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL


@mutation("external-range", refused=False)  # onnx.checker does not read the file
def data_past_the_end(m, rng):
    move_outside(weight(m, rng), "data.bin", offset=rng.choice([64, 1 << 20, (1 << 63) - 1]))


@mutation("external-digest", refused=False)  # nor its content
def other_data_file(m, rng):
    t = weight(m, rng)
    t.dims[:] = [rng.randrange(1, 16)]
    location = hashlib.sha1(bytes(rng.randrange(1, 64))).hexdigest()
    move_outside(t, "data.bin", checksum=location)
    m.graph.ClearField("node")
    m.graph.node.append(helper.make_node("Identity", ["x"], ["y"], "only"))
    m.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8]))
    m.graph.ClearField("value_info")


@mutation("function-recursion")
def recursion(m, rng):
    m.functions[0].opset_import.append(helper.make_opsetid("local", 1))
    m.functions[0].node[0].CopyFrom(helper.make_node("Twice", ["a"], ["t"], domain="local"))


@mutation("duplicate-function")
def duplicate_function(m, rng):
    m.functions.append(m.functions[0])


@mutation("function-opset")
def function_of_another_opset(m, rng):
    m.functions[0].opset_import[0].version = rng.choice([6, 7, 12])


def set_body(m, *nodes):
    del m.functions[0].node[:]
    m.functions[0].node.extend(nodes)


@mutation("type-conflict")
def wrong_type_in_function(m, rng):
    other = rng.choice([TensorProto.INT64, TensorProto.BOOL, TensorProto.DOUBLE])
    set_body(m, helper.make_node("Cast", ["a"], ["t"], to=other), helper.make_node("Add", ["a", "t"], ["b"]))


@mutation("type-conflict")
def wrong_shape_in_function(m, rng):
    constant = helper.make_node("Constant", [], ["t"], value_floats=[1.0] * rng.choice([3, 7, 11]))
    set_body(m, constant, helper.make_node("Mul", ["a", "t"], ["b"]))


@mutation("type-conflict")
def bad_axis_in_function(m, rng):
    set_body(m, helper.make_node("Softmax", ["a"], ["b"], axis=rng.choice([2, 7, -3])))


@mutation("type-conflict")
def bad_axis_from_call(m, rng):
    set_body(m, helper.make_node("Softmax", ["a"], ["b"]))
    m.functions[0].attribute.append("along")
    m.functions[0].node[0].attribute.add(name="axis", ref_attr_name="along", type=onnx.AttributeProto.INT)
    node(m, "call").attribute.append(helper.make_attribute("along", rng.choice([2, 9, -4])))


@mutation("type-conflict")
def wrong_type_in_nested_function(m, rng):
    inner = onnx.FunctionProto()
    inner.CopyFrom(m.functions[0])
    inner.name = "Inner"
    m.functions.append(inner)
    set_body(m, helper.make_node("Inner", ["a"], ["b"], domain="local"))
    m.functions[0].opset_import.append(helper.make_opsetid("local", 1))
    m.functions[1].node[0].CopyFrom(helper.make_node("MatMul", ["a", "a"], ["t"]))


@mutation("unknown-operator")
def unknown_operator_in_function(m, rng):
    m.functions[0].node[rng.randrange(2)].op_type = rng.choice(["Konv", "add", "FusedAdd"])


@mutation("unknown-attribute")
def unknown_attribute_in_function(m, rng):
    m.functions[0].node[rng.randrange(2)].attribute.append(helper.make_attribute(f"extra{rng.randrange(9)}", 1))


@mutation("unsorted")
def unsorted_function(m, rng):
    first, second = m.functions[0].node
    set_body(m, onnx.NodeProto.FromString(second.SerializeToString()), onnx.NodeProto.FromString(first.SerializeToString()))


@mutation("duplicate-name")
def duplicate_name_in_function(m, rng):
    m.functions[0].node[1].output[0] = rng.choice(["a", "t"])


@mutation("function-signature", "duplicate-name")
def duplicate_in_signature(m, rng):
    names = rng.choice([m.functions[0].input, m.functions[0].output])
    names.append(names[0])


@mutation("missing-input")
def call_without_arguments(m, rng):
    del node(m, "call").input[:]


@mutation("input-count", refused=False)  # ONNX Runtime refuses these two, onnx.checker does not
def call_with_too_many_arguments(m, rng):
    node(m, "call").input.append(rng.choice(["scores", "x"]))


@mutation("output-count", refused=False)
def call_with_too_many_results(m, rng):
    node(m, "call").output.append("more")


def field(number, content):
    """A message or string inside of another, as protobuf writes it: its own encoder refuses deep ones."""
    head, length = bytes([number << 3 | 2]), len(content)
    while length > 127:
        head += bytes([length & 127 | 128])
        length >>= 7
    return head + bytes([length]) + content


def deep_nesting(data, rng):
    """A graph in an attribute of a node of a graph, and so on."""
    graph = field(2, b"deep")
    for _ in range(rng.randrange(40, 90)):
        attribute = field(1, b"then_branch") + field(6, graph) + b"\xa0\x01\x05"
        graph = field(1, field(2, b"y") + field(4, b"If") + field(5, attribute)) + field(2, b"deep")
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x11")


def cut(data, rng):
    """Anywhere behind the header and before the last byte of the graph."""
    return data[: rng.randrange(len(data) // 4, len(data) * 3 // 4)]


def break_length(data, rng):
    """A node's length says more than the graph has."""
    at = data.index(b"\x0a", data.index(b"\x3a") + 1)
    return data[: at + 1] + b"\xff\xff\xff\x7f" + data[at + 5 :]


BYTE_MUTATIONS = [("cut", cut, "truncated"), ("length", break_length, "malformed"), ("nesting", deep_nesting, "too-deep")]


class ExternalData(unittest.TestCase):
    """What the entries of external data may be, against what onnx.checker and ONNX Runtime take."""

    def test_entries(self):
        weights = np.arange(4, dtype=np.float32)
        for entries, onnx_takes, runtime_takes in (
            ({"length": "16"}, True, True),
            ({"length": "0"}, True, True),  # as none
            ({"length": "16", "foo": "1"}, True, False),
        ):
            with self.subTest(entries=entries), tempfile.TemporaryDirectory() as directory:
                tensor = numpy_helper.from_array(weights, "w")
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                for key, value in {"location": "w.bin", **entries}.items():
                    tensor.external_data.add(key=key, value=value)
                path = pathlib.Path(directory) / "model.onnx"
                (path.parent / "w.bin").write_bytes(weights.tobytes())
                ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy"]
                graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"], "n")], "g", ends[:1], ends[1:], [tensor])
                path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
                self.assertEqual(refusal(path) is None, onnx_takes)
                self.assertEqual(all(f["severity"] != "error" for f in check([path])[str(path)]), onnx_takes)
                try:
                    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
                    loads = True
                except Exception:
                    loads = False
                self.assertEqual(loads, runtime_takes)
                found = check([path], "--runtime", "ort-1.31")[str(path)]
                self.assertEqual(all(f["severity"] != "error" for f in found), runtime_takes)


class Mutants(unittest.TestCase):
    def test_every_mutant_is_found(self):
        print(f"seed {SEED}")
        rng = random.Random(SEED)
        expected = {}
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            (directory / "data.bin").write_bytes(bytes(64))
            clean = directory / "clean.onnx"
            clean.write_bytes(base_model(rng).SerializeToString())
            for number in range(ROUNDS):
                for what, change, codes, refused in MUTATIONS:
                    model = base_model(rng)
                    change(model, rng)
                    path = directory / f"{what}-{number}.onnx"
                    path.write_bytes(model.SerializeToString())
                    expected[path] = (codes, refused)
                for what, change, code in BYTE_MUTATIONS:
                    path = directory / f"{what}-{number}.onnx"
                    path.write_bytes(change(base_model(rng).SerializeToString(), rng))
                    expected[path] = ((code,), True)
            found = check([clean, *expected], "--weights")
            self.assertIsNone(refusal(clean))
            self.assertEqual([f for f in found[str(clean)] if f["severity"] == "error"], [])
            self.assertGreaterEqual(len(expected), 120)
            for path, (codes, refused) in expected.items():
                with self.subTest(mutant=path.stem):
                    given = [f["code"] for f in found[str(path)] if f["severity"] == "error" or not refused]
                    self.assertTrue(set(codes) & set(given), f"expected {codes}, found {given}")
                    self.assertEqual(refusal(path) is not None, refused)


if __name__ == "__main__":
    unittest.main()
