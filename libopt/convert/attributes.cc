// Attributes that went, became inputs, or got another default.

#include <limits>

#include "libopt/convert/adapter.h"

namespace onnxtool::convert {
namespace {

bool has_real_elements(const Node& node) { return is_float(element_type(node)); }

// Cast wrote its target as the enumerator's name.
constexpr std::pair<std::string_view, DataType> kTypeNames[] = {
    {"FLOAT", DataType::kFloat},   {"UINT8", DataType::kUint8},   {"INT8", DataType::kInt8},
    {"UINT16", DataType::kUint16}, {"INT16", DataType::kInt16},   {"INT32", DataType::kInt32},
    {"INT64", DataType::kInt64},   {"BOOL", DataType::kBool},     {"FLOAT16", DataType::kFloat16},
    {"DOUBLE", DataType::kDouble}, {"UINT32", DataType::kUint32}, {"UINT64", DataType::kUint64},
};

DataType named_type(const Node& node) {
  const std::string to = node.attr<std::string>("to", {});
  for (const auto& [name, type] : kTypeNames)
    if (name == to) return type;
  return DataType::kUndefined;
}

// Pad-2's fill; 0 where the mode does not look at it.
float fill_value(const Node& node) {
  return node.attr<std::string>("mode", "constant") == "constant" ? node.attr<float>("value", 0)
                                                                  : 0;
}

void value_to_input(const Node& node, Rewriter& rewriter, std::string_view attribute, int index,
                    Tensor value) {
  rewriter.set_input(node, index,
                     &rewriter.add_constant(std::move(value), hint_for(node, attribute)));
  rewriter.remove_attribute(node, attribute);
}

}  // namespace

// --- gone
// -----------------------------------------------------------------------------------------

void drop_consumed_inputs(const Node& node, Rewriter& rewriter, int) {
  rewriter.remove_attribute(node, "consumed_inputs");
}

// Gemm's C was aligned at the last axes already.
void drop_broadcast(const Node& node, Rewriter& rewriter, int) {
  rewriter.remove_attribute(node, "broadcast");
}

void drop_is_test(const Node& node, Rewriter& rewriter, int) {
  rewriter.remove_attribute(node, "is_test");
}
const char* is_training(const Node& node) {
  return node.attr<int64_t>("is_test", 0)
             ? nullptr
             : "it trains (is_test is 0), and later versions infer unless told otherwise";
}

// It only said that Y may be absent, as every optional output now may.
void drop_output_sequence(const Node& node, Rewriter& rewriter, int) {
  rewriter.remove_attribute(node, "output_sequence");
}

void drop_spatial(const Node& node, Rewriter& rewriter, int) {
  rewriter.remove_attribute(node, "spatial");
}
const char* is_per_element(const Node& node) {
  if (node.attr<int64_t>("spatial", 1) || node.input(0).type().rank() == 2) return nullptr;
  return "spatial is 0: it normalizes every element by its own statistics";
}

const char* has_training_outputs(const Node& node) {
  for (int i = 1; i < node.num_outputs(); ++i)
    if (node.has_output(i)) return "it has the outputs of training";
  return nullptr;
}

void dropout_mask(const Node& node, Rewriter& rewriter, int) {
  if (node.has_output(1)) rewriter.drop_output(node, 1);
}
const char* reads_mask(const Node& node) {
  if (!node.has_output(1) || node.output(1).unused()) return nullptr;
  return "its mask is read, which became all true in version 12 and was not defined before";
}

// --- spelled out
// ----------------------------------------------------------------------------------

void concat_axis(const Node& node, Rewriter& rewriter, int) {
  if (!node.attribute("axis")) rewriter.set_attribute(node, Attribute::of("axis", int64_t{1}));
}

void selu_defaults(const Node& node, Rewriter& rewriter, int) {
  if (!node.attribute("alpha")) rewriter.set_attribute(node, Attribute::of("alpha", 1.6732f));
  if (!node.attribute("gamma")) rewriter.set_attribute(node, Attribute::of("gamma", 1.0507f));
}

void split_count(const Node& node, Rewriter& rewriter, int) {
  if (!node.has_input(1))
    rewriter.set_attribute(node,
                           Attribute::of("num_outputs", static_cast<int64_t>(node.num_outputs())));
}

void roi_align_coordinates(const Node& node, Rewriter& rewriter, int) {
  rewriter.set_attribute(
      node, Attribute::of("coordinate_transformation_mode", std::string("output_half_pixel")));
}

// --- of another type or name
// ----------------------------------------------------------------------

void pool_norm(const Node& node, Rewriter& rewriter, int) {
  if (node.attribute("p"))
    rewriter.set_attribute(node,
                           Attribute::of("p", static_cast<int64_t>(node.attr<float>("p", 2))));
}
const char* lacks_integral_p(const Node& node) {
  const float p = node.attr<float>("p", 2);
  return p >= 1 && p < 1e6f && p == static_cast<float>(static_cast<int64_t>(p))
             ? nullptr
             : "p is no positive integer";
}

void cast_target(const Node& node, Rewriter& rewriter, int) {
  rewriter.set_attribute(node, Attribute::of("to", static_cast<int64_t>(named_type(node))));
}
const char* lacks_known_type(const Node& node) {
  return named_type(node) == DataType::kUndefined ? "its target type is not one that can be cast to"
                                                  : nullptr;
}

void grid_sample_mode(const Node& node, Rewriter& rewriter, int) {
  const std::string mode = node.attr<std::string>("mode", {});
  if (mode == "bilinear")
    rewriter.set_attribute(node, Attribute::of("mode", std::string("linear")));
  if (mode == "bicubic") rewriter.set_attribute(node, Attribute::of("mode", std::string("cubic")));
}

void scatter_elements(const Node& node, Rewriter& rewriter, int) {
  rewriter.set_op(node, "ScatterElements");
}

// --- inputs now
// -----------------------------------------------------------------------------------

void reshape_shape(const Node& node, Rewriter& rewriter, int) {
  ints_to_input(node, rewriter, "shape", 1, false);
}
const char* lacks_shape(const Node& node) {
  return node.attribute("shape") ? nullptr : "it has no shape";
}

void slice_bounds(const Node& node, Rewriter& rewriter, int) {
  ints_to_input(node, rewriter, "starts", 1, false);
  ints_to_input(node, rewriter, "ends", 2, false);
  ints_to_input(node, rewriter, "axes", 3, true);
}

void top_k(const Node& node, Rewriter& rewriter, int) {
  value_to_input(node, rewriter, "k", 1, Tensor::vector<int64_t>({node.attr<int64_t>("k", 0)}));
}

void clip_bounds(const Node& node, Rewriter& rewriter, int) {
  const DataType type = element_type(node);
  const auto move = [&](std::string_view name, int index, float fallback) {
    // The defaults were float's bounds, which later versions take from the element type: they only
    // bound doubles.
    if (node.attribute(name) || type == DataType::kDouble)
      rewriter.set_input(
          node, index,
          &rewriter.add_constant(float_scalar(type, node.attr<float>(name, fallback)),
                                 hint_for(node, name)));
    rewriter.remove_attribute(node, name);
  };
  move("min", 1, std::numeric_limits<float>::lowest());
  move("max", 2, std::numeric_limits<float>::max());
}
const char* lacks_clip_type(const Node& node) {
  return has_real_elements(node) ? nullptr
                                 : "its element type is not known to be a floating-point one";
}

void pad_amounts(const Node& node, Rewriter& rewriter, int) {
  ints_to_input(node, rewriter, "pads", 1, false);
  if (const float fill = fill_value(node); fill != 0)
    rewriter.set_input(
        node, 2,
        &rewriter.add_constant(float_scalar(element_type(node), fill), hint_for(node, "fill")));
  rewriter.remove_attribute(node, "value");
}
const char* lacks_pads_type(const Node& node) {
  return fill_value(node) == 0 || has_real_elements(node)
             ? nullptr
             : "its element type is not known to be a floating-point one";
}

void dropout_ratio(const Node& node, Rewriter& rewriter, int) {
  if (!node.attribute("ratio")) return;
  value_to_input(node, rewriter, "ratio", 1, Tensor::scalar(node.attr<float>("ratio", 0.5f)));
}

void axes_to_input(const Node& node, Rewriter& rewriter, int) {
  ints_to_input(node, rewriter, "axes", 1, !node.is("Unsqueeze"));
}

void split_sizes(const Node& node, Rewriter& rewriter, int) {
  ints_to_input(node, rewriter, "split", 1, true);
}
const char* splits_by_input(const Node& node) {
  return node.has_input(1) ? "its sizes come as an input of the data's type" : nullptr;
}

// DFT's axis: 1 unless given, and -2 in later versions.
void dft_axis(const Node& node, Rewriter& rewriter, int) {
  value_to_input(node, rewriter, "axis", 2, Tensor::scalar(node.attr<int64_t>("axis", 1)));
}

}  // namespace onnxtool::convert
