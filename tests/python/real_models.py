"""What tests and benchmarks ask of the real models in shared/data/models, in ONNX Runtime."""

import collections

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

# Models without data of their own take that of the model they were made from.
DATA = {"ppocr_cls_opt": "ppocr_cls", "ultraface_rfb320_onnxsim": "ultraface_rfb320"}


def operators(graph):
    """Node counts by operator, bodies of control flow included."""
    counts = collections.Counter()
    for node in graph.node:
        counts[node.op_type] += 1
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
                counts += operators(body)
    return counts


def is_integer(op):
    return op.startswith(("QLinear", "MatMulInteger", "DynamicQuantize")) or op in ("QGemm", "ConvInteger", "QAttention")


def is_subject(path):
    """A float model with a layer that could be quantized."""
    counts = operators(onnx.load(path, load_external_data=False).graph)
    quantized = counts["DequantizeLinear"] + sum(n for op, n in counts.items() if is_integer(op))
    return not quantized and any(counts[op] for op in ("Conv", "MatMul", "Gemm"))


def session(path, saved=None, level=None):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if saved:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(saved)
    elif level is not None:
        options.graph_optimization_level = level
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def tensor(path):
    proto = onnx.TensorProto()
    proto.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(proto)


def samples(directory, names):
    """One feed a test_data_set folder."""
    return [{name: tensor(folder / f"input_{i}.pb") for i, name in enumerate(names)}
            for folder in sorted(directory.glob("test_data_set_*"))]


def sqnr(reference, test):
    """In dB, over arrays of all samples; infinite where nothing differs."""
    signal = sum(np.square(r, dtype=np.float64).sum() for r in reference)
    noise = sum(np.square(r.astype(np.float64) - t).sum() for r, t in zip(reference, test))
    return 10 * np.log10(signal / noise) if noise else np.inf
