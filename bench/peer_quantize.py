"""onnxruntime's quantize_static on one model, in a process of its own: the peer of `onnxtool quantize`.

usage: peer_quantize.py MODEL MinMax|Percentile|Entropy SAMPLES_DIRECTORY OUT
The model goes through quant_pre_process first, which is not timed. Prints a JSON line: seconds of
quantize_static alone (imports left out) and peak memory.
"""
import json
import os
import resource
import sys
import tempfile
import time

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

model, method, directory, out = sys.argv[1:]


class Reader(CalibrationDataReader):
    def __init__(self):
        self.files = iter(sorted(os.listdir(directory)))

    def get_next(self):
        file = next(self.files, None)
        return None if file is None else {"input": np.load(os.path.join(directory, file))}


prepared = os.path.join(tempfile.mkdtemp(dir=os.path.dirname(out)), "prepared.onnx")
quant_pre_process(model, prepared)
start = time.perf_counter()
quantize_static(prepared, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                calibrate_method=CalibrationMethod[method], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
