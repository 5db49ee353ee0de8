"""`onnxtool convert-ort` beside onnxruntime's converter: a row a model.

usage: convert_ort.py [--peer] ONNXTOOL MODEL.onnx ...

Columns: seconds, processor seconds and peak MB of a conversion at level basic (the best of three, output on tmpfs); with --peer the seconds with
--style both, seconds, processor seconds and peak MB of `python -m onnxruntime.tools.convert_onnx_models_to_ort MODEL`, which writes both styles, and
the ratios to it of one style's and both styles' seconds; whether ONNX Runtime loads the files of both
levels with its optimizations off and on; whether the outputs of level disable equal those of the .onnx with optimizations disabled in
every bit; the largest error of level basic, relative to the output's largest element; and whether a second run writes the same bytes.
Inputs are random, or those of test_data_set_0 beside the model.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime as ort

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests", "python"))
import real_models

OFF, ALL = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL
ROUNDS = 3


# A small process of its own starts the command: a child of this one would count this one's memory as its peak.
TIMER = """
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
status, usage = os.wait4(pid, 0)[1:]
print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))
"""


def measured(command):
    """Seconds by the clock and of processors, and the peak of resident memory in MB."""
    command = [shutil.which(command[0]), *command[1:]]
    result = subprocess.run([sys.executable, "-S", "-c", TIMER, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    seconds, busy, peak, code = result.stdout.strip().split("\n")[-1].split()
    if code != "0":
        lines = [line for line in result.stderr.split("\n") if "rror" in line]
        raise RuntimeError((lines or [result.stderr])[-1][:160])
    return float(seconds), float(busy), float(peak)


def feed_of(session, model):
    names = [i.name for i in session.get_inputs()]
    try:
        stored = real_models.samples(model.parent, names)
        if stored:
            return stored[0]
    except Exception:  # containers, and inputs with defaults, are not stored as tensors
        pass
    rng, feed = np.random.default_rng(1), {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else 2 for d in i.shape]
        kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(bool)": np.bool_,
                "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}[i.type]
        feed[i.name] = np.asarray(rng.standard_normal(shape)).astype(kind) if np.issubdtype(kind, np.floating) else np.ones(shape, kind)
    return feed


def same(a, b):
    if isinstance(a, (list, dict)):
        return repr(a) == repr(b)
    return a.dtype == b.dtype and a.shape == b.shape and (a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes())


def error(expected, got):
    worst = 0.0
    for e, g in zip(expected, got):
        if isinstance(e, np.ndarray) and e.dtype.kind in "fiu" and e.size:
            e, g = e.astype(np.float64), g.astype(np.float64)
            worst = max(worst, float(np.max(np.abs(e - g)) / max(np.max(np.abs(e)), 1e-9)))
    return worst


def row(arguments, model, out):
    command = [arguments.onnxtool, "convert-ort", str(model), "-q"]
    basic, plain, again = out / "basic.ort", out / "plain.ort", out / "again.ort"
    seconds, busy, peak = min(measured([*command, "-o", str(basic)]) for _ in range(ROUNDS))
    measured([*command, "-o", str(plain), "--level", "disable"])
    measured([*command, "-o", str(again)])
    line = f"{seconds:8.3f} s {busy:7.3f} cpu {peak:6.0f} MB"
    if arguments.peer:
        copied = out / "peer" / "model.onnx"
        copied.parent.mkdir()
        for data in [model, *model.parent.glob("*.data")]:
            shutil.copy(data, copied if data == model else copied.parent)
        both_styles = [arguments.onnxtool, "convert-ort", str(copied), "-q", "--style", "both", "--force"]
        both = min(measured(both_styles) for _ in range(ROUNDS))[0]
        peer = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", str(copied)]
        theirs, their_busy, their_peak = min(measured(peer) for _ in range(ROUNDS))
        line += f" | {both:7.3f} s | {theirs:7.2f} s {their_busy:6.2f} cpu {their_peak:6.0f} MB {seconds / theirs:6.3f} {both / theirs:6.3f}"
    reference = real_models.session(model, level=OFF)
    feed = feed_of(reference, model)
    expected = reference.run(None, feed)
    bits = all(same(e, g) for level in (OFF, ALL) for e, g in zip(expected, real_models.session(plain, level=level).run(None, feed)))
    basics = [real_models.session(basic, level=level).run(None, feed) for level in (OFF, ALL)]
    worst = max(error(expected, got) for got in basics)
    return line + f" | {'equal' if bits else 'DIFFERS':7} {worst:8.1e} {'same' if basic.read_bytes() == again.read_bytes() else 'NOT SAME'}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("onnxtool")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    ort.set_default_logger_severity(4)
    for model in arguments.models:
        name = model.parent.name if model.name == "model.onnx" else model.stem
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
            try:
                print(f"{name:32}", row(arguments, model, pathlib.Path(directory)), flush=True)
            except Exception as e:
                print(f"{name:32}", "error:", str(e).replace("\n", " ")[:200], flush=True)


main()
