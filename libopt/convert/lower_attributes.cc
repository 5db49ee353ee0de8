// Attributes that older versions did not have, or to which they gave another meaning.

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "libopt/convert/lowering.h"

namespace onnxtool::convert {
namespace {

std::optional<int64_t> rank_of(const Value& v) { return v.type().rank(); }

constexpr const char* kUnknownRank = "its axis counts from the back of an unknown rank";

// [0, ..., rank - 1] with two axes exchanged.
std::vector<Attribute> exchange(int64_t rank, int64_t a, int64_t b) {
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[static_cast<size_t>(a)], perm[static_cast<size_t>(b)]);
  std::vector<Attribute> out;
  out.push_back(Attribute::of("perm", std::move(perm)));
  return out;
}

// Whether all axes behind are known to have one element.
bool ends_at(const ValueType& type, int64_t axis) {
  for (size_t i = static_cast<size_t>(axis) + 1; i < type.shape->size(); ++i)
    if ((*type.shape)[i].value != 1) return false;
  return true;
}

}  // namespace

// Softmax, LogSoftmax, Hardmax: all axes from `axis` on were one.
std::string lower_softmax_axis(const Node& node, Rewriter& rewriter) {
  Value& x = node.input(0);
  int64_t axis = node.attr<int64_t>("axis", -1);
  const auto rank = rank_of(x);
  if (!rank && axis != -1) return "the rank of its input is not known";
  if (rank && axis < 0) axis += *rank;
  if (!rank || ends_at(x.type(), axis)) {
    rewriter.set_attribute(node, Attribute::of("axis", axis));
    return {};
  }
  // y = Transpose(Softmax(Transpose(x))), with the axis at the end.
  Value& last =
      add_typed(node, rewriter, "Transpose", {&x}, exchange(*rank, axis, *rank - 1), "last");
  std::vector<Attribute> at_end;
  at_end.push_back(Attribute::of("axis", *rank - 1));
  Value& done = add_typed(node, rewriter, node.op_type(), {&last}, std::move(at_end), "done");
  rewriter.set_op(node, "Transpose");
  rewriter.remove_attribute(node, "axis");
  for (Attribute& a : exchange(*rank, axis, *rank - 1)) rewriter.set_attribute(node, std::move(a));
  rewriter.set_input(node, 0, &done);
  return {};
}

// One scale for all of the tensor, which had to be a scalar.
std::string lower_quantization_axis(const Node& node, Rewriter& rewriter) {
  for (const int i : {1, 2}) {
    if (!node.has_input(i)) continue;
    const auto rank = rank_of(node.input(i));
    if (rank == 0) continue;
    const Tensor* t = node.input(i).constant();
    if (!t || t->count() != 1) return "it quantizes by channels";
    rewriter.set_input(node, i, &rewriter.add_constant(t->reshaped({}), node.input(i).name()));
  }
  rewriter.remove_attribute(node, "axis");
  return {};
}

std::string lower_quantized_type(const Node& node, Rewriter& rewriter) {
  // Version 19 takes it from the zero point, and without one it is uint8.
  const auto type = static_cast<DataType>(node.attr<int64_t>("output_dtype", 0));
  if (node.has_input(2) || type == DataType::kUint8)
    rewriter.remove_attribute(node, "output_dtype");
  return {};
}

// Matters for 8-bit floats only, which no older version has.
std::string lower_saturate(const Node& node, Rewriter& rewriter) {
  rewriter.remove_attribute(node, "saturate");
  return {};
}

std::string lower_dilations(const Node& node, Rewriter& rewriter) {
  for (const int64_t d : node.attr("dilations", std::vector<int64_t>()))
    if (d != 1) return "its window has dilations";
  rewriter.remove_attribute(node, "dilations");
  return {};
}

// `axis`, or `axes`; Unsqueeze counts in its result.
std::string lower_negative_axis(const Node& node, Rewriter& rewriter) {
  const auto rank = rank_of(node.is("Unsqueeze") ? node.output(0) : node.input(0));
  const int64_t axis = node.attr<int64_t>("axis", 0);
  std::vector<int64_t> axes = node.attr("axes", std::vector<int64_t>());
  const bool negative =
      axis < 0 || std::ranges::any_of(axes, [](const int64_t a) { return a < 0; });
  if (!negative) return {};
  if (!rank) return kUnknownRank;
  if (axis < 0) rewriter.set_attribute(node, Attribute::of("axis", axis + *rank));
  for (int64_t& a : axes)
    if (a < 0) a += *rank;
  std::ranges::sort(axes);  // onnx's own inference of Squeeze takes no others below opset 11
  if (!axes.empty()) rewriter.set_attribute(node, Attribute::of("axes", std::move(axes)));
  return {};
}

std::string lower_sorted(const Node& node, Rewriter& rewriter) {
  rewriter.remove_attribute(node, "sorted");
  return {};
}

std::string lower_reshape_zero(const Node& node, Rewriter& rewriter) {
  if (!node.attr<int64_t>("allowzero", 0)) return {};
  const Tensor* shape = node.input(1).constant();
  if (!shape) return "its shape is computed, and 0 in it means an extent of 0";
  if (std::ranges::count(shape->to_ints(), 0)) return "0 in its shape means an extent of 0";
  rewriter.remove_attribute(node, "allowzero");
  return {};
}

// Shape of all axes, and a Slice of that: both clamp their bounds alike.
std::string lower_shape_range(const Node& node, Rewriter& rewriter) {
  const int64_t start = node.attr<int64_t>("start", 0);
  const bool to_end = !node.attribute("end");
  const int64_t end = node.attr("end", std::numeric_limits<int64_t>::max());
  rewriter.remove_attribute(node, "start");
  rewriter.remove_attribute(node, "end");
  if (start == 0 && to_end) return {};
  Value& all = add_typed(node, rewriter, "Shape", {&node.input(0)}, {}, "shape");
  Value& from = add_ints(node, rewriter, {start}, "start");
  Value& to = add_ints(node, rewriter, {end}, "end");
  rewriter.set_op(node, "Slice");
  rewriter.set_input(node, 0, &all);
  rewriter.set_input(node, 1, &from);
  rewriter.set_input(node, 2, &to);
  return {};
}

std::string lower_roi_align(const Node& node, Rewriter& rewriter) {
  if (node.attr<std::string>("coordinate_transformation_mode", "half_pixel") != "output_half_pixel")
    return "its regions are shifted by half a pixel";
  rewriter.remove_attribute(node, "coordinate_transformation_mode");
  return {};
}

std::string lower_grid_sample(const Node& node, Rewriter& rewriter) {
  if (rank_of(node.input(0)) != 4) return "its input is not known to have two axes of space";
  const std::string mode = node.attr<std::string>("mode", "linear");
  rewriter.set_attribute(node, Attribute::of("mode", mode == "linear"  ? std::string("bilinear")
                                                     : mode == "cubic" ? std::string("bicubic")
                                                                       : mode));
  return {};
}

std::string lower_scatter(const Node& node, Rewriter& rewriter) {
  rewriter.set_op(node, "Scatter");
  return {};
}

std::string lower_dropout_mask(const Node& node, Rewriter& rewriter) {
  if (!node.has_output(1)) return {};
  if (!node.output(1).unused()) return "its mask is read, which was none of booleans";
  rewriter.drop_output(node, 1);
  return {};
}

std::string lower_gemm(const Node& node, Rewriter& rewriter) {
  if (node.has_input(2)) return {};
  const DataType type = element_type(node);
  if (!is_float(type)) return "it has no C, and its type is not known to be a floating-point one";
  rewriter.set_input(node, 2,
                     &rewriter.add_constant(float_scalar(type, 0), hint_for(node, "zero")));
  return {};
}

// Max, Min, Mean, Sum: all of one shape.
std::string lower_broadcast(const Node& node, Rewriter&) {
  const auto& first = node.input(0).type().shape;
  for (const Value* v : node.inputs()) {
    const auto& shape = v ? v->type().shape : std::nullopt;
    bool same = first && shape && first->size() == shape->size();
    for (size_t i = 0; same && i < shape->size(); ++i) {
      const Dim &a = (*first)[i], &b = (*shape)[i];
      same = a.value ? a.value == b.value : !a.symbol.empty() && a.symbol == b.symbol && !b.value;
    }
    if (!same && node.num_inputs() > 1) return "its inputs are not known to be of one shape";
  }
  return {};
}

// Parts were equal without sizes; since version 18 the last one may be smaller.
std::string lower_split_count(const Node& node, Rewriter& rewriter) {
  if (node.has_input(1)) return {};
  const int64_t parts = node.attr<int64_t>("num_outputs", node.num_outputs());
  const auto rank = rank_of(node.input(0));
  int64_t axis = node.attr<int64_t>("axis", 0);
  if (axis < 0 && rank) axis += *rank;
  std::optional<int64_t> extent;
  if (rank && axis >= 0 && axis < *rank)
    extent = (*node.input(0).type().shape)[static_cast<size_t>(axis)].value;
  if (!extent || parts < 1) return "whether its parts are equal is not known";
  if (parts != node.num_outputs()) return "it has more parts than outputs";
  rewriter.remove_attribute(node, "num_outputs");
  if (*extent % parts == 0) return {};
  const int64_t each = (*extent + parts - 1) / parts;
  std::vector<int64_t> sizes(static_cast<size_t>(parts), each);
  sizes.back() = *extent - each * (parts - 1);
  if (sizes.back() < 0) return "its last parts are empty";
  rewriter.set_input(node, 1, &add_ints(node, rewriter, sizes, "sizes"));
  return {};
}

}  // namespace onnxtool::convert
