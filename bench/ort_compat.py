"""`--preset ort-compat` beside onnxruntime's quantize_static on every float model of shared/data/models, part by part.

usage: ort_compat.py ONNXTOOL MODELS [qdq|qoperator] [per-tensor] [--details] [NAME ...]     MODELS is shared/data/models

Both get the model that onnxruntime's quant_pre_process wrote, at opset 13 or later, and the ranges that its minmax calibration
found, so that every figure can agree to the last bit. Nodes are counted by operator. Tensors are joined by name: a weight, its
scale and its zero point, and the scale and zero point of an activation; `_quantized` and the like are the peer's names. A tensor
that one side lacks is one that this side leaves in float. With --details the names of what differs follow.
"""
import collections
import contextlib
import io
import logging
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

import quantize_models

import real_models

MOST_NAMES = 6


def initializers(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def kind_of(name):
    """Of an initializer that quantization made, by its name; None: any other."""
    base = name.removesuffix("_scale").removesuffix("_zero_point")
    if base.endswith("_quantized"):
        return "bias or weight" if base == name else "bias scale" if name.endswith("_scale") else "bias zero point"
    return "scale" if name.endswith("_scale") else "zero point" if name.endswith("_zero_point") else None


def compare(theirs, ours):
    """Lines that say what differs: (what, how many of how many, names)."""
    lines = []
    counts = [real_models.operators(onnx.load(p, load_external_data=False).graph) for p in (theirs, ours)]
    for op in sorted((counts[0] | counts[1]).keys() - {"Constant"}):  # initializers in ours
        if counts[0][op] != counts[1][op]:
            lines.append((f"{op}: {counts[0][op]} theirs, {counts[1][op]} ours", None, []))
    a, b = initializers(theirs), initializers(ours)
    differ, total = collections.defaultdict(list), collections.Counter()
    for name, value in a.items():
        kind = kind_of(name)
        if kind is None:
            continue
        total[kind] += 1
        if name not in b:
            differ[f"{kind}: only theirs"].append(name)
        elif value.dtype != b[name].dtype:
            differ[f"{kind}: type"].append(f"{name} {value.dtype} {b[name].dtype}")
        elif value.size != b[name].size:
            differ[f"{kind}: size"].append(f"{name} {value.shape} {b[name].shape}")
        elif value.tobytes() != b[name].tobytes():
            differ[f"{kind}: value"].append(name)
        elif value.shape != b[name].shape:
            differ[f"{kind}: shape"].append(f"{name} {value.shape} {b[name].shape}")
    for name in b:
        if kind_of(name) and name not in a:
            differ[f"{kind_of(name)}: only ours"].append(name)
    for what, names in sorted(differ.items()):
        lines.append((what, f"{len(names)} of {total[what.split(':')[0]]}", names))
    return lines


def files_of(onnxtool, form, per_channel, directory, work):
    """Theirs and ours; ends with an exception where one cannot be had."""
    model = directory / "model.onnx"
    data = directory.parent / real_models.DATA.get(directory.name, directory.name)
    names = [i.name for i in real_models.session(model, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL).get_inputs()]
    feeds = real_models.samples(data, names)
    theirs, ours, ranges = work / "theirs.onnx", work / "ours.onnx", work / "ranges.json"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        source = quantize_models.prepared(model, work)
        quantize_static(source, str(theirs), quantize_models.Reader(feeds), per_channel=per_channel,
                        quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibration_cache_path=str(ranges))
    command = [onnxtool, "quantize", source, "--ranges", str(ranges), "--preset", "ort-compat", "--format", form, "--verify",
               "off", "-q", "-o", str(ours), *([] if per_channel else ["--per-tensor"])]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise RuntimeError(f"ours: exit {result.returncode}: {result.stderr[-300:]}")
    return theirs, ours


def main():
    logging.disable(logging.CRITICAL)
    ort.set_default_logger_severity(4)
    onnxtool, models, *rest = sys.argv[1:]
    onnxtool, models = os.path.abspath(onnxtool), pathlib.Path(models).resolve()
    form = "qoperator" if "qoperator" in rest else "qdq"
    per_channel, details = "per-tensor" not in rest, "--details" in rest
    names = [r for r in rest if r not in ("qdq", "qoperator", "per-tensor", "--details")]
    for directory in sorted(models.iterdir()):
        model = directory / "model.onnx"
        if names and directory.name not in names or not model.exists() or not real_models.is_subject(model):
            continue
        with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
            os.chdir(work)  # the peer leaves files there
            try:
                found = compare(*files_of(onnxtool, form, per_channel, directory, pathlib.Path(work)))
            except Exception as error:
                print(f"{directory.name}: {' '.join(str(error).split())[-160:]}", flush=True)
                continue
            finally:
                os.chdir(models)
        print(f"{directory.name}: {'the same' if not found else ''}", flush=True)
        for what, share, differing in found:
            print(f"    {what}{'' if share is None else ': ' + share}")
            if details:
                for name in differing[:MOST_NAMES]:
                    print(f"        {name}")


if __name__ == "__main__":
    main()
