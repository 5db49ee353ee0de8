"""The tables of quantization in docs/benchmarks.md, part by part: one command for all of them.

usage: quantize.py ONNXTOOL --data SHARED/data [--parts PART ...] [--resnet50 FILE] [--bert FILE] [--directory DIR] [--gb 4]

Parts, and the scripts that measure them:

    models      the shared float models, QDQ, QOperator and dynamic            quantize_models.py
    halves      the same in fp16 and bf16                                      quantize_models.py
    compat      what of --preset ort-compat differs from onnxruntime's files   ort_compat.py
    cifar10     CIFAR10Net by calibrator, as trained and scaled by powers of 2 cifar10.py
    types       CIFAR10Net in 4 bits, 8-bit floats and fp16                    cifar10_types.py
    resnet50    time and memory of the main job                                main_job.py
    bert        time and memory of every mode on BERT-base                     quantize_bert.py
    large       4 bits of a model with external data, beside cp                weight_only.py

A part whose file is not given says so and is left out; the exit code is 1 where a part failed. Times want a machine that does
nothing else; SQNR, MACs and counts do not depend on it.
"""
import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CALIBRATORS = ("minmax", "mse", "entropy", "percentile", "auto")
SEEDS = (1, 2, 3)


def script(name, *arguments):
    """Runs one of the scripts beside this one; whether it ended well."""
    print("$ python bench/" + " ".join(map(str, (name, *arguments))), flush=True)
    return subprocess.run([sys.executable, os.path.join(HERE, name), *map(str, arguments)]).returncode == 0


def models(o, forms):
    return all([script("quantize_models.py", o.onnxtool, os.path.join(o.data, "models"), form, *o.names) for form in forms])


def compat(o):
    directory = os.path.join(o.data, "models")
    return all([script("ort_compat.py", o.onnxtool, directory, form, *o.names) for form in ("qdq", "qoperator")])


def cifar10(o):
    """Files of every calibrator, and of scaled networks with one scale a tensor, judged together with the peer's."""
    data = os.path.join(o.data, "cifar10net")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
        files = []

        def quantized(model, name, *flags):
            out = os.path.join(work, name + ".onnx")
            command = [o.onnxtool, "quantize", model, "--calib", os.path.join(data, "calib"), "--preprocess", "cifar10", "--verify",
                       "off", "-q", "-o", out, *flags]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
            files.append(out)

        trained = os.path.join(data, "model.onnx")
        for calibrator in CALIBRATORS:
            quantized(trained, calibrator, "--calibrator", calibrator)
        quantized(trained, "per-tensor", "--per-tensor", "--equalize")
        for seed in SEEDS:
            scaled = os.path.join(work, f"scaled{seed}.float.onnx")
            if not script("cifar10.py", data, "--scaled", seed, scaled):
                return False
            quantized(scaled, f"scaled{seed}", "--calibrator", "auto")
            quantized(scaled, f"scaled{seed}.per-tensor", "--per-tensor", "--equalize")
        return script("cifar10.py", data) and script("cifar10.py", data, *files)


def with_file(o, flag, name):
    path = getattr(o, flag)
    if path:
        return script(name, o.onnxtool, os.path.abspath(path))
    print(f"left out: --{flag} is not given", flush=True)
    return True


PARTS = {
    "models": lambda o: models(o, ("qdq", "qoperator", "dynamic")),
    "halves": lambda o: models(o, ("fp16", "bf16")),
    "compat": compat,
    "cifar10": cifar10,
    "types": lambda o: script("cifar10_types.py", o.onnxtool, os.path.join(o.data, "cifar10net")),
    "resnet50": lambda o: with_file(o, "resnet50", "main_job.py"),
    "bert": lambda o: with_file(o, "bert", "quantize_bert.py"),
    "large": lambda o: script("weight_only.py", o.onnxtool, "--gb", o.gb, "--directory", o.directory),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("onnxtool")
    parser.add_argument("--data", required=True, help="the folder of models, cifar10net and so on")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--names", nargs="*", default=[], help="of models and compat: these models alone")
    parser.add_argument("--resnet50", help="torchvision's export")
    parser.add_argument("--bert", help="torch's export")
    parser.add_argument("--directory", default="/tmp", help="where the large model is written: a disk, since caches are dropped")
    parser.add_argument("--gb", type=float, default=4)
    o = parser.parse_args()
    o.onnxtool, o.data = os.path.abspath(o.onnxtool), os.path.abspath(o.data)
    failed = []
    for part in o.parts:
        print(f"\n## {part}\n", flush=True)
        if not PARTS[part](o):
            failed.append(part)
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
