// Resize and Pad on the way back: some axes became all, and what could not be said any other way
// has no equal.

#include <algorithm>
#include <optional>

#include "libopt/convert/lowering.h"

namespace onnxtool::convert {
namespace {

// Axes as an ascending list of all; nothing where they are fewer, or not known.
std::optional<std::vector<int64_t>> from_front(std::vector<int64_t> axes, const Value& x) {
  if (!x.type().shape) return std::nullopt;
  const int64_t rank = *x.type().rank();
  for (int64_t& a : axes) {
    if (a < 0) a += rank;
    if (a < 0 || a >= rank) return std::nullopt;
  }
  return axes;
}

std::string mode_of(const Node& node) { return node.attr<std::string>("mode", "nearest"); }

std::string coordinates_of(const Node& node) {
  return node.attr<std::string>("coordinate_transformation_mode", "half_pixel");
}

}  // namespace

std::string lower_pad_mode(const Node& node, Rewriter&) {
  return node.attr<std::string>("mode", "constant") == "wrap" ? "it wraps around" : "";
}

std::string lower_pad_axes(const Node& node, Rewriter& rewriter) {
  if (!node.has_input(3)) return {};
  const Tensor *axes = node.input(3).constant(), *pads = node.input(1).constant();
  if (!axes || !pads) return "its pads or their axes are computed";
  const auto at = from_front(axes->to_ints(), node.input(0));
  const std::vector<int64_t> some = pads->to_ints();
  if (!at || some.size() != 2 * at->size()) return "its axes count in an unknown rank";
  const auto rank = static_cast<size_t>(*node.input(0).type().rank());
  std::vector<int64_t> all(2 * rank, 0);
  for (size_t i = 0; i < at->size(); ++i) {
    all[static_cast<size_t>((*at)[i])] = some[i];
    all[rank + static_cast<size_t>((*at)[i])] = some[at->size() + i];
  }
  rewriter.set_input(node, 1, &add_ints(node, rewriter, all, "pads"));
  rewriter.resize_inputs(node, node.has_input(2) ? 3 : 2);
  return {};
}

std::string lower_resize_symmetric(const Node& node, Rewriter&) {
  return coordinates_of(node) == "half_pixel_symmetric" ? "its coordinates are half_pixel_symmetric"
                                                        : "";
}

std::string lower_resize_axes(const Node& node, Rewriter& rewriter) {
  const Attribute* attribute = node.attribute("axes");
  if (!attribute) return {};
  if (coordinates_of(node) == "tf_crop_and_resize") return "it crops along some of its axes";
  const auto at = from_front(node.attr("axes", std::vector<int64_t>()), node.input(0));
  const int index = node.has_input(2) ? 2 : 3;
  const Tensor* some = node.has_input(index) ? node.input(index).constant() : nullptr;
  if (!at || !some || some->count() != static_cast<int64_t>(at->size()))
    return "what it resizes some of its axes by is computed";
  const auto& shape = *node.input(0).type().shape;
  if (index == 2) {
    std::vector<float> all(shape.size(), 1);
    const std::vector<double> scales = some->to_doubles();
    for (size_t i = 0; i < at->size(); ++i)
      all[static_cast<size_t>((*at)[i])] = static_cast<float>(scales[i]);
    rewriter.set_input(node, 2,
                       &rewriter.add_constant(Tensor::vector(all), hint_for(node, "scales")));
  } else {
    std::vector<int64_t> all;
    const std::vector<int64_t> sizes = some->to_ints();
    for (const Dim& d : shape) all.push_back(d.value.value_or(-1));
    for (size_t i = 0; i < at->size(); ++i) all[static_cast<size_t>((*at)[i])] = sizes[i];
    if (std::ranges::count(all, -1)) return "the extents of the axes that it leaves are not known";
    rewriter.set_input(node, 3, &add_ints(node, rewriter, all, "sizes"));
  }
  rewriter.remove_attribute(node, "axes");
  return {};
}

// What is absent had to be empty.
std::string lower_resize_inputs(const Node& node, Rewriter& rewriter) {
  for (const int i : {1, 2})
    if (!node.has_input(i))
      rewriter.set_input(node, i,
                         &rewriter.add_constant(Tensor::vector(std::vector<float>()),
                                                hint_for(node, i == 1 ? "roi" : "scales")));
  return {};
}

// Version 10 says neither how coordinates map nor which pixel is the nearest. What onnxruntime
// computes for it is x / scale, and the pixel before where an axis grows.
std::string lower_resize_coordinates(const Node& node, Rewriter& rewriter) {
  const Tensor* scales = node.has_input(2) ? node.input(2).constant() : nullptr;
  if (node.has_input(3) || !scales || scales->count() == 0)
    return "it is given sizes, or scales that are computed";
  if (coordinates_of(node) != "asymmetric") return "its coordinates are not asymmetric";
  if (mode_of(node) == "nearest") {
    const bool floors = node.attr<std::string>("nearest_mode", "round_prefer_floor") == "floor";
    const std::vector<double> s = scales->to_doubles();
    if (!floors || std::ranges::any_of(s, [](double v) { return v < 1; }))
      return "the nearest pixel is not the one before";
  } else if (mode_of(node) != "linear") {
    return "its mode is neither nearest nor linear";
  }
  for (const char* name : {"coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a",
                           "exclude_outside", "extrapolation_value"})
    rewriter.remove_attribute(node, name);
  rewriter.set_input(node, 1, &node.input(2));
  rewriter.resize_inputs(node, 2);
  return {};
}

std::string lower_resize_to_upsample(const Node& node, Rewriter& rewriter) {
  const Tensor* scales = node.has_input(1) ? node.input(1).constant() : nullptr;
  if (!scales) return "its scales are computed";
  const std::vector<double> s = scales->to_doubles();
  if (std::ranges::any_of(s, [](double v) { return v < 1; })) return "it makes an axis smaller";
  rewriter.set_op(node, "Upsample");
  return {};
}

}  // namespace onnxtool::convert
