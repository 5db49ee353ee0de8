"""onnxruntime's quantization tools on one model, in a process of their own: the peers of `onnxtool quantize`.

usage: peer_quantize.py MODEL MinMax|Percentile|Entropy|dynamic|fp16|int4 SAMPLES OUT
SAMPLES is a directory of .npy files (models of one input) or .npz files, - where none are needed. Static and dynamic
quantization take the model after quant_pre_process, which is not timed. Prints a JSON line: seconds of the tool alone
(imports left out, reading and writing files not) and peak memory.
"""
import json
import os
import resource
import sys
import tempfile
import time

import numpy as np
import onnx
from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_dynamic,
                                      quantize_static)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16


class Reader(CalibrationDataReader):
    def __init__(self, model, directory):
        self.input = onnx.load(model, load_external_data=False).graph.input[0].name
        self.directory, self.files = directory, iter(sorted(os.listdir(directory)))

    def get_next(self):
        file = next(self.files, None)
        if file is None:
            return None
        values = np.load(os.path.join(self.directory, file))
        return {self.input: values} if file.endswith(".npy") else dict(values)


def static(model, method, samples, out):
    quantize_static(model, out, Reader(model, samples), quant_format=QuantFormat.QDQ, per_channel=True,
                    calibrate_method=CalibrationMethod[method], activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8)


def int4(model, out):
    quantizer = MatMulNBitsQuantizer(onnx.load(model), block_size=32, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(out, False)


def main():
    model, kind, samples, out = sys.argv[1:]
    if kind not in ("fp16", "int4"):
        prepared = os.path.join(tempfile.mkdtemp(dir=os.path.dirname(out)), "prepared.onnx")
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        model = prepared
    start = time.perf_counter()
    if kind == "fp16":
        onnx.save(convert_float_to_float16(onnx.load(model)), out)
    elif kind == "int4":
        int4(model, out)
    elif kind == "dynamic":
        quantize_dynamic(model, out, per_channel=True, weight_type=QuantType.QInt8)
    else:
        static(model, kind, samples, out)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


main()
