// Source: ONNX Conv-11, ConvTranspose-11, MaxPool-12, AveragePool-11.
//
//   floor((n + pads - dilation (kernel - 1) - 1) / stride) + 1     Conv and pools
//   stride (n - 1) + output_padding + dilation (kernel - 1) + 1 - pads     ConvTranspose
//
// with the ones on the other side of the division, so that as little as possible is negative.
#include "libopt/analysis/window_extents.h"

#include <algorithm>

#include "libopt/analysis/assumptions.h"
#include "libopt/analysis/extent.h"

namespace onnxtool {
namespace {

constexpr int64_t kLargest = int64_t{1} << 20;  // so that no product overflows

// Along one axis.
struct Window {
  int64_t kernel, stride, dilation, pads, output_padding;
};

using Ints = std::vector<int64_t>;

// As many as there are axes, or none, which means `fallback` for each; nullopt: neither.
std::optional<Ints> per_axis(const Node& n, const char* name, size_t count, int64_t fallback) {
  Ints values = n.attr(name, Ints());
  if (values.empty()) values.assign(count, fallback);
  const bool fit = values.size() == count && std::ranges::all_of(values, [&](int64_t v) {
                     return v >= std::min<int64_t>(fallback, 1) && v <= kLargest;
                   });
  return fit ? std::optional(std::move(values)) : std::nullopt;
}

std::optional<Ints> kernel_of(const Node& n, size_t count) {
  if (n.attribute("kernel_shape")) return per_axis(n, "kernel_shape", count, 1);
  if (!n.has_input(1) || !n.input(1).type().shape) return std::nullopt;
  const auto& weights = *n.input(1).type().shape;
  if (weights.size() != count + 2) return std::nullopt;
  Ints kernel;
  for (size_t i = 2; i < weights.size(); ++i) kernel.push_back(weights[i].value.value_or(0));
  const bool known = std::ranges::all_of(kernel, [](int64_t k) { return k > 0 && k <= kLargest; });
  return known ? std::optional(std::move(kernel)) : std::nullopt;
}

std::optional<std::vector<Window>> windows_of(const Node& n, size_t count) {
  const auto kernel = kernel_of(n, count), strides = per_axis(n, "strides", count, 1),
             dilations = per_axis(n, "dilations", count, 1),
             pads = per_axis(n, "pads", 2 * count, 0),
             more = per_axis(n, "output_padding", count, 0);
  if (!kernel || !strides || !dilations || !pads || !more) return std::nullopt;
  std::vector<Window> out;
  for (size_t i = 0; i < count; ++i)
    out.push_back({(*kernel)[i], (*strides)[i], (*dilations)[i], (*pads)[i] + (*pads)[count + i],
                   (*more)[i]});
  return out;
}

Dim slid(const Extent& n, const Window& w, bool transposed, const ExtentRanges& ranges) {
  const int64_t reach = w.dilation * (w.kernel - 1) + 1;
  const int64_t shift =
      transposed ? w.output_padding + reach - w.pads - w.stride : w.pads - reach + w.stride;
  const auto whole =
      transposed ? Extent::product(n, Extent::number(w.stride)) : std::optional<Extent>(n);
  if (!whole) return {};
  const auto moved = shift >= 0 ? Extent::sum(*whole, Extent::number(shift))
                                : Extent::difference(*whole, Extent::number(-shift), ranges);
  if (!moved) return {};
  const auto out = transposed ? moved : Extent::quotient(*moved, Extent::number(w.stride), ranges);
  return out ? out->dim().value_or(Dim{}) : Dim{};
}

}  // namespace

std::optional<std::vector<Dim>> window_extents(const Node& n) {
  const bool transposed = n.is("ConvTranspose");
  if (!transposed && !n.is("Conv") && !n.is("FusedConv", "com.microsoft") && !n.is("MaxPool") &&
      !n.is("AveragePool"))
    return std::nullopt;
  const auto& in = n.input(0).type().shape;
  if (!in || in->size() < 3 || n.attribute("output_shape") || n.attr<int64_t>("ceil_mode", 0) ||
      n.attr<std::string>("auto_pad", "NOTSET") != "NOTSET")
    return std::nullopt;
  if (std::ranges::none_of(*in, [](const Dim& d) { return !d.value && !d.symbol.empty(); }))
    return std::nullopt;
  const auto windows = windows_of(n, in->size() - 2);
  if (!windows) return std::nullopt;
  const ExtentRanges ranges = assumptions_of(n.graph().model());
  std::vector<Dim> dims(in->size());
  for (size_t i = 0; i < windows->size(); ++i) {
    const Dim& d = (*in)[i + 2];
    const auto extent = d.value ? std::nullopt : Extent::of(d);
    if (extent) dims[i + 2] = slid(*extent, (*windows)[i], transposed, ranges);
  }
  return dims;
}

}  // namespace onnxtool
