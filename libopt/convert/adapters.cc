// Every operator of ai.onnx whose nodes must change between two versions, from 1 to 26. A version
// that only took more types or shapes, or that gained an attribute whose default is the old
// meaning, has no line here. Source: the operators' schemas and texts in onnx 1.23.2;
// onnxruntime 1.31 where these are silent.

#include "libopt/convert/adapter.h"

namespace onnxtool::convert {
namespace {

constexpr std::string_view kBroadcast =
    "operands aligned by attributes became numpy's broadcasting";
constexpr std::string_view kAxes = "axes became an input";

const char* never(const Node&) {
  return "the order of its attribute paddings is ambiguous in the standard";
}
const char* tile_by_axis(const Node&) {
  return "the form that repeats along one axis is not converted";
}
const char* batched_scan(const Node&) {
  return "version 8 iterates over a batch axis, which version 9 does not have";
}
void unchanged(const Node&, Rewriter&, int) {}

constexpr Adapter kAdapters[] = {
    {2, "Pad", "", unchanged, {}, never},
    {2, "Split", "", unchanged, {}, splits_by_input},
    {2, "LpPool", "p became an integer", pool_norm, {"p"}, lacks_integral_p},
    {2, "GlobalLpPool", "p became an integer", pool_norm, {"p"}, lacks_integral_p},

    {4, "Concat", "the default axis is spelled out", concat_axis, {"axis"}},

    {5, "Reshape", "shape became an input", reshape_shape, {"shape"}, lacks_shape},

    {6, "", "consumed_inputs is gone", drop_consumed_inputs},
    {6, "Cast", "to became a number", cast_target, {"to"}, lacks_known_type},
    {6, "Selu", "the default coefficients are spelled out", selu_defaults, {"alpha", "gamma"}},
    {6, "Tile", "", unchanged, {}, tile_by_axis},

    {7, "Add", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "Sub", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "Mul", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "Div", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "Pow", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "And", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "Or", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "Xor", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "Equal", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "Greater", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "Less", kBroadcast, align_operands, {"axis", "broadcast"}, cannot_align_operands},
    {7, "PRelu", "the slope was aligned with the channels", align_slope, {}, cannot_align_slope},
    {7, "Gemm", "broadcast is gone", drop_broadcast},
    {7, "BatchNormalization", "is_test is gone", drop_is_test, {"is_test"}, is_training},
    {7, "Dropout", "is_test is gone", drop_is_test, {"is_test"}, is_training},
    {7, "RNN", "output_sequence is gone", drop_output_sequence},
    {7, "GRU", "output_sequence is gone", drop_output_sequence},
    {7, "LSTM", "output_sequence is gone", drop_output_sequence},
    {7,
     "Upsample",
     "height_scale and width_scale became scales",
     upsample_scales,
     {"height_scale", "width_scale", "mode"}},

    {9, "BatchNormalization", "spatial is gone", drop_spatial, {"spatial"}, is_per_element},
    {9, "Scan", "", unchanged, {}, batched_scan},
    {9, "Upsample", "scales became an input", upsample_scales_to_input, {"scales"}},

    {10, "Slice", "starts, ends and axes became inputs", slice_bounds, {"starts", "ends", "axes"}},
    {10, "TopK", "k became an input", top_k, {"k"}},
    {10, "Dropout", "the unread mask is gone", dropout_mask, {}, reads_mask},
    {10, "Upsample", "became Resize", upsample_to_resize, {"mode"}, lacks_resize_mode},

    {11, "Clip", "min and max became inputs", clip_bounds, {"min", "max"}, lacks_clip_type},
    {11,
     "Pad",
     "pads and value became inputs",
     pad_amounts,
     {"pads", "value", "mode"},
     lacks_pads_type},
    {11,
     "Resize",
     "the way coordinates and pixels are chosen is spelled out",
     resize_coordinates,
     {"mode"},
     lacks_resize_mode},
    {11, "Scatter", "became ScatterElements", scatter_elements},

    {12, "Dropout", "ratio became an input", dropout_ratio, {"ratio"}, reads_mask},

    {13, "ReduceSum", kAxes, axes_to_input, {"axes"}},
    {13, "Squeeze", kAxes, axes_to_input, {"axes"}},
    {13, "Unsqueeze", kAxes, axes_to_input, {"axes"}},
    {13, "Split", "split became an input", split_sizes, {"split"}},
    {13, "Softmax", "axis means one axis, no longer all from it on", softmax_axis, {"axis"}},
    {13, "LogSoftmax", "axis means one axis, no longer all from it on", softmax_axis, {"axis"}},
    {13, "Hardmax", "axis means one axis, no longer all from it on", softmax_axis, {"axis"}},
    {13,
     "Resize",
     "tf_half_pixel_for_nn became half_pixel with another rounding",
     resize_pixel_centres,
     {"coordinate_transformation_mode", "nearest_mode", "mode"},
     lacks_pixel_centres},

    {14, "BatchNormalization", "", unchanged, {}, has_training_outputs},

    {16, "RoiAlign", "the old coordinates are spelled out", roi_align_coordinates},

    {18, "ReduceL1", kAxes, axes_to_input, {"axes"}},
    {18, "ReduceL2", kAxes, axes_to_input, {"axes"}},
    {18, "ReduceLogSum", kAxes, axes_to_input, {"axes"}},
    {18, "ReduceLogSumExp", kAxes, axes_to_input, {"axes"}},
    {18, "ReduceMax", kAxes, axes_to_input, {"axes"}},
    {18, "ReduceMean", kAxes, axes_to_input, {"axes"}},
    {18, "ReduceMin", kAxes, axes_to_input, {"axes"}},
    {18, "ReduceProd", kAxes, axes_to_input, {"axes"}},
    {18, "ReduceSumSquare", kAxes, axes_to_input, {"axes"}},
    {18, "Split", "the number of equal parts is spelled out", split_count},

    {20, "DFT", "axis became an input", dft_axis, {"axis"}},
    {20, "GridSample", "modes lost their dimension", grid_sample_mode, {"mode"}},

    {21,
     "GroupNormalization",
     "scale and bias got an element per channel",
     group_parameters,
     {"num_groups"},
     lacks_groups},
};

}  // namespace

std::span<const Adapter> adapters() { return kAdapters; }

}  // namespace onnxtool::convert
