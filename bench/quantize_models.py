"""Every float model of shared/data/models quantized by us and by onnxruntime's tools, judged in ONNX Runtime: a table.

usage: quantize_models.py ONNXTOOL MODELS qdq|qoperator|dynamic|fp16|bf16 [NAME ...]     MODELS is shared/data/models

The peer's file is the better one of its per-channel and per-tensor ones after quant_pre_process and conversion to
opset 13; its float16 file is what onnxruntime.transformers.float16 makes; for bfloat16 there is none. SQNR is of the
output that suffers most, over all samples, the lower of ONNX Runtime's default level and none. Most models come with one
or two samples, on which SQNR is a matter of luck (10 dB between files whose every layer is equally good): those of images
with fewer than FEW are judged on them and on VARIATIONS shifted and darkened copies, which nobody calibrated with;
`samples` says how many there are. MACs are those of integer operators in the graph that ONNX Runtime saves at level
extended, in percent of all; with 16-bit floats, Casts stand there. `better` says "no" where ours is dominated: a lower
SQNR, and neither 1.05 times the peer's integer MACs at 1 dB less at most. Latency is of one thread, ours over the float
model's, median and 95 % bootstrap interval of interleaved rounds.
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
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

import latency_ort

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests", "python"))
import real_models

FLAGS = {"qdq": [], "qoperator": ["--format", "qoperator"], "dynamic": ["--dynamic"], "fp16": ["--to", "fp16"],
         "bf16": ["--to", "bf16"]}
FLOATS = ("fp16", "bf16")
SECONDS = 3  # of latency a model
FEW, VARIATIONS = 8, 24


class Reader(CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def prepared(model, work):
    out = work / "prepared.onnx"
    try:
        quant_pre_process(str(model), str(out))
    except Exception:
        quant_pre_process(str(model), str(out), skip_symbolic_shape=True)
    loaded = onnx.load(out)
    if next(o.version for o in loaded.opset_import if o.domain in ("", "ai.onnx")) < 13:
        onnx.save(version_converter.convert_version(loaded, 13), out)
    return str(out)


def peer_files(form, model, feeds, work):
    if form == "fp16":
        out = work / "peer.onnx"
        onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=False), out)
        return [out]
    source, files = prepared(model, work), []
    for per_channel in (True, False):
        out = work / f"peer{per_channel}.onnx"
        if form == "dynamic":
            quantize_dynamic(source, str(out), per_channel=per_channel, weight_type=QuantType.QInt8)
        else:
            quantize_static(source, str(out), Reader(feeds), per_channel=per_channel,
                            quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator)
        files.append(out)
    return files


def is_image(a):
    return a.dtype == np.float32 and a.ndim == 4


def judged(feeds):
    """The samples, and where they are few images copies of them, moved by some pixels and darkened a little."""
    if len(feeds) >= FEW or not any(is_image(a) for a in feeds[0].values()):
        return feeds
    rng = np.random.default_rng(0)

    def vary(a):
        if not is_image(a):
            return a
        return np.roll(a * rng.uniform(0.8, 1), rng.integers(-20, 20, 2), (-2, -1)).astype(np.float32)

    return feeds + [{n: vary(a) for n, a in feeds[i % len(feeds)].items()} for i in range(VARIATIONS)]


def quality(file, feeds, expected):
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
    return worst


def integer_share(onnxtool, file, feeds):
    """Percent of the multiply-accumulates that ONNX Runtime does on integers."""
    saved = file.with_suffix(".extended.onnx")
    session = real_models.session(file, saved=saved)
    # Some models declare a scalar and are given an array of one.
    ranks = {i.name: len(i.shape) for i in session.get_inputs()}
    shapes = [f for n, a in feeds[0].items() if a.ndim == ranks[n]
              for f in ("--input-shape", f"{n}={','.join(map(str, a.shape))}")]
    report = json.loads(subprocess.run([onnxtool, "inspect", str(saved), "--json", *shapes], capture_output=True, text=True,
                                       check=True, stdin=subprocess.DEVNULL).stdout)
    macs = {o["op"].split(".")[-1]: o["macs"] or 0 for o in report["operators"]["operators"]}
    return 100 * sum(n for op, n in macs.items() if real_models.is_integer(op)) / max(1, sum(macs.values()))


def latency(file, model, feeds):
    """Ratio file / model with its interval."""
    first, second = real_models.session(file), real_models.session(model)
    for s in (first, second):
        latency_ort.round_of(s, feeds[0], 3)
    one = latency_ort.round_of(second, feeds[0], 3)
    runs = max(1, round(1e3 * latency_ort.ROUND_S / one))
    rounds = int(np.clip(1e3 * SECONDS / (2 * runs * one), 20, 400))
    return latency_ort.ratio_interval(*latency_ort.interleaved(first, second, feeds[0], runs, rounds))


def short(error):
    return " ".join(str(error).split())[-60:].replace("|", "/")


def judge(onnxtool, form, files, feeds, exact):
    """The best of some files: its SQNR and its integer MACs or Casts; or why there is none."""
    best = {"reason": "nothing"}
    feeds = judged(feeds)
    expected = [exact.run(None, f) for f in feeds]
    for file in files:
        try:
            sqnr = quality(file, feeds, expected)
            if "sqnr" in best and sqnr <= best["sqnr"]:
                continue
            if form in FLOATS:
                count = real_models.operators(onnx.load(file, load_external_data=False).graph)["Cast"]
            else:
                count = integer_share(onnxtool, file, feeds)
            best = {"sqnr": sqnr, "count": count, "file": file, "samples": len(feeds)}
        except Exception as error:
            if "sqnr" not in best:
                best = {"reason": f"does not run: {short(error)}"}
    return best


def ours(onnxtool, form, model, data, work):
    """The file, or why there is none."""
    out = work / "ours.onnx"
    command = [onnxtool, "quantize", str(model), "-o", str(out), "--json", *FLAGS[form]]
    if form != "dynamic":
        command += ["--calib", str(data)]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if not result.returncode:
        return [out], ""
    reason = json.loads(result.stdout)["findings"][0]["message"] if result.stdout else result.stderr.split("error")[-1]
    return [], f"exit {result.returncode}: {short(reason)}"


def side(which, onnxtool, directory, form, work):
    """One side in a process of its own, since some of the peer's files end it: a JSON object."""
    directory, work = pathlib.Path(directory), pathlib.Path(work)
    model = directory / "model.onnx"
    data = directory.parent / real_models.DATA.get(directory.name, directory.name)
    exact = real_models.session(model, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    feeds = real_models.samples(data, [i.name for i in exact.get_inputs()])
    if not feeds:
        return {"reason": "no samples"}
    if which == "ours":
        files, reason = ours(onnxtool, form, model, data, work)
        if not files:
            return {"reason": reason}
        found = judge(onnxtool, form, files, feeds, exact)
        if "file" in found and form not in FLOATS:
            found["latency"] = latency(found["file"], model, feeds)
    elif form == "bf16":
        return {"reason": "no such tool"}
    else:
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                files = peer_files(form, model, feeds, work)
        except Exception as error:
            return {"reason": f"fails: {short(error)}"}
        found = judge(onnxtool, form, files, feeds, exact)
    found.pop("file", None)
    return found


def alone(work, *arguments):
    """`side` with these arguments; what the peer leaves in the current directory goes with `work`."""
    command = [sys.executable, os.path.abspath(__file__), "--side", *map(str, arguments), work]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=work)
    return json.loads(result.stdout) if result.stdout.strip() else {"reason": f"ends with code {result.returncode}"}


def better(form, a, b):
    if "sqnr" not in a:
        return "-"
    if "sqnr" not in b or a["sqnr"] >= b["sqnr"]:
        return "yes"
    if form not in FLOATS and a["count"] >= 1.05 * b["count"] and a["sqnr"] >= b["sqnr"] - 1:
        return "yes"
    return "no"


def cells(found):
    return f"{found['sqnr']:.1f} | {found['count']:.0f}" if "sqnr" in found else f"{found['reason']} | "


def main():
    logging.disable(logging.CRITICAL)
    ort.set_default_logger_severity(4)
    if sys.argv[1] == "--side":
        print(json.dumps(side(*sys.argv[2:])))
        return
    onnxtool, models, form, *names = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve(), *sys.argv[3:]
    count = "Casts" if form in FLOATS else "MACs %"
    print(f"| model | samples | SQNR dB | {count} | peer: SQNR dB | {count} | better | latency / float |")
    print("|---|---|---|---|---|---|---|---|")
    for directory in sorted(models.iterdir()):
        model = directory / "model.onnx"
        if names and directory.name not in names or not model.exists() or not real_models.is_subject(model):
            continue
        with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
            a, b = (alone(work, which, onnxtool, directory, form) for which in ("ours", "peer"))
        ratio = "{:.2f} [{:.2f}, {:.2f}]".format(*a["latency"]) if "latency" in a else ""
        samples = a.get("samples") or b.get("samples") or ""
        print(f"| {directory.name} | {samples} | {cells(a)} | {cells(b)} | {better(form, a, b)} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
