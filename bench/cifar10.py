"""CIFAR10Net in ONNX Runtime: SQNR of the logits and accuracy on the test images, for models given on the command line.

usage: cifar10.py DATA [MODEL ...]     DATA is shared/data/cifar10net
       cifar10.py DATA --scaled SEED OUT
The second writes the network with every hidden channel scaled by a power of two from 2^-4 to 2^4, and back in the next
layer, which changes no output. With no MODEL, makes the peer's files first (onnxruntime's quant_pre_process and quantize_static, u8/s8 per-channel).
"""
import os
import sys
import tempfile

import numpy as np
import onnxruntime as ort
from PIL import Image

MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32).reshape(3, 1, 1)
STD = np.array([0.2470, 0.2435, 0.2616], np.float32).reshape(3, 1, 1)


def images(directory):
    """Tensors [1, 3, 32, 32] and labels, class directories in byte order."""
    samples, labels = [], []
    for label, name in enumerate(sorted(os.listdir(directory))):
        for file in sorted(os.listdir(os.path.join(directory, name))):
            pixels = np.asarray(Image.open(os.path.join(directory, name, file)).convert("RGB"), np.float32)
            samples.append(((pixels.transpose(2, 0, 1) / 255 - MEAN) / STD)[None].astype(np.float32))
            labels.append(label)
    return samples, np.array(labels)


def logits(model, samples, level=None):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if level is not None:
        options.graph_optimization_level = level
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: s})[0] for s in samples]).astype(np.float64)


def sqnr(reference, test):
    return 10 * np.log10((reference**2).sum() / ((reference - test) ** 2).sum())


def peer_models(data, out):
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    calibration, _ = images(os.path.join(data, "calib"))

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.samples = iter(calibration)

        def get_next(self):
            sample = next(self.samples, None)
            return None if sample is None else {"input": sample}

    prepared = os.path.join(out, "prepared.onnx")
    quant_pre_process(os.path.join(data, "model.onnx"), prepared)
    models = []
    for method in ("MinMax", "Entropy", "Percentile"):
        path = os.path.join(out, f"peer.{method.lower()}.onnx")
        quantize_static(prepared, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                        calibrate_method=CalibrationMethod[method], activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8)
        models.append(path)
    return models


def write_scaled(model, seed, out):
    import onnx
    from onnx import numpy_helper

    model = onnx.load(model)
    constants = {i.name: i for i in model.graph.initializer}
    rng, powers = np.random.default_rng(seed), None

    def multiply(name, factors, axis=0):
        values = numpy_helper.to_array(constants[name])
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        constants[name].CopyFrom(numpy_helper.from_array((values * factors.reshape(shape)).astype(np.float32), name))

    for layer in (n for n in model.graph.node if n.op_type in ("Conv", "Gemm")):
        rows, columns = constants[layer.input[1]].dims[:2]
        if powers is not None:  # a Flatten gives each channel several columns
            multiply(layer.input[1], np.repeat(1 / powers, columns // len(powers)), axis=1)
        if layer.output[0] == model.graph.output[0].name:
            break
        powers = 2.0 ** rng.integers(-4, 5, rows)
        reader = next(n for n in model.graph.node if layer.output[0] in n.input)
        for name in (reader if reader.op_type == "BatchNormalization" else layer).input[1:3]:
            multiply(name, powers)
    onnx.save(model, out)


def main():
    data, models = sys.argv[1], sys.argv[2:]
    if models[:1] == ["--scaled"]:
        write_scaled(os.path.join(data, "model.onnx"), int(models[1]), models[2])
        return
    samples, labels = images(os.path.join(data, "test"))
    reference = logits(os.path.join(data, "model.onnx"), samples)
    right = reference.argmax(1) == labels
    print(f"float: accuracy {right.mean():.4f} on {len(labels)} images")
    for model in models or peer_models(data, tempfile.mkdtemp(dir="/dev/shm")):
        test = logits(model, samples)
        correct = test.argmax(1) == labels
        lost, won = int((right & ~correct).sum()), int((correct & ~right).sum())
        print(f"{os.path.basename(model)}: SQNR {sqnr(reference, test):.2f} dB, accuracy {correct.mean():.4f}, lost {lost}, won {won}, "
              f"limit {2 * (lost + won) ** 0.5:.1f}")


if __name__ == "__main__":
    main()
