// What one operator's change between two versions of ai.onnx asks of a node that goes back.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "libopt/convert/adapter.h"

namespace onnxtool::convert {

/// One line of the table in lowerings.cc.
struct Lowering {
  int version;  // the first one with the new form, which the node has
  std::string_view op;
  std::string_view change;  // for the report
  /// Turns a node that is valid in `version` into one of equal meaning in the version before, but
  /// for attributes that only say their default. Empty, or why there is none; the node is then left
  /// as it was or half changed.
  std::string (*apply)(const Node& node, Rewriter& rewriter);
};

std::span<const Lowering> lowerings();

// lower_inputs.cc: inputs that were attributes
std::string lower_axes(const Node& node, Rewriter& rewriter);
std::string lower_split_sizes(const Node& node, Rewriter& rewriter);
std::string lower_slice(const Node& node, Rewriter& rewriter);
std::string lower_top_k(const Node& node, Rewriter& rewriter);
std::string lower_clip(const Node& node, Rewriter& rewriter);
std::string lower_pad_amounts(const Node& node, Rewriter& rewriter);
std::string lower_dropout_ratio(const Node& node, Rewriter& rewriter);
std::string lower_dft_axis(const Node& node, Rewriter& rewriter);

// lower_attributes.cc: attributes that did not exist, or meant something else
std::string lower_softmax_axis(const Node& node, Rewriter& rewriter);
std::string lower_quantization_axis(const Node& node, Rewriter& rewriter);
std::string lower_quantized_type(const Node& node, Rewriter& rewriter);
std::string lower_saturate(const Node& node, Rewriter& rewriter);
std::string lower_dilations(const Node& node, Rewriter& rewriter);
std::string lower_negative_axis(const Node& node, Rewriter& rewriter);
std::string lower_sorted(const Node& node, Rewriter& rewriter);
std::string lower_reshape_zero(const Node& node, Rewriter& rewriter);
std::string lower_shape_range(const Node& node, Rewriter& rewriter);
std::string lower_roi_align(const Node& node, Rewriter& rewriter);
std::string lower_grid_sample(const Node& node, Rewriter& rewriter);
std::string lower_scatter(const Node& node, Rewriter& rewriter);
std::string lower_dropout_mask(const Node& node, Rewriter& rewriter);
std::string lower_gemm(const Node& node, Rewriter& rewriter);
std::string lower_broadcast(const Node& node, Rewriter& rewriter);
std::string lower_split_count(const Node& node, Rewriter& rewriter);

// lower_resize.cc: Resize and Pad
std::string lower_pad_mode(const Node& node, Rewriter& rewriter);
std::string lower_pad_axes(const Node& node, Rewriter& rewriter);
std::string lower_resize_symmetric(const Node& node, Rewriter& rewriter);
std::string lower_resize_axes(const Node& node, Rewriter& rewriter);
std::string lower_resize_inputs(const Node& node, Rewriter& rewriter);
std::string lower_resize_coordinates(const Node& node, Rewriter& rewriter);
std::string lower_resize_to_upsample(const Node& node, Rewriter& rewriter);

}  // namespace onnxtool::convert
