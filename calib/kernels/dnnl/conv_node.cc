#include "calib/kernels/dnnl/conv_node.h"

#include <algorithm>

namespace onnxtool {

std::optional<ConvolutionProblem> convolution_of(const WindowAttributes& attributes, int64_t groups,
                                                 std::span<const int64_t> x,
                                                 std::span<const int64_t> w) {
  if (w.size() < 3 || w.size() > 5 || x.size() != w.size() || groups < 1) return std::nullopt;
  if (w[0] < 1 || w[1] < 1 || w[0] % groups != 0 || x[1] != w[1] * groups) return std::nullopt;
  const auto windows = resolve_windows(attributes, x.subspan(2), w.subspan(2));
  if (!windows) return std::nullopt;
  ConvolutionProblem p{.images = x[0],
                       .in_channels = x[1],
                       .out_channels = w[0],
                       .groups = groups,
                       .in = windows->in,
                       .out = windows->out,
                       .kernel = windows->kernel,
                       .strides = windows->strides,
                       .dilations = windows->dilations,
                       .pads_begin = windows->pads_begin,
                       .pads_end = windows->pads_end,
                       .types = {}};
  // oneDNN's inner loops run along the last axis. Images of one column, which are the same in
  // memory as images of one row, are sequences that somebody gave a second axis.
  if (p.in.size() == 2 && p.in[1] == 1 && p.in[0] > 1 && p.out[1] == 1 && p.kernel[1] == 1) {
    for (auto* v : {&p.in, &p.out, &p.kernel, &p.strides, &p.dilations, &p.pads_begin, &p.pads_end})
      std::swap((*v)[0], (*v)[1]);
    p.turned = true;
  }
  return p;
}

bool has_nothing_to_multiply(const NodeView& node, int weights) {
  const auto x = node.input_dims(0), w = node.input_dims(weights);
  return std::ranges::count(w, 0) > 0 || (!x.empty() && std::ranges::count(x.subspan(1), 0) > 0);
}

std::vector<int64_t> expected_dims(const NodeView& node, const WindowAttributes& attributes,
                                   int64_t groups, std::span<const int64_t> w) {
  const int64_t extent = w.size() == 3 ? 512 : w.size() == 4 ? 28 : 16;
  const std::span<const int64_t> known = node.input_dims(0);
  std::vector<int64_t> x{1, w.size() > 1 ? w[1] * groups : 0};
  for (size_t i = 2; i < w.size(); ++i) {
    const int64_t dilation = attributes.dilations.size() == w.size() - 2
                                 ? std::min<int64_t>(attributes.dilations[i - 2], 4096)
                                 : 1;
    x.push_back(extent + (std::min<int64_t>(w[i], 4096) - 1) * dilation);
  }
  if (known.size() == x.size())
    for (size_t i = 0; i < x.size(); ++i)
      if (known[i] > 0) x[i] = known[i];
  return x;
}

std::vector<int64_t> plan_key(std::span<const int64_t> x, std::span<const int64_t> w) {
  std::vector<int64_t> key(x.begin(), x.end());
  key.insert(key.end(), w.begin(), w.end());
  return key;
}

}  // namespace onnxtool
