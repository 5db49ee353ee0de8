"""`--preset ort-compat` beside onnxruntime's quantize_static, from the same model and samples: the same graph, weights to
the last bit, ranges to float rounding.

Both get the model that onnxruntime's own preparation wrote: folding a BatchNormalization names its results differently, one of the
differences that docs/quantize.md lists.
"""

import contextlib
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

SOURCE = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
DIGITS = SOURCE / "testdata" / "digits"
CIFAR10NET = SOURCE.parent / "shared" / "data" / "cifar10net"
DIGITS_FLAGS = "--resize 32 --channels grey --scale 1/255 --mean 0.3 --std 0.35".split()


class Samples(CalibrationDataReader):
    """What `onnxtool run` reads, as it was written: preprocessing is not what is compared here."""

    def __init__(self, name, files):
        self.name, self.files = name, iter(files)

    def get_next(self):
        file = next(self.files, None)
        return None if file is None else {self.name: np.load(file)}


class OrtCompat(unittest.TestCase):
    def compare(self, data, count, flags, per_channel):
        with tempfile.TemporaryDirectory() as directory:
            work = pathlib.Path(directory)
            logging.disable(logging.WARNING)
            self.addCleanup(logging.disable, logging.NOTSET)
            prepared = work / "prepared.onnx"
            quant_pre_process(str(data / "model.onnx"), str(prepared))
            samples = work / "samples"
            samples.mkdir()
            name = onnx.load(prepared).graph.input[0].name
            for i, array in enumerate(self.images(data, flags)[:count]):
                np.save(samples / f"{i:04d}.npy", array)
            theirs, ours = work / "theirs.onnx", work / "ours.onnx"
            quantize_static(str(prepared), str(theirs), Samples(name, sorted(samples.iterdir())),
                            quant_format=QuantFormat.QDQ, per_channel=per_channel, calibrate_method=CalibrationMethod.MinMax,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
            command = [os.environ["ONNXTOOL_BINARY"], "quantize", str(prepared), "--calib", str(samples), "-q", "-o", str(ours),
                       "--preset", "ort-compat", *([] if per_channel else ["--per-tensor"])]
            result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.check_graphs(onnx.load(theirs).graph, onnx.load(ours).graph)

    def images(self, data, flags):
        """Calibration images, made by Pillow and NumPy."""
        from PIL import Image

        grey = flags is DIGITS_FLAGS
        mean, std = (0.3, 0.35) if grey else ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
        for_channels = lambda v: np.array(v, np.float32).reshape(-1, 1, 1)
        arrays = []
        for path in sorted((data / "calib").rglob("*.*")):
            pixels = np.asarray(Image.open(path).convert("L" if grey else "RGB").resize((32, 32), Image.BILINEAR), np.float32)
            planes = pixels[None] if grey else pixels.transpose(2, 0, 1)
            arrays.append((planes / 255 - for_channels(mean)) / for_channels(std))
        return [a[None].astype(np.float32) for a in arrays]

    def check_graphs(self, theirs, ours):
        # Values between nodes have names of their own (docs/quantize.md): nodes are joined by who makes what.
        def nodes(graph):
            makers = {output: node.name for node in graph.node for output in node.output}
            return sorted((n.op_type, n.name, [makers.get(i, i) for i in n.input]) for n in graph.node)

        self.maxDiff = None
        self.assertEqual(nodes(ours), nodes(theirs))
        self.assertEqual([i.name for i in ours.input], [i.name for i in theirs.input])
        self.assertEqual([o.name for o in ours.output], [o.name for o in theirs.output])
        tensors = lambda graph: {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        a, b = tensors(theirs), tensors(ours)
        self.assertEqual(sorted(b), sorted(a))
        weights = {name.removesuffix("_quantized") for name in a if name.endswith("_quantized")}
        for name, value in a.items():
            base = name.removesuffix("_scale").removesuffix("_zero_point")
            self.assertEqual(b[name].dtype, value.dtype, name)
            x, y = value.ravel(), b[name].ravel()
            self.assertEqual(x.size, y.size, name)
            of_bias = base.endswith("_quantized")  # its scale is the activation's times the weight's
            if name.endswith("_quantized"):
                # Weights are the same; a bias may be a step off where its scale is.
                off = np.abs(x.astype(np.int64) - y).max()
                self.assertLessEqual(off, 1e-5 * np.abs(x).max() + 1 if value.dtype == np.int32 else 0, name)
            elif base in weights and not of_bias:
                np.testing.assert_array_equal(x, y, err_msg=name)
            elif name.endswith("_zero_point"):
                self.assertLessEqual(np.abs(x.astype(np.int64) - y).max(), 1, name)
            else:
                np.testing.assert_allclose(y, x, rtol=1e-5, err_msg=name)

    def test_digits_per_channel(self):
        self.compare(DIGITS, 100, DIGITS_FLAGS, True)

    def test_digits_per_tensor(self):
        self.compare(DIGITS, 100, DIGITS_FLAGS, False)

    @unittest.skipUnless(CIFAR10NET.is_dir(), f"{CIFAR10NET} is absent")
    def test_cifar10net_per_channel(self):
        self.compare(CIFAR10NET, 100, (), True)

    @unittest.skipUnless(CIFAR10NET.is_dir(), f"{CIFAR10NET} is absent")
    def test_cifar10net_per_tensor(self):
        self.compare(CIFAR10NET, 100, (), False)


MODELS = SOURCE.parent / "shared" / "data" / "models"
# Whole graphs of them agree: counts of operators, and each weight, bias, scale and zero point to the last bit.
THE_SAME = ("cifar10_cnn", "mlperf_tiny_resnet8", "mnist_rten_op18", "nnsplit_en", "ppocr_rec_en_number")


@unittest.skipUnless(MODELS.is_dir(), f"{MODELS} is absent")
class RealModels(unittest.TestCase):
    """From onnxruntime's own range file, as bench/ort_compat.py compares them."""

    def check(self, form, per_channel):
        sys.path.insert(0, str(SOURCE / "bench"))
        self.addCleanup(sys.path.remove, str(SOURCE / "bench"))
        self.addCleanup(os.chdir, os.getcwd())
        logging.disable(logging.WARNING)
        self.addCleanup(logging.disable, logging.NOTSET)
        import ort_compat

        for name in THE_SAME:
            with self.subTest(name), tempfile.TemporaryDirectory() as work:
                os.chdir(work)  # onnxruntime's tool leaves files there
                files = ort_compat.files_of(os.environ["ONNXTOOL_BINARY"], form, per_channel, MODELS / name, pathlib.Path(work))
                self.assertEqual(ort_compat.compare(*files), [])

    def test_qdq_per_channel(self):
        self.check("qdq", True)

    def test_qdq_per_tensor(self):
        self.check("qdq", False)

    def test_qoperator_per_channel(self):
        self.check("qoperator", True)


def compare_small_models(test, write, feeds, form, flags, options, prepare=False, weight_type=QuantType.QInt8):
    """What `write` writes, quantized by both: the same graph, tensors and outputs, to the last bit."""
    sys.path.insert(0, str(SOURCE / "bench"))
    test.addCleanup(sys.path.remove, str(SOURCE / "bench"))
    logging.disable(logging.WARNING)
    test.addCleanup(logging.disable, logging.NOTSET)
    import ort_compat
    import quantize_models

    def edges(path):
        graph = onnx.load(path).graph
        makers = {output: node.name for node in graph.node for output in node.output}
        return sorted((n.op_type, n.name, [makers.get(i, i) for i in n.input]) for n in graph.node)

    # onnxruntime's tool leaves files there.
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        work = pathlib.Path(directory)
        source, theirs, ours, ranges = (work / n for n in ("m.onnx", "theirs.onnx", "ours.onnx", "ranges.json"))
        write(source)
        if prepare:
            quant_pre_process(str(source), str(source), skip_symbolic_shape=True)
        quantize_static(str(source), str(theirs), quantize_models.Reader(feeds), per_channel=True, quant_format=form,
                        activation_type=QuantType.QUInt8, weight_type=weight_type, calibration_cache_path=str(ranges),
                        extra_options=options)
        command = [os.environ["ONNXTOOL_BINARY"], "quantize", str(source), "--ranges", str(ranges), "--preset", "ort-compat",
                   "--format", "qdq" if form == QuantFormat.QDQ else "qoperator", "-q", "-o", str(ours), *flags]
        result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        test.assertEqual(result.returncode, 0, result.stderr)
        test.assertEqual(ort_compat.compare(theirs, ours), [])
        if form == QuantFormat.QDQ:  # integer operators have names of their own
            test.assertEqual(edges(ours), edges(theirs))
        run = lambda path: ort.InferenceSession(str(path)).run(None, feeds[0])
        for a, b in zip(run(theirs), run(ours)):
            np.testing.assert_array_equal(a, b)


class Tables(unittest.TestCase):
    """Tables of Gather: read by integer and by float operators, and transposed as a weight, of one copy."""

    def model(self, path):
        random = np.random.default_rng(0)
        values = lambda name, *shape: numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        h = onnx.helper
        nodes = [h.make_node("Gather", ["table", "ids"], ["e"], "gather"), h.make_node("MatMul", ["e", "w"], ["m"], "product"),
                 h.make_node("Relu", ["m"], ["r"], "relu"), h.make_node("Transpose", ["table"], ["t"], "turn", perm=[1, 0]),
                 h.make_node("MatMul", ["r", "t"], ["y"], "head"), h.make_node("Gather", ["positions", "ids"], ["p"], "place"),
                 h.make_node("Tanh", ["p"], ["z"], "tanh")]
        inputs = [h.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, 6])]
        outputs = [h.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 6, 40]),
                   h.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 6, 16])]
        constants = [values("table", 40, 32), values("w", 32, 32), values("positions", 50, 16)]
        graph = h.make_graph(nodes, "g", inputs, outputs, constants)
        onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)

    def check(self, form):
        feeds = [{"ids": np.random.default_rng(i).integers(0, 40, (1, 6))} for i in range(4)]
        compare_small_models(self, self.model, feeds, form, flags=[], options={})

    def test_qdq(self):
        self.check(QuantFormat.QDQ)

    def test_qoperator(self):
        self.check(QuantFormat.QOperator)


node = onnx.helper.make_node
VALUES = np.random.default_rng(0)


def random_values(*shape, scale=1.0):
    return (VALUES.standard_normal(shape) * scale).astype(np.float32)


def conv(data, result, weight="w16", bias=None):
    return node("Conv", [data, weight, *([bias] if bias else [])], [result], f"conv_{result}", pads=[1] * 4)


CONSTANTS = {
    "w8": random_values(16, 8, 3, 3, scale=0.1), "v8": random_values(16, 8, 3, 3, scale=0.1), "b": random_values(16),
    "w16": random_values(8, 16, 3, 3, scale=0.1), "w4": random_values(8, 4, 3, 3, scale=0.1),
    "wt": random_values(16, 8, 2, 2, scale=0.2), "bt": random_values(8), "norm": np.abs(random_values(16)) + 0.5,
    "shift": random_values(16), "mean": random_values(16), "variance": np.abs(random_values(16)) + 0.5,
    "row": np.abs(random_values(12)) + 0.5, "row_shift": random_values(12), "head": random_values(16, 5),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "half": np.float32(1.5), "zero": np.float32(0), "low": np.float32(-0.5),
    "five": np.array([5]), "some": np.array([1, 2, 4, 7]), "axis": np.array(2), "axes": np.array([2]),
}
FIRST = conv("x", "t", "w8", "b")
RELU = node("Relu", ["s"], ["u"], "r")
LAST = conv("u", "y")
SOFTMAX = node("Softmax", ["p"], ["u"], "softmax", axis=1)
# What onnxruntime's quantizer does operator by operator. x is 1x8x12x12; results of other types are named i.
OPERATORS = {
    "a Relu behind a Relu": [FIRST, node("Relu", ["t"], ["s"], "r0"), node("Relu", ["s"], ["u"], "r1"), LAST],
    "a Relu beside another reader": [FIRST, node("Relu", ["t"], ["u"], "r"), LAST, node("Tanh", ["t"], ["z"], "tanh")],
    "a Relu that gives an output": [FIRST, node("Relu", ["t"], ["z"], "r"), conv("t", "y")],
    "a Relu behind a Transpose": [FIRST, node("Transpose", ["t"], ["s"], "turn", perm=[0, 1, 3, 2]), RELU, LAST],
    "a Relu behind a MaxPool": [FIRST, node("MaxPool", ["t"], ["s"], "pool", kernel_shape=[2, 2]), RELU, LAST],
    "a Relu that makes an output": [FIRST, node("Relu", ["t"], ["z"], "r")],
    "a Clip that makes an output": [FIRST, node("Clip", ["t", "zero", "half"], ["z"], "r")],
    "a sum whose Relu makes an output": [FIRST, conv("x", "s", "v8"), node("Add", ["t", "s"], ["u"], "sum"),
                                         node("Relu", ["u"], ["z"], "r")],
    "a MaxPool whose Relu makes an output": [FIRST, node("MaxPool", ["t"], ["s"], "pool", kernel_shape=[2, 2]),
                                             node("Relu", ["s"], ["z"], "r")],
    "a Transpose whose Relu makes an output": [FIRST, node("Transpose", ["t"], ["s"], "turn", perm=[0, 2, 3, 1]),
                                               node("Relu", ["s"], ["z"], "r")],
    "a BatchNormalization whose Relu makes an output": [
        FIRST, node("MaxPool", ["t"], ["s"], "pool", kernel_shape=[2, 2]),
        node("BatchNormalization", ["s", "norm", "shift", "mean", "variance"], ["u"], "norm"), node("Relu", ["u"], ["z"], "r")],
    "a Softmax of a sum": [FIRST, conv("x", "s", "v8"), node("Add", ["t", "s"], ["p"], "sum"), SOFTMAX, LAST],
    "a Softmax of what a Where picks": [FIRST, conv("x", "s", "v8"), node("Greater", ["t", "zero"], ["c"], "more"),
                                        node("Where", ["c", "t", "s"], ["p"], "where"), SOFTMAX, LAST],
    "a Softmax of what a Where keeps": [FIRST, node("Greater", ["t", "zero"], ["c"], "more"),
                                        node("Where", ["c", "t", "low"], ["p"], "where"), SOFTMAX, LAST],
    "a pool of floats": [FIRST, node("Sin", ["t"], ["s"], "sine"), node("GlobalAveragePool", ["s"], ["p"], "pool"),
                         node("Flatten", ["p"], ["u"], "flat"), node("Gemm", ["u", "head"], ["y"], "head")],
    "a Gather behind a layer": [FIRST, node("Gather", ["t", "some"], ["s"], "some", axis=1), conv("s", "y", "w4")],
    "a Split of the input": [node("Split", ["x"], ["a", "c"], "split", axis=1), conv("a", "y", "w4"), conv("c", "z", "w4")],
    "a Split of floats": [node("Tanh", ["x"], ["t"], "tanh"), node("Split", ["t"], ["a", "c"], "split", axis=1),
                          conv("a", "y", "w4"), conv("c", "z", "w4")],
    "an Identity that gives an output": [FIRST, node("Relu", ["t"], ["u"], "r"), LAST, node("Identity", ["u"], ["z"], "same")],
    "a Pad with zeros": [FIRST, node("Pad", ["t", "pads"], ["u"], "pad"), LAST, node("Tanh", ["u"], ["z"], "tanh")],
    "a Pad with a value": [FIRST, node("Pad", ["t", "pads", "half"], ["u"], "pad"), LAST],
    "a Pad with the value zero": [FIRST, node("Pad", ["t", "pads", "zero"], ["s"], "pad"),
                                  node("MaxPool", ["s"], ["u"], "pool", kernel_shape=[2, 2]), LAST],
    "a Pad of floats": [node("Tanh", ["x"], ["t"], "tanh"), node("Pad", ["t", "pads"], ["s"], "pad", mode="edge"),
                        conv("s", "y", "w8")],
    "ConvTranspose": [FIRST, node("ConvTranspose", ["t", "wt", "bt"], ["s"], "up", strides=[2, 2]), RELU, conv("u", "y", "w8")],
    "InstanceNormalization": [FIRST, node("InstanceNormalization", ["t", "norm", "shift"], ["s"], "norm"), RELU, LAST],
    "LayerNormalization": [FIRST, node("LayerNormalization", ["t", "row", "row_shift"], ["u"], "norm"), LAST],
    "BatchNormalization": [FIRST, node("Relu", ["t"], ["s"], "r"),
                           node("BatchNormalization", ["s", "norm", "shift", "mean", "variance"], ["u"], "norm"), LAST],
    "Where": [FIRST, conv("x", "s", "v8", "b"), node("Greater", ["t", "half"], ["c"], "more"),
              node("Where", ["c", "t", "s"], ["u"], "where"), LAST],
    "a Where of floats": [FIRST, node("Greater", ["t", "half"], ["c"], "more"),
                          node("Where", ["c", "t", "half"], ["u"], "where"), LAST],
    "ArgMax": [FIRST, node("ArgMax", ["t"], ["i"], "best", axis=1), conv("t", "y")],
    "TopK": [FIRST, node("TopK", ["t", "five"], ["u", "i"], "most", axis=3), LAST],
    "CumSum": [FIRST, node("CumSum", ["t", "axis"], ["u"], "sum"), LAST],
    "a bias of two layers": [FIRST, conv("x", "s", "v8", "b"), node("Add", ["t", "s"], ["u"], "sum"), LAST],
    "nodes that say the same": [FIRST, node("Transpose", ["t"], ["u"], "turn", perm=[0, 1, 3, 2]),
                                node("Transpose", ["t"], ["v"], "again", perm=[0, 1, 3, 2]), LAST, conv("v", "z")],
    "readers in float": [node("Tanh", ["x"], ["t"], "tanh"), conv("t", "y", "w8"), node("Sin", ["t"], ["z"], "sine"),
                         node("Shape", ["t"], ["i"], "shape")],
}


class Operators(unittest.TestCase):
    def check(self, name, form, flags=(), options={}, **peer):
        nodes = OPERATORS[name]
        read = {i for n in nodes for i in n.input}
        made = [o for n in nodes for o in n.output if o in ("y", "z", "i")]

        def write(path):
            h = onnx.helper
            kind = lambda o: onnx.TensorProto.INT64 if o == "i" else onnx.TensorProto.FLOAT
            graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8, 12, 12])],
                                 [h.make_tensor_value_info(o, kind(o), None) for o in made],
                                 [numpy_helper.from_array(v, n) for n, v in CONSTANTS.items() if n in read])
            onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)

        feeds = [{"x": np.random.default_rng(i).normal(size=(1, 8, 12, 12)).astype(np.float32)} for i in range(4)]
        compare_small_models(self, write, feeds, form, list(flags), options, prepare=True, **peer)

    def test_qdq(self):
        for name in OPERATORS:
            with self.subTest(name):
                self.check(name, QuantFormat.QDQ)

    def test_symmetric(self):
        for name in OPERATORS:
            with self.subTest(name):
                self.check(name, QuantFormat.QDQ, ["--symmetric"], {"ActivationSymmetric": True})

    def test_unsigned_weights(self):
        for name in ("InstanceNormalization", "LayerNormalization", "BatchNormalization", "ConvTranspose", "a pool of floats"):
            with self.subTest(name):
                self.check(name, QuantFormat.QDQ, ["--weight-type", "u8"], weight_type=QuantType.QUInt8)

    def test_qoperator(self):
        for name in ("a Split of the input", "a Split of floats", "an Identity that gives an output", "ConvTranspose",
                     "BatchNormalization", "readers in float", "a Relu that makes an output", "a Softmax of a sum",
                     "a pool of floats", "a Gather behind a layer"):
            with self.subTest(name):
                self.check(name, QuantFormat.QOperator)


if __name__ == "__main__":
    unittest.main()
