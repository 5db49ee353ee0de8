"""Which element types that ONNX allows each operator our executor does not take.

usage: element_types.py ONNXTOOL NODE_TESTS [--only NAME[,NAME...]] [--all]

NODE_TESTS is the directory `node` of onnx's test data. The first test of each operator whose one node runs is run once more
for each type that the operator's schema allows a type variable of its inputs to have, with the test's values converted: other
variables keep the test's type, so that some runs are not models that ONNX allows (BitCast to another width). Prints a table of
the types that were refused, with the first line of the error, and of results that are not those of onnx's reference
implementation. --all prints every run. Takes a few minutes; needs onnx, numpy and ml_dtypes.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

# As onnx's schemas spell them.
NAMES = {
    "float": "FLOAT", "double": "DOUBLE", "float16": "FLOAT16", "bfloat16": "BFLOAT16", "string": "STRING", "bool": "BOOL",
    "complex64": "COMPLEX64", "complex128": "COMPLEX128", "float4e2m1": "FLOAT4E2M1",
} | {n: n.upper() for n in ("int2", "int4", "int8", "int16", "int32", "int64", "uint2", "uint4", "uint8", "uint16", "uint32",
                            "uint64", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float8e8m0")}


def code_of(name):
    """TensorProto's number of "tensor(x)", None for sequences and optionals."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    return getattr(TensorProto, NAMES[inner], None) if name.startswith("tensor(") else None


def converted(array, code):
    if code == TensorProto.STRING:
        return np.array([str(v) for v in array.ravel()], object).reshape(array.shape)
    to = onnx.helper.tensor_dtype_to_np_dtype(code)
    if array.dtype == object:
        array = np.arange(array.size).reshape(array.shape)
    if array.dtype.kind == "f" and np.dtype(to).kind in "iu" or "int" in np.dtype(to).name:
        array = np.nan_to_num(array.astype(np.float64), posinf=1, neginf=0)
        low, high = (ml_dtypes.iinfo(to).min, ml_dtypes.iinfo(to).max)
        array = np.clip(np.trunc(array), float(max(low, -(2**31))), float(min(high, 2**31)))
    return array.astype(to)


def load_inputs(directory):
    arrays = []
    for i in range(len([n for n in os.listdir(directory) if n.startswith("input_")])):
        tensor = onnx.TensorProto()
        with open(os.path.join(directory, f"input_{i}.pb"), "rb") as f:
            tensor.ParseFromString(f.read())
        if not tensor.data_type:
            return None
        arrays.append(numpy_helper.to_array(tensor))
    return arrays


def formal(parameters, index):
    return parameters[min(index, len(parameters) - 1)]


def run(tool, model, arrays, work):
    """None, or the first line of the error; the outputs as arrays."""
    path, data, out = (os.path.join(work, n) for n in ("model.onnx", "data", "out"))
    subprocess.run(["rm", "-rf", data, out], check=True)
    os.makedirs(os.path.join(data, "test_data_set_0"))
    onnx.save(model, path)
    for i, a in enumerate(arrays):
        with open(os.path.join(data, "test_data_set_0", f"input_{i}.pb"), "wb") as f:
            f.write(numpy_helper.from_array(a, model.graph.input[i].name).SerializeToString())
    command = [tool, "run", path, "--data", data, "--data-format", "pb", "-o", out, "--output-format", "pb", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return next((line for line in done.stderr.splitlines() if "error" in line), "?")[:200], None
    results = []
    directory = os.path.join(out, "test_data_set_0")
    for i in range(len(model.graph.output)):
        tensor = onnx.TensorProto()
        with open(os.path.join(directory, f"output_{i}.pb"), "rb") as f:
            tensor.ParseFromString(f.read())
        results.append(numpy_helper.to_array(tensor))
    return None, results


def with_types(model, schema, variable, code):
    """The model with another type for `variable`, and the indices of the inputs that have it."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    node, named = changed.graph.node[0], {v.name: v for v in [*changed.graph.input, *changed.graph.output]}
    for names, parameters in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for i, name in enumerate(names):
            if name in named and parameters and formal(parameters, i).type_str == variable:
                named[name].type.tensor_type.elem_type = code
    inputs = {n for i, n in enumerate(node.input) if formal(schema.inputs, i).type_str == variable}
    return changed, [i for i, v in enumerate(changed.graph.input) if v.name in inputs]


def same(ours, expected):
    if ours.shape != np.shape(expected):
        return False
    if ours.dtype == object or ours.dtype.kind in "US":
        return list(map(str, ours.ravel())) == list(map(str, np.asarray(expected).ravel()))
    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    return np.allclose(ours.astype(wide), np.asarray(expected).astype(wide), rtol=0.26, atol=0.1, equal_nan=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("tests")
    parser.add_argument("--only", default="")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    seen, refused, differing, runs = set(), {}, {}, 0
    with tempfile.TemporaryDirectory() as work:
        for test in sorted(os.listdir(arguments.tests)):
            model = onnx.load(os.path.join(arguments.tests, test, "model.onnx"))
            node = model.graph.node[0] if len(model.graph.node) == 1 else None
            if not node or node.domain or node.op_type in seen or (arguments.only and node.op_type not in arguments.only.split(",")):
                continue
            opset = next(o.version for o in model.opset_import if not o.domain)
            schema = onnx.defs.get_schema(node.op_type, opset)
            if opset < onnx.defs.get_schema(node.op_type).since_version or not schema.inputs:
                continue
            if any(not v.type.HasField("tensor_type") for v in [*model.graph.input, *model.graph.output]):
                continue
            arrays = load_inputs(os.path.join(arguments.tests, test, "test_data_set_0"))
            if not arrays:
                continue
            if run(arguments.tool, model, arrays, work)[0]:
                continue
            seen.add(node.op_type)
            for constraint in schema.type_constraints:
                for allowed in constraint.allowed_type_strs:
                    code = code_of(allowed)
                    changed, indices = with_types(model, schema, constraint.type_param_str, code) if code else (None, [])
                    if not indices:
                        continue
                    try:
                        given = [converted(a, code) if i in indices else a for i, a in enumerate(arrays)]
                    except (TypeError, ValueError):
                        continue
                    runs += 1
                    error, results = run(arguments.tool, changed, given, work)
                    key = (node.op_type, constraint.type_param_str)
                    if arguments.all:
                        print(node.op_type, constraint.type_param_str, allowed, error or "runs", flush=True)
                    if error:
                        refused.setdefault((*key, error.split(": ", 2)[-1].replace(allowed[7:-1], "TYPE")), []).append(allowed[7:-1])
                        continue
                    try:
                        expected = ReferenceEvaluator(changed).run(None, {v.name: a for v, a in zip(changed.graph.input, given)})
                    except Exception:  # not every type is in the reference implementation
                        continue
                    if not all(same(a, b) for a, b in zip(results, expected)):
                        differing.setdefault(key, []).append(allowed[7:-1])
    print(f"{len(seen)} operators, {runs} runs\n\n| operator | type variable | refused | why |\n|---|---|---|---|")
    for (op, variable, why), types in sorted(refused.items()):
        print(f"| {op} | {variable} | {', '.join(types)} | {why} |")
    print("\n| operator | type variable | other results than onnx's reference implementation |\n|---|---|---|")
    for (op, variable), types in sorted(differing.items()):
        print(f"| {op} | {variable} | {', '.join(types)} |")


if __name__ == "__main__":
    sys.exit(main())
