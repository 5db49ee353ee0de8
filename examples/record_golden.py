#!/usr/bin/env python3
"""Records a golden set for `onnxtool diff` with ONNX Runtime: its answers are then what models are compared with.

    examples/record_golden.py MODEL DIR SAMPLE.npz...
    onnxtool diff DIR MODEL

Each .npz file is one sample: an array for every input of the model, by name. DIR must not exist. To record
another runtime, replace run_model(). Needs onnxruntime and numpy.
"""

import argparse
import hashlib
import json
import pathlib

import numpy as np
import onnxruntime

# numpy's types as safetensors and golden.toml call them.
TYPES = {
    "float32": ("F32", "float"), "float64": ("F64", "double"), "float16": ("F16", "float16"), "bool": ("BOOL", "bool"),
    "int8": ("I8", "int8"), "int16": ("I16", "int16"), "int32": ("I32", "int32"), "int64": ("I64", "int64"),
    "uint8": ("U8", "uint8"), "uint16": ("U16", "uint16"), "uint32": ("U32", "uint32"), "uint64": ("U64", "uint64"),
}  # fmt: skip


def run_model(session, inputs):
    """The outputs of one sample, by name."""
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs)))


def safetensors(arrays):
    """The bytes of a safetensors file: length of the header, header, data."""
    header, data = {}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": TYPES[array.dtype.name][0], "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def table(kind, **values):
    """One [[kind]] of a TOML file. JSON's strings are TOML's."""
    return f"\n[[{kind}]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("samples", type=pathlib.Path, nargs="+")
    args = parser.parse_args()
    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    (args.directory / "samples").mkdir(parents=True)
    listed = ""
    for index, path in enumerate(args.samples):
        inputs = {i.name: np.asarray(np.load(path)[i.name]) for i in session.get_inputs()}
        outputs = run_model(session, inputs)
        arrays = {f"input/{name}": a for name, a in inputs.items()} | {f"output/{name}": a for name, a in outputs.items()}
        content, file = safetensors(arrays), f"{index}.safetensors"
        (args.directory / "samples" / file).write_bytes(content)
        listed += table("samples", file=file, id=path.name, sha256=hashlib.sha256(content).hexdigest())
    text = "schema = 'onnxtool-golden-1'\n\n[model]\n"
    text += f"file = {json.dumps(args.model.name)}\nkind = 'float'\nsha256 = ''\n"
    for kind, tensors in (("inputs", inputs), ("outputs", outputs)):
        text += "".join(table(kind, name=name, type=TYPES[a.dtype.name][1]) for name, a in tensors.items())
    (args.directory / "golden.toml").write_text(text + listed)


if __name__ == "__main__":
    main()
