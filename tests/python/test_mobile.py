"""Supported nodes and partitions for NNAPI and CoreML against onnxruntime's usability checker, on the real models."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from onnxruntime.tools.mobile_helpers import usability_checker as peer
from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo, optimize_model

# Where its __init__ raises, its __del__ misses this and prints a traceback of its own.
ModelProtoWithShapeInfo._tmp_model_path = None

ROOT = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
MODELS = ROOT / ".." / "shared" / "data" / "models"
PEERS = {
    "NNAPI": peer.check_nnapi_partitions,
    "CoreML NeuralNetwork": lambda m, fixed: peer.check_coreml_partitions(m, fixed, "coreml_supported_neuralnetwork_ops.md"),
    "CoreML MLProgram": lambda m, fixed: peer.check_coreml_partitions(m, fixed, "coreml_supported_mlprogram_ops.md"),
}
# Where the peer counts otherwise for reasons of its own: absent inputs, values whose shape it does not know, bodies of
# Loop, initializers that callers override, a Transpose without perm, and the misspelt entries of its tables. Such models are left out.
MISSPELT = {"ReduceSum", "ArgMax"}


def ours(path):
    command = [os.environ["ONNXTOOL_BINARY"], "inspect", "--no-config", "--json", "--check-mobile", "--nnapi-stop-ops", "", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    table = json.loads(result.stdout)["mobile"]["providers"]
    return {(row["provider"], row["shapes"]): (row["supported"], row["nodes"], row["partitions"]) for row in table}


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def shaped_values(graph):
    """Names of values whose shape the peer's inference knows; it takes tensors of no shape for scalars."""
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if not value.type.HasField("tensor_type") or value.type.tensor_type.HasField("shape"):
            yield value.name
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from shaped_values(attribute.g)


def is_comparable(model):
    shaped = set(shaped_values(model.graph))
    if {i.name for i in model.graph.initializer} & {i.name for i in model.graph.input}:
        return False
    for node in nodes_of(model.graph):
        if not shaped.issuperset(filter(None, node.output)):
            return False
        if "" in node.input or node.op_type in {"Loop", *MISSPELT} or (node.op_type == "Transpose" and not node.attribute):
            return False
    return True


class Partitions(unittest.TestCase):
    def test_counts_are_the_peers(self):
        paths = sorted(MODELS.glob("*/model.onnx"))
        if not paths:
            self.skipTest("no models here")
        compared = 0
        for path in paths:
            with tempfile.TemporaryDirectory() as place, self.subTest(model=path.parent.name):
                optimized = pathlib.Path(place) / "model.onnx"
                try:
                    optimize_model(path, optimized)
                    model = ModelProtoWithShapeInfo(optimized).model_with_shape_info
                    if not is_comparable(model):
                        continue
                    expected = {name: check(model, True) for name, check in PEERS.items()}
                    if_fixed = {name: check(model, False) for name, check in PEERS.items()}
                except Exception:  # its shape inference refuses some models
                    continue
                found = ours(optimized)
                compared += 1
                for name, p in expected.items():
                    self.assertEqual((p.num_supported_nodes, p.num_nodes, p.num_partitions), found[name, "as they are"], name)
                    if (name, "if fixed") in found:
                        p = if_fixed[name]
                        self.assertEqual((p.num_supported_nodes, p.num_nodes, p.num_partitions), found[name, "if fixed"], f"{name}, fixed")
        print(f"compared {compared} models")
        self.assertGreater(compared, 10)


if __name__ == "__main__":
    unittest.main()
