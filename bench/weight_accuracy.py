"""4-bit weights of CIFAR10Net in ONNX Runtime: SQNR of the logits on the test images, beside onnxruntime's MatMulNBitsQuantizer.

usage: weight_accuracy.py ONNXTOOL DATA     DATA is shared/data/cifar10net

The peer knows MatMul alone, so both get the file with every Gemm as MatMul and Add. Also AdaRound with one scale per tensor.
"""
import json
import logging
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
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


def peer(model, out, symmetric):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(model), block_size=32, is_symmetric=symmetric)
    quantizer.process()
    quantizer.model.save_model_to_file(out)


def main():
    tool, data = sys.argv[1:]
    logging.disable(logging.INFO)
    images, labels = cifar10.images(os.path.join(data, "test"))
    reference = cifar10.logits(os.path.join(data, "model.onnx"), images)
    with tempfile.TemporaryDirectory() as work:
        products, out = os.path.join(work, "products.onnx"), os.path.join(work, "out.onnx")
        with_products(os.path.join(data, "model.onnx"), products)

        def report(name):
            test = cifar10.logits(out, images)
            right, still = reference.argmax(1) == labels, test.argmax(1) == labels
            print(json.dumps({"model": name, "sqnr_db": round(cifar10.sqnr(reference, test), 2), "lost": int((right & ~still).sum()),
                              "won": int((~right & still).sum())}), flush=True)

        def ours(flags, model=products):
            subprocess.run([tool, "quantize", model, *flags.split(), "--calib", os.path.join(data, "calib"), "--preprocess", "cifar10",
                            "--verify", "off", "-q", "-o", out], check=True)
            report(flags)

        for symmetric in (True, False):
            peer(products, out, symmetric)
            report(f"MatMulNBitsQuantizer, {'symmetric' if symmetric else 'asymmetric'}")
        for kind in ("s4", "u4"):
            for flags in ("", " --gptq", " --awq"):
                ours(f"--weight-only --weight-type {kind}{flags}")
        for flags in ("", " --adaround"):
            ours("--per-tensor --calibrator mse" + flags, os.path.join(data, "model.onnx"))


if __name__ == "__main__":
    main()
