#include "calib/kernels/cpu/resize_node.h"

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

Result<std::vector<float>> float_values(const ConstView& view, std::string_view what) {
  if (!is_float(view.dtype)) return unsupported_type(view.dtype, what);
  std::vector<float> values(static_cast<size_t>(view.count));
  if (view.dtype == DataType::kDouble)
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(static_cast<const double*>(view.data)[i]);
  else
    load_wide<float>(view.dtype, view.data, 0, view.count, values.data());
  return values;
}

struct Parameters {
  std::vector<float> scales, roi;
  Dims sizes;
};
Result<Parameters> read_parameters(KernelContext& ctx) {
  const NodeView& node = ctx.node();
  Parameters p;
  const auto present = [&](int i) { return ctx.has_input(i) && ctx.input(i).count > 0; };
  if (node.op_type() == "Upsample" && node.opset() < 7) {
    p.scales = {1, 1, node.attr_float("height_scale", 0), node.attr_float("width_scale", 0)};
  } else if (node.op_type() == "Upsample" && node.opset() < 9) {
    p.scales.assign(node.attr_floats("scales").begin(), node.attr_floats("scales").end());
  } else if (node.op_type() == "Upsample" || node.opset() < 11) {
    if (!ctx.has_input(1)) return bad_model("scales is absent");
    ONNXTOOL_ASSIGN(p.scales, float_values(ctx.input(1), "scales"));
  } else {
    if (present(1)) {
      ONNXTOOL_ASSIGN(p.roi, float_values(ctx.input(1), "roi"));
    }
    if (present(2)) {
      ONNXTOOL_ASSIGN(p.scales, float_values(ctx.input(2), "scales"));
    }
    if (present(3)) {
      ONNXTOOL_ASSIGN(p.sizes, integer_values(ctx.input(3), "sizes"));
    }
  }
  return p;
}

Error expected_values(std::string_view what, size_t found, size_t expected) {
  return mismatch(std::string(what) + " has " + std::to_string(found) + " values, expected " +
                  std::to_string(expected));
}

Result<std::vector<ResizeExtent>> resolve_extents(const ResizeState& state, const Parameters& p,
                                                  std::span<const int64_t> dims) {
  const auto rank = static_cast<int64_t>(dims.size());
  std::vector<ResizeExtent> extents;
  for (const int64_t d : dims)
    extents.push_back({.in = d, .out = d, .length = static_cast<float>(d)});
  Dims axes;
  for (int64_t i = 0; state.axes.empty() && i < rank; ++i) axes.push_back(i);
  if (!state.axes.empty()) {
    ONNXTOOL_ASSIGN(axes, resolve_axes(state.axes, rank));
  }
  // Some exporters write both and mean the sizes.
  if (!p.sizes.empty()) {
    if (p.sizes.size() != axes.size()) return expected_values("sizes", p.sizes.size(), axes.size());
    float common =
        state.keep_aspect_ratio == "not_smaller" ? 0 : std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < axes.size(); ++i) {
      ResizeExtent& e = extents[static_cast<size_t>(axes[i])];
      if (p.sizes[i] < 0 || (p.sizes[i] > 0 && e.in == 0))
        return mismatch("sizes is " + format_dims(p.sizes) + " for an input of shape " +
                        format_dims(dims));
      e.out = p.sizes[i];
      e.length = static_cast<float>(e.out);
      e.scale = e.in == 0 ? 1 : static_cast<float>(e.out) / static_cast<float>(e.in);
      common = state.keep_aspect_ratio == "not_smaller" ? std::max(common, e.scale)
                                                        : std::min(common, e.scale);
    }
    if (state.keep_aspect_ratio != "stretch")
      for (const int64_t axis : axes) {
        ResizeExtent& e = extents[static_cast<size_t>(axis)];
        e.scale = common;
        e.length = common * static_cast<float>(e.in);
        e.out = to_int64(std::floor(e.length + 0.5f));
        if (e.out < 0) return mismatch("sizes overflow when the aspect ratio is kept");
      }
  } else {
    if (p.scales.size() != axes.size())
      return expected_values("scales", p.scales.size(), axes.size());
    for (size_t i = 0; i < axes.size(); ++i) {
      ResizeExtent& e = extents[static_cast<size_t>(axes[i])];
      e.scale = p.scales[i];
      e.length = e.scale * static_cast<float>(e.in);
      e.out = to_int64(std::floor(e.length));
      if (!(e.scale > 0) || e.out < 0)
        return mismatch("a scale of " + std::to_string(e.scale) + " for an extent of " +
                        std::to_string(e.in) + " is not usable");
    }
  }
  if (state.options.coordinates != ResizeCoordinates::kTfCropAndResize) return extents;
  if (p.roi.size() != 2 * axes.size()) return expected_values("roi", p.roi.size(), 2 * axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    extents[static_cast<size_t>(axes[i])].roi_start = p.roi[i];
    extents[static_cast<size_t>(axes[i])].roi_end = p.roi[axes.size() + i];
  }
  return extents;
}

}  // namespace

Result<std::unique_ptr<KernelState>> prepare_resize(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto state = std::make_unique<ResizeState>();
  ResizeOptions& o = state->options;
  const std::string_view mode = node.attr_string("mode", "nearest");
  if (mode == "nearest")
    o.mode = ResizeMode::kNearest;
  else if (mode == "linear" || mode == "bilinear")
    o.mode = ResizeMode::kLinear;
  else if (mode == "cubic")
    o.mode = ResizeMode::kCubic;
  else
    return bad_model("mode is '" + std::string(mode) + "', expected nearest, linear or cubic");
  if (node.op_type() == "Upsample" || node.opset() < 11) {
    o.coordinates = ResizeCoordinates::kAsymmetric;
    o.rounding = ResizeRounding::kSimple;
    return {std::move(state)};
  }
  constexpr std::pair<std::string_view, ResizeCoordinates> kCoordinates[] = {
      {"half_pixel", ResizeCoordinates::kHalfPixel},
      {"half_pixel_symmetric", ResizeCoordinates::kHalfPixelSymmetric},
      {"pytorch_half_pixel", ResizeCoordinates::kPytorchHalfPixel},
      {"align_corners", ResizeCoordinates::kAlignCorners},
      {"asymmetric", ResizeCoordinates::kAsymmetric},
      {"tf_half_pixel_for_nn", ResizeCoordinates::kTfHalfPixelForNn},
      {"tf_crop_and_resize", ResizeCoordinates::kTfCropAndResize}};
  constexpr std::pair<std::string_view, ResizeRounding> kRoundings[] = {
      {"round_prefer_floor", ResizeRounding::kRoundPreferFloor},
      {"round_prefer_ceil", ResizeRounding::kRoundPreferCeil},
      {"floor", ResizeRounding::kFloor},
      {"ceil", ResizeRounding::kCeil}};
  const std::string_view coordinates =
      node.attr_string("coordinate_transformation_mode", "half_pixel");
  const auto* c =
      std::ranges::find(kCoordinates, coordinates, [](const auto& entry) { return entry.first; });
  if (c == std::end(kCoordinates))
    return bad_model("coordinate_transformation_mode '" + std::string(coordinates) +
                     "' is unknown");
  o.coordinates = c->second;
  const std::string_view rounding = node.attr_string("nearest_mode", "round_prefer_floor");
  const auto* r =
      std::ranges::find(kRoundings, rounding, [](const auto& entry) { return entry.first; });
  if (r == std::end(kRoundings))
    return bad_model("nearest_mode '" + std::string(rounding) + "' is unknown");
  o.rounding = r->second;
  o.antialias = node.attr_int("antialias", 0) != 0;
  o.exclude_outside = node.attr_int("exclude_outside", 0) != 0;
  o.cubic_a = node.attr_float("cubic_coeff_a", -0.75f);
  state->extrapolation = node.attr_float("extrapolation_value", 0);
  state->axes = to_dims(node.attr_ints("axes"));
  state->keep_aspect_ratio = node.attr_string("keep_aspect_ratio_policy", "stretch");
  if (state->keep_aspect_ratio != "stretch" && state->keep_aspect_ratio != "not_larger" &&
      state->keep_aspect_ratio != "not_smaller")
    return bad_model("keep_aspect_ratio_policy '" + state->keep_aspect_ratio + "' is unknown");
  return {std::move(state)};
}

Result<std::vector<ResizeExtent>> resize_extents(KernelContext& ctx, const ResizeState& state) {
  ONNXTOOL_ASSIGN(const Parameters parameters, read_parameters(ctx));
  return resolve_extents(state, parameters, ctx.input(0).dims);
}

}  // namespace onnxtool
