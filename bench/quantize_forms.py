"""QOperator files and 16-bit floats of every float model in shared/data/models, beside onnxruntime's: a table.

usage: quantize_forms.py ONNXTOOL MODELS qoperator|fp16|bf16 [NAME ...]     MODELS is shared/data/models

Both files run in ONNX Runtime at its default level and with optimization disabled; SQNR is of the output that suffers
most, over all samples, the lower of both levels. The peer's QOperator file is the better one of its per-channel and
per-tensor ones after quant_pre_process and conversion to opset 13; its float16 file is what
onnxruntime.transformers.float16 makes. Casts are those in the files.
"""
import contextlib
import io
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests", "python"))
import real_models

FLAGS = {"qoperator": ["--format", "qoperator"], "fp16": ["--to", "fp16"], "bf16": ["--to", "bf16"]}


class Reader(CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def peer_qoperator(model, feeds, work):
    """Its best file, or what it says."""
    prepared = work / "prepared.onnx"
    try:
        quant_pre_process(str(model), str(prepared))
    except Exception:
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    loaded = onnx.load(prepared)
    if next(o.version for o in loaded.opset_import if o.domain in ("", "ai.onnx")) < 13:
        onnx.save(version_converter.convert_version(loaded, 13), prepared)
    files = []
    for per_channel in (True, False):
        out = work / f"peer{per_channel}.onnx"
        quantize_static(str(prepared), str(out), Reader(feeds), quant_format=QuantFormat.QOperator, per_channel=per_channel)
        files.append(out)
    return files


def peer_fp16(model, feeds, work):
    out = work / "peer.onnx"
    onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=False), out)
    return [out]


def judge(file, feeds, expected):
    """(SQNR, Casts) of a file, or why it does not run."""
    worst = np.inf
    for level in (None, ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
        session = real_models.session(file, level=level)
        types = {i.name: i.type for i in session.get_inputs()}
        given = []
        for feed in feeds:
            fed = {n: a.astype(np.float16) if types.get(n) == "tensor(float16)" else a for n, a in feed.items()}
            given.append(session.run(None, fed))
        for i in range(len(expected[0])):
            if expected[0][i].dtype == np.float32:
                worst = min(worst, real_models.sqnr([r[i] for r in expected], [r[i].astype(np.float64) for r in given]))
    counts = real_models.operators(onnx.load(file, load_external_data=False).graph)
    return worst, counts["Cast"], sum(n for op, n in counts.items() if real_models.is_integer(op))


def short(error):
    return " ".join(str(error).split())[-60:].replace("|", "/")


def cell(files, feeds, expected):
    best, reason = None, "nothing"
    for file in files:
        try:
            found = judge(file, feeds, expected)
            if best is None or not found[0] <= best[0]:
                best = found
        except Exception as error:
            reason = f"does not run: {short(error)}"
    return f"{best[0]:.1f} | {best[1]} | {best[2]}" if best else f"{reason} | | "


def alone(*arguments):
    """One side in a process of its own: some of the peer's files end it."""
    result = subprocess.run([sys.executable, __file__, "--side", *map(str, arguments)], capture_output=True, text=True,
                            stdin=subprocess.DEVNULL)
    return result.stdout.strip() or f"ends with code {result.returncode} | | "


def side(which, onnxtool, directory, kind, work):
    directory, work = pathlib.Path(directory), pathlib.Path(work)
    model = directory / "model.onnx"
    data = directory.parent / real_models.DATA.get(directory.name, directory.name)
    exact = real_models.session(model, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    feeds = real_models.samples(data, [i.name for i in exact.get_inputs()])
    if not feeds:
        return "no samples | | "
    expected = [exact.run(None, f) for f in feeds]
    if which == "ours":
        out = work / "ours.onnx"
        command = [onnxtool, "quantize", str(model), "--calib", str(data), "-o", str(out), "--json", *FLAGS[kind]]
        result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if not result.returncode:
            return cell([out], feeds, expected)
        reason = json.loads(result.stdout)["findings"][0]["message"] if result.stdout else result.stderr.split("error")[-1]
        return f"exit {result.returncode}: {short(reason)} | | "
    if kind == "bf16":
        return "no such tool | | "
    make = {"qoperator": peer_qoperator, "fp16": peer_fp16}[kind]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            files = make(model, feeds, work)
    except Exception as error:
        return f"fails: {short(error)} | | "
    return cell(files, feeds, expected)


def main():
    logging.disable(logging.CRITICAL)
    ort.set_default_logger_severity(4)
    if sys.argv[1] == "--side":
        print(side(*sys.argv[2:]))
        return
    onnxtool, models, kind, names = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4:]
    print("| model | SQNR dB | Casts | integer operators | peer: SQNR dB | Casts | integer operators |\n|---|---|---|---|---|---|---|")
    for directory in sorted(models.iterdir()):
        model = directory / "model.onnx"
        if names and directory.name not in names or not model.exists() or not real_models.is_subject(model):
            continue
        with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
            ours, peer = (alone(which, onnxtool, directory, kind, work) for which in ("ours", "peer"))
        print(f"| {directory.name} | {ours} | {peer} |", flush=True)


if __name__ == "__main__":
    main()
