// Every operator of ai.onnx whose nodes must change on the way back from a version, from 26 to 7,
// or that means something else there although its form is the same. Where a version only took more
// types, inputs or attributes, the schemas tell whether a node needs them (older_form.h), and there
// is no line here. Operators that the standard defines by others are written out. Indices below 0
// are let through: runtimes take them in versions whose text does not, too. Source: the operators'
// schemas and texts in onnx 1.23.2.

#include "libopt/convert/lowering.h"

namespace onnxtool::convert {
namespace {

constexpr std::string_view kAxes = "axes became an attribute";
constexpr std::string_view kPositive = "the axis is counted from the front";
constexpr std::string_view kUnit = "dilations of 1 are gone";

std::string batched_scan(const Node&, Rewriter&) { return "version 8 iterates over a batch axis"; }

constexpr Lowering kLowerings[] = {
    {21, "QuantizeLinear", "the type follows from the zero point", lower_quantized_type},

    {20, "DFT", "axis became an attribute", lower_dft_axis},
    {20, "GridSample", "modes got their dimension", lower_grid_sample},

    {19, "AveragePool", kUnit, lower_dilations},
    {19, "Cast", "saturate is gone", lower_saturate},
    {19, "CastLike", "saturate is gone", lower_saturate},
    {19, "QuantizeLinear", "saturate is gone", lower_saturate},
    {19, "Pad", "", lower_pad_mode},
    {19, "Resize", "", lower_resize_symmetric},

    {18, "LpPool", kUnit, lower_dilations},
    {18, "Pad", "all axes are padded", lower_pad_axes},
    {18, "ReduceL1", kAxes, lower_axes},
    {18, "ReduceL2", kAxes, lower_axes},
    {18, "ReduceLogSum", kAxes, lower_axes},
    {18, "ReduceLogSumExp", kAxes, lower_axes},
    {18, "ReduceMax", kAxes, lower_axes},
    {18, "ReduceMean", kAxes, lower_axes},
    {18, "ReduceMin", kAxes, lower_axes},
    {18, "ReduceProd", kAxes, lower_axes},
    {18, "ReduceSumSquare", kAxes, lower_axes},
    {18, "Resize", "all axes are resized", lower_resize_axes},
    {18, "Split", "the number of parts follows from the outputs", lower_split_count},

    {16, "RoiAlign", "the old coordinates are the only ones", lower_roi_align},

    {15, "Shape", "a part of the shape is cut out", lower_shape_range},

    {14, "Reshape", "allowzero is gone", lower_reshape_zero},

    {13, "DequantizeLinear", "axis is gone", lower_quantization_axis},
    {13, "QuantizeLinear", "axis is gone", lower_quantization_axis},
    {13, "ReduceSum", kAxes, lower_axes},
    {13, "Squeeze", kAxes, lower_axes},
    {13, "Unsqueeze", kAxes, lower_axes},
    {13, "Split", "split became an attribute", lower_split_sizes},
    {13, "Softmax", "axis means all axes from it on", lower_softmax_axis},
    {13, "LogSoftmax", "axis means all axes from it on", lower_softmax_axis},
    {13, "Hardmax", "axis means all axes from it on", lower_softmax_axis},
    {13, "Resize", "absent inputs became empty ones", lower_resize_inputs},

    {12, "Dropout", "ratio became an attribute", lower_dropout_ratio},

    {11, "ArgMax", kPositive, lower_negative_axis},
    {11, "ArgMin", kPositive, lower_negative_axis},
    {11, "Concat", kPositive, lower_negative_axis},
    {11, "Flatten", kPositive, lower_negative_axis},
    {11, "Hardmax", kPositive, lower_negative_axis},
    {11, "LogSoftmax", kPositive, lower_negative_axis},
    {11, "ReduceL1", kPositive, lower_negative_axis},
    {11, "ReduceL2", kPositive, lower_negative_axis},
    {11, "ReduceLogSum", kPositive, lower_negative_axis},
    {11, "ReduceLogSumExp", kPositive, lower_negative_axis},
    {11, "ReduceMax", kPositive, lower_negative_axis},
    {11, "ReduceMean", kPositive, lower_negative_axis},
    {11, "ReduceMin", kPositive, lower_negative_axis},
    {11, "ReduceProd", kPositive, lower_negative_axis},
    {11, "ReduceSum", kPositive, lower_negative_axis},
    {11, "ReduceSumSquare", kPositive, lower_negative_axis},
    {11, "Softmax", kPositive, lower_negative_axis},
    {11, "Split", kPositive, lower_negative_axis},
    {11, "Squeeze", kPositive, lower_negative_axis},
    {11, "Unsqueeze", kPositive, lower_negative_axis},
    {11, "Clip", "min and max became attributes", lower_clip},
    {11, "Gemm", "an absent C became zero", lower_gemm},
    {11, "Pad", "pads and value became attributes", lower_pad_amounts},
    {11, "Resize", "the way coordinates are chosen is the only one", lower_resize_coordinates},
    {11, "ScatterElements", "became Scatter", lower_scatter},
    {11, "TopK", "results are sorted in any case", lower_sorted},

    {10, "Dropout", "the unread mask is gone", lower_dropout_mask},
    {10, "MaxPool", kUnit, lower_dilations},
    {10, "Resize", "became Upsample", lower_resize_to_upsample},
    {10, "Slice", "starts, ends and axes became attributes", lower_slice},
    {10, "TopK", "k became an attribute", lower_top_k},

    {9, "Scan", "", batched_scan},

    {8, "Max", "", lower_broadcast},
    {8, "Mean", "", lower_broadcast},
    {8, "Min", "", lower_broadcast},
    {8, "Sum", "", lower_broadcast},
};

}  // namespace

std::span<const Lowering> lowerings() { return kLowerings; }

}  // namespace onnxtool::convert
