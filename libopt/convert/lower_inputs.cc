// Inputs that were attributes in older versions: only constants can go back.

#include <cmath>
#include <optional>

#include "libopt/convert/lowering.h"

namespace onnxtool::convert {
namespace {

std::string computed(std::string_view what) {
  return "its " + std::string(what) + " are computed, and were an attribute";
}

// The integers of an input; nothing where that is absent.
struct Ints {
  bool absent = false, known = false;
  std::vector<int64_t> values;
};
Ints ints(const Node& node, int index) {
  if (!node.has_input(index)) return {true, true, {}};
  const Tensor* t = node.input(index).constant();
  if (!t) return {};
  return {false, true, t->to_ints()};
}

void to_attribute(const Node& node, Rewriter& rewriter, std::string_view name,
                  std::vector<int64_t> values) {
  rewriter.set_attribute(node, Attribute::of(std::string(name), std::move(values)));
}

// A scalar that a float holds as it is.
std::optional<float> exact_float(const Tensor& t) {
  if (t.count() != 1 || t.dtype() == DataType::kString) return std::nullopt;
  const double value = t.to_doubles()[0];
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value && !std::isnan(value)) return std::nullopt;
  return narrow;
}

}  // namespace

std::string lower_axes(const Node& node, Rewriter& rewriter) {
  const Ints axes = ints(node, 1);
  if (!axes.known) return computed("axes");
  if (axes.values.empty() && node.attr<int64_t>("noop_with_empty_axes", 0)) {
    for (const std::string_view same :
         {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"})
      if (node.op_type() == same) {
        rewriter.resize_inputs(node, 1);
        for (const char* name : {"noop_with_empty_axes", "keepdims"})
          rewriter.remove_attribute(node, name);
        rewriter.set_op(node, "Identity");
        return {};
      }
    return "it reduces no axis, which it could not say";
  }
  if (!axes.values.empty()) to_attribute(node, rewriter, "axes", axes.values);
  rewriter.remove_attribute(node, "noop_with_empty_axes");
  rewriter.resize_inputs(node, 1);
  return {};
}

std::string lower_split_sizes(const Node& node, Rewriter& rewriter) {
  const Ints sizes = ints(node, 1);
  if (!sizes.known) return computed("sizes");
  if (!sizes.absent) to_attribute(node, rewriter, "split", sizes.values);
  rewriter.resize_inputs(node, 1);
  return {};
}

std::string lower_slice(const Node& node, Rewriter& rewriter) {
  const Ints starts = ints(node, 1), ends = ints(node, 2), axes = ints(node, 3),
             steps = ints(node, 4);
  if (!starts.known || !ends.known || !axes.known) return computed("bounds");
  if (!steps.known) return computed("steps");
  for (const int64_t s : steps.values)
    if (s != 1) return "it goes in steps other than 1";
  to_attribute(node, rewriter, "starts", starts.values);
  to_attribute(node, rewriter, "ends", ends.values);
  if (!axes.absent) {
    std::vector<int64_t> front = axes.values;
    for (int64_t& axis : front)
      if (axis < 0) {
        if (!node.input(0).type().shape) return "its axes count from the back of an unknown rank";
        axis += *node.input(0).type().rank();
      }
    to_attribute(node, rewriter, "axes", std::move(front));
  }
  rewriter.resize_inputs(node, 1);
  return {};
}

std::string lower_top_k(const Node& node, Rewriter& rewriter) {
  const Ints k = ints(node, 1);
  if (!k.known || k.values.size() != 1) return "its k is computed, and was an attribute";
  rewriter.set_attribute(node, Attribute::of("k", k.values[0]));
  rewriter.resize_inputs(node, 1);
  return {};
}

std::string lower_clip(const Node& node, Rewriter& rewriter) {
  constexpr std::string_view kNames[] = {"min", "max"};
  for (const int i : {1, 2}) {
    if (!node.has_input(i)) continue;
    const Tensor* t = node.input(i).constant();
    if (!t) return computed("bounds");
    const auto bound = exact_float(*t);
    if (!bound) return "a bound of it is no float";
    rewriter.set_attribute(node, Attribute::of(std::string(kNames[i - 1]), *bound));
  }
  // Without a bound the attribute's default holds, which is float's largest number.
  if (element_type(node) == DataType::kDouble && !(node.has_input(1) && node.has_input(2)))
    return "the default of its bounds is that of float";
  rewriter.resize_inputs(node, 1);
  return {};
}

std::string lower_pad_amounts(const Node& node, Rewriter& rewriter) {
  const Ints pads = ints(node, 1);
  if (!pads.known || pads.absent) return computed("pads");
  if (node.has_input(2)) {
    const Tensor* t = node.input(2).constant();
    const auto fill = t ? exact_float(*t) : std::nullopt;
    if (!fill) return "its fill value is computed or no float, and was an attribute";
    if (*fill != 0) rewriter.set_attribute(node, Attribute::of("value", *fill));
  }
  to_attribute(node, rewriter, "pads", pads.values);
  rewriter.resize_inputs(node, 1);
  return {};
}

std::string lower_dropout_ratio(const Node& node, Rewriter& rewriter) {
  if (node.has_input(2)) {
    const Tensor* training = node.input(2).constant();
    if (!training || training->count() != 1 || training->to_ints()[0] != 0)
      return "it may train, which was not said in the node";
  }
  if (node.has_input(1)) {
    const Tensor* ratio = node.input(1).constant();
    // When it infers, the ratio does nothing.
    if (const auto r = ratio ? exact_float(*ratio) : std::nullopt; r && *r >= 0 && *r < 1)
      rewriter.set_attribute(node, Attribute::of("ratio", *r));
  }
  rewriter.remove_attribute(node, "seed");
  rewriter.resize_inputs(node, 1);
  return {};
}

std::string lower_dft_axis(const Node& node, Rewriter& rewriter) {
  constexpr int64_t kDefault = -2;
  const Ints axis = ints(node, 2);
  if (!axis.known || axis.values.size() > 1) return "its axis is computed, and was an attribute";
  int64_t at = axis.values.empty() ? kDefault : axis.values[0];
  if (at < 0) {
    if (!node.input(0).type().shape) return "its axis counts from the back of an unknown rank";
    at += *node.input(0).type().rank();
  }
  rewriter.set_attribute(node, Attribute::of("axis", at));
  rewriter.resize_inputs(node, node.has_input(1) ? 2 : 1);
  return {};
}

}  // namespace onnxtool::convert
