// Upsample became Resize, and Resize learned to say how an output's coordinate maps to the input
// and which pixel is the nearest. Version 10 says neither. What onnxruntime computes for it, and is
// kept: coordinates are asymmetric (x / scale); nearest takes the pixel before where the axis grows
// and the pixel behind where it shrinks. Checked against onnxruntime 1.31, bit by bit.

#include <algorithm>
#include <optional>

#include "libopt/convert/adapter.h"

namespace onnxtool::convert {
namespace {

enum class Direction { kGrows, kShrinks, kMixed, kUnknown };

Direction direction_of(bool grows, bool shrinks) {
  return grows && shrinks ? Direction::kMixed : shrinks ? Direction::kShrinks : Direction::kGrows;
}

Direction direction(const Node& node) {
  bool grows = false, shrinks = false;
  if (const Tensor* scales = node.input(1).constant()) {
    for (const double s : scales->to_doubles()) (s < 1 ? shrinks : grows) |= s != 1;
    return direction_of(grows, shrinks);
  }
  const auto from = node.input(0).type().static_dims(), to = node.output(0).type().static_dims();
  if (!from || !to || from->size() != to->size()) return Direction::kUnknown;
  // An extent is floor(extent * scale): it does not drop unless the scale is below 1.
  for (size_t i = 0; i < from->size(); ++i) ((*to)[i] < (*from)[i] ? shrinks : grows) = true;
  return direction_of(grows, shrinks);
}

std::vector<Attribute> nearest(const char* nearest_mode) {
  std::vector<Attribute> out;
  out.push_back(Attribute::of("mode", std::string("nearest")));
  out.push_back(Attribute::of("coordinate_transformation_mode", std::string("asymmetric")));
  out.push_back(Attribute::of("nearest_mode", std::string(nearest_mode)));
  return out;
}

// Scales bounded by 1 from one side, so that one Resize grows and another one shrinks.
Value& bounded(const Node& node, Rewriter& rewriter, bool grow) {
  Value& scales = node.input(1);
  const std::string_view role = grow ? "growing" : "shrinking";
  if (const Tensor* t = scales.constant()) {
    std::vector<float> values;
    for (const double s : t->to_doubles())
      values.push_back(static_cast<float>(grow ? std::max(s, 1.0) : std::min(s, 1.0)));
    return rewriter.add_constant(Tensor::vector(values), hint_for(node, role));
  }
  Value& one = rewriter.add_constant(Tensor::scalar(1.0f), hint_for(node, "one"));
  return add_typed(node, rewriter, grow ? "Max" : "Min", {&scales, &one}, {}, role);
}

}  // namespace

void upsample_scales(const Node& node, Rewriter& rewriter, int) {
  const float height = node.attr<float>("height_scale", 1),
              width = node.attr<float>("width_scale", 1);
  rewriter.set_attribute(node, Attribute::of("scales", std::vector<float>{1, 1, height, width}));
  rewriter.remove_attribute(node, "height_scale");
  rewriter.remove_attribute(node, "width_scale");
  if (node.attr<std::string>("mode", {}) == "bilinear")
    rewriter.set_attribute(node, Attribute::of("mode", std::string("linear")));
}

void upsample_scales_to_input(const Node& node, Rewriter& rewriter, int) {
  const Tensor scales = Tensor::vector(node.attr("scales", std::vector<float>()));
  rewriter.set_input(node, 1, &rewriter.add_constant(scales, hint_for(node, "scales")));
  rewriter.remove_attribute(node, "scales");
}

void upsample_to_resize(const Node& node, Rewriter& rewriter, int) {
  rewriter.set_op(node, "Resize");
}

const char* lacks_resize_mode(const Node& node) {
  const std::string mode = node.attr<std::string>("mode", "nearest");
  const bool first_version = node.attribute("height_scale") != nullptr;
  if (mode == "nearest" || mode == "linear" || (first_version && mode == "bilinear"))
    return nullptr;
  return "its mode is neither nearest nor linear";
}

void resize_coordinates(const Node& node, Rewriter& rewriter, int target) {
  // Input 1 may be absent since version 13; before, an empty tensor says that there is no region.
  Value* roi = target >= 13 ? nullptr
                            : &rewriter.add_constant(Tensor::vector(std::vector<float>()),
                                                     hint_for(node, "roi"));
  Value* scales = &node.input(1);
  if (node.attr<std::string>("mode", "nearest") == "linear") {
    rewriter.set_attribute(
        node, Attribute::of("coordinate_transformation_mode", std::string("asymmetric")));
  } else {
    const Direction d = direction(node);
    const bool both = d == Direction::kMixed || d == Direction::kUnknown;
    if (both) {
      Value& growing = bounded(node, rewriter, true);
      Value& grown = add_typed(node, rewriter, "Resize", {&node.input(0), roi, &growing},
                               nearest("floor"), "grown");
      scales = &bounded(node, rewriter, false);
      rewriter.set_input(node, 0, &grown);
    }
    for (Attribute& a : nearest(d == Direction::kGrows ? "floor" : "ceil"))
      rewriter.set_attribute(node, std::move(a));
  }
  rewriter.set_input(node, 2, scales);
  rewriter.set_input(node, 1, roi);
}

// tf_half_pixel_for_nn reads x = (i + 0.5) / scale, half_pixel x - 0.5: the pixel is the same one
// under another rounding. floor(x) rounds x - 0.5 with halves up; x rounded with halves down is
// ceil(x - 0.5).
void resize_pixel_centres(const Node& node, Rewriter& rewriter, int) {
  if (node.attr<std::string>("coordinate_transformation_mode", {}) != "tf_half_pixel_for_nn")
    return;
  const bool floors = node.attr<std::string>("nearest_mode", {}) == "floor";
  rewriter.set_attribute(
      node, Attribute::of("coordinate_transformation_mode", std::string("half_pixel")));
  rewriter.set_attribute(
      node, Attribute::of("nearest_mode", std::string(floors ? "round_prefer_ceil" : "ceil")));
}

const char* lacks_pixel_centres(const Node& node) {
  if (node.attr<std::string>("coordinate_transformation_mode", {}) != "tf_half_pixel_for_nn")
    return nullptr;
  const std::string rounding = node.attr<std::string>("nearest_mode", "round_prefer_floor");
  const bool has_equal = rounding == "floor" || rounding == "round_prefer_floor";
  if (has_equal && node.attr<std::string>("mode", "nearest") == "nearest") return nullptr;
  return "tf_half_pixel_for_nn is gone, and with its mode and rounding nothing equals it";
}

}  // namespace onnxtool::convert
