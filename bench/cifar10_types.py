"""CIFAR10Net in other types than u8 and s8 in ONNX Runtime: SQNR of the logits on the test images, beside onnxruntime's tools.

usage: cifar10_types.py ONNXTOOL DATA     DATA is shared/data/cifar10net

4-bit weights meet MatMulNBitsQuantizer, which knows MatMul alone: both get the file with every Gemm as MatMul and Add. 8-bit
floats meet quantize_static, all with optimization disabled, since ONNX Runtime refuses to load them otherwise; 16-bit floats
meet onnxruntime.transformers.float16. Also AdaRound with one scale per tensor.
"""
import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

import cifar10


def with_products(path, out):
    """Every Gemm as MatMul and Add."""
    model = onnx.load(path)
    graph = model.graph
    constants = {i.name: i for i in graph.initializer}
    for i, gemm in enumerate([n for n in graph.node if n.op_type == "Gemm"]):
        weight = numpy_helper.to_array(constants[gemm.input[1]])
        if any(a.name == "transB" and a.i for a in gemm.attribute):
            weight = weight.T
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight), f"weight{i}"))
        at = list(graph.node).index(gemm)
        nodes = [helper.make_node("MatMul", [gemm.input[0], f"weight{i}"], [f"product{i}"], f"product{i}"),
                 helper.make_node("Add", [f"product{i}", gemm.input[2]], [gemm.output[0]], f"sum{i}")]
        graph.node.remove(gemm)
        for node in reversed(nodes):
            graph.node.insert(at, node)
    onnx.save(model, out)


def peer_4bit(model, out, symmetric):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(model), block_size=32, is_symmetric=symmetric)
    quantizer.process()
    quantizer.model.save_model_to_file(out)


def peer_float8(model, out, calibration, per_channel):
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.samples = iter(calibration)

        def get_next(self):
            sample = next(self.samples, None)
            return None if sample is None else {"input": sample}

    kind = QuantType.QFLOAT8E4M3FN
    prepared = out + ".prepared"
    with contextlib.redirect_stdout(io.StringIO()):
        quant_pre_process(model, prepared)
        quantize_static(prepared, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=per_channel, activation_type=kind,
                        weight_type=kind, calibrate_method=CalibrationMethod.Distribution)


def peer_float16(model, out):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=True), out)


def main():
    tool, data = sys.argv[1:]
    logging.disable(logging.WARNING)
    model = os.path.join(data, "model.onnx")
    images, labels = cifar10.images(os.path.join(data, "test"))
    reference = cifar10.logits(model, images)
    with tempfile.TemporaryDirectory() as work:
        products, out = os.path.join(work, "products.onnx"), os.path.join(work, "out.onnx")
        with_products(model, products)

        def report(name, level=None):
            test = cifar10.logits(out, images, level)
            right, still = reference.argmax(1) == labels, test.argmax(1) == labels
            print(json.dumps({"model": name, "sqnr_db": round(cifar10.sqnr(reference, test), 2), "lost": int((right & ~still).sum()),
                              "won": int((~right & still).sum())}), flush=True)

        def ours(flags, model=products, level=None):
            subprocess.run([tool, "quantize", model, *flags.split(), "--calib", os.path.join(data, "calib"), "--preprocess", "cifar10",
                            "--verify", "off", "-q", "-o", out], check=True)
            report(flags, level)

        off = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        calibration, _ = cifar10.images(os.path.join(data, "calib"))
        for per_channel in (False, True):
            peer_float8(model, out, calibration, per_channel)
            report(f"quantize_static, QFLOAT8E4M3FN, {'per-channel' if per_channel else 'per-tensor'}", off)
        for flags in ("portable --weight-type fp8e4m3fn", "portable --weight-type fp8e5m2", "tensorrt --weight-type fp8e4m3fn"):
            ours("--target " + flags, model, off)
        peer_float16(model, out)
        report("convert_float_to_float16")
        ours("--to fp16 --keep-io-types", model)
        for symmetric in (True, False):
            peer_4bit(products, out, symmetric)
            report(f"MatMulNBitsQuantizer, {'symmetric' if symmetric else 'asymmetric'}")
        for kind in ("s4", "u4"):
            for flags in ("", " --gptq", " --awq"):
                ours(f"--weight-only --weight-type {kind}{flags}")
        for flags in ("", " --adaround"):
            ours("--per-tensor --calibrator mse" + flags, model)


if __name__ == "__main__":
    main()
