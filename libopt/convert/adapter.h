// What one operator's change between two versions of ai.onnx asks of a node.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/rewrite/rewriter.h"

namespace onnxtool::convert {

/// One line of the table in adapters.cc.
struct Adapter {
  int version;              // the first one with the new form
  std::string_view op;      // empty: every operator
  std::string_view change;  // for the report
  /// Turns a node that is valid in the version before into one that is valid in `version`, of equal
  /// meaning. The node keeps its outputs; what it reads may be new nodes before it. `target` is
  /// where the conversion will end.
  void (*apply)(const Node& node, Rewriter& rewriter, int target);
  /// Attributes that apply or blocker looks at: in a function's body they must not stand for one of
  /// the function's.
  std::array<std::string_view, 4> reads = {};
  /// Why there is no equal node; nullptr: there is. Asked of the node as the file has it, whatever
  /// earlier adapters will do.
  const char* (*blocker)(const Node& node) = nullptr;
};

/// Ordered by version, so that a node goes through its changes one after the other.
std::span<const Adapter> adapters();

// --- shared by adapters ---

/// `y_axes` where y is the node's first output: what a value added for the node is called.
std::string hint_for(const Node& node, std::string_view role);
Value& add_ints(const Node& node, Rewriter& rewriter, const std::vector<int64_t>& values,
                std::string_view role);
/// A node before `node`, its output typed.
Value& add_typed(const Node& node, Rewriter& rewriter, std::string_view op_type,
                 const std::vector<Value*>& inputs, std::vector<Attribute> attributes,
                 std::string_view role);
/// Moves an attribute of integers to input `index` as a 1-D tensor. Where the input is optional, an
/// empty list leaves it absent: that means the same.
void ints_to_input(const Node& node, Rewriter& rewriter, std::string_view attribute, int index,
                   bool optional);
/// A scalar of a floating-point type.
Tensor float_scalar(DataType dtype, double value);
/// Element type of input 0, or of output 0, where both have the same. kUndefined where unknown.
DataType element_type(const Node& node);
/// Number of elements; -1 where unknown.
int64_t known_count(const Value& value);

// broadcast.cc: before version 7, operands were aligned by attributes
void align_operands(const Node& node, Rewriter& rewriter, int target);
const char* cannot_align_operands(const Node& node);
void align_slope(const Node& node, Rewriter& rewriter, int target);
const char* cannot_align_slope(const Node& node);

// attributes.cc: attributes that went, became inputs, or got another default
void drop_consumed_inputs(const Node& node, Rewriter& rewriter, int target);
void drop_broadcast(const Node& node, Rewriter& rewriter, int target);
void drop_is_test(const Node& node, Rewriter& rewriter, int target);
void drop_output_sequence(const Node& node, Rewriter& rewriter, int target);
void drop_spatial(const Node& node, Rewriter& rewriter, int target);
void concat_axis(const Node& node, Rewriter& rewriter, int target);
void selu_defaults(const Node& node, Rewriter& rewriter, int target);
void pool_norm(const Node& node, Rewriter& rewriter, int target);
void cast_target(const Node& node, Rewriter& rewriter, int target);
void reshape_shape(const Node& node, Rewriter& rewriter, int target);
void slice_bounds(const Node& node, Rewriter& rewriter, int target);
void top_k(const Node& node, Rewriter& rewriter, int target);
void pad_amounts(const Node& node, Rewriter& rewriter, int target);
void clip_bounds(const Node& node, Rewriter& rewriter, int target);
void dropout_mask(const Node& node, Rewriter& rewriter, int target);
void dropout_ratio(const Node& node, Rewriter& rewriter, int target);
void scatter_elements(const Node& node, Rewriter& rewriter, int target);
void axes_to_input(const Node& node, Rewriter& rewriter, int target);
void split_sizes(const Node& node, Rewriter& rewriter, int target);
void split_count(const Node& node, Rewriter& rewriter, int target);
void roi_align_coordinates(const Node& node, Rewriter& rewriter, int target);
void grid_sample_mode(const Node& node, Rewriter& rewriter, int target);
void dft_axis(const Node& node, Rewriter& rewriter, int target);
const char* is_training(const Node& node);
const char* has_training_outputs(const Node& node);
const char* is_per_element(const Node& node);
const char* reads_mask(const Node& node);
const char* lacks_integral_p(const Node& node);
const char* lacks_known_type(const Node& node);
const char* lacks_shape(const Node& node);
const char* lacks_pads_type(const Node& node);
const char* lacks_clip_type(const Node& node);
const char* splits_by_input(const Node& node);

// resize.cc
void upsample_scales(const Node& node, Rewriter& rewriter, int target);
void upsample_scales_to_input(const Node& node, Rewriter& rewriter, int target);
void upsample_to_resize(const Node& node, Rewriter& rewriter, int target);
void resize_coordinates(const Node& node, Rewriter& rewriter, int target);
void resize_pixel_centres(const Node& node, Rewriter& rewriter, int target);
const char* lacks_resize_mode(const Node& node);
const char* lacks_pixel_centres(const Node& node);

// softmax.cc
void softmax_axis(const Node& node, Rewriter& rewriter, int target);

// group_normalization.cc
void group_parameters(const Node& node, Rewriter& rewriter, int target);
const char* lacks_groups(const Node& node);

}  // namespace onnxtool::convert
