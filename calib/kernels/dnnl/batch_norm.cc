// BatchNormalization-7, 9, 14, 15 for inference in float32, in the layout that x has:
//   y = (x - mean[c]) * k[c] + b[c]    k = scale / sqrt(var + epsilon), in double, rounded once

#include <cmath>

#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/normalize.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

struct BatchNormState final : KernelState {
  std::vector<float> mean, k, b;
  bool relu = false;
};

// The four parameters, all constant and of one length; empty if not.
std::vector<std::span<const float>> parameters(const NodeView& node) {
  std::vector<std::span<const float>> out;
  for (int i = 1; i <= 4; ++i) {
    const ConstView* c = node.has_input(i) ? node.constant(i) : nullptr;
    if (!c || c->dtype != DataType::kFloat || c->rank() != 1 || c->count != node.constant(1)->count)
      return {};
    out.push_back(c->as<float>());
  }
  return out;
}

bool accepts(const NodeView& node) {
  if (node.attr_int("training_mode", 0) != 0 ||
      (node.opset() < 9 && node.attr_int("spatial", 1) == 0))
    return false;
  for (int i = 1; i < node.num_outputs(); ++i)
    if (node.wants_output(i)) return false;
  return !parameters(node).empty();
}

bool fuses(const NodeView& node, const PostOp& op) {
  return op.kind == PostOp::Kind::kRelu && node.post_ops().empty();
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<BatchNormState>();
  const auto p = parameters(node);
  const double epsilon = static_cast<double>(node.attr_float("epsilon", 1e-5f));
  for (size_t c = 0; c < p[0].size(); ++c) {
    state->k.push_back(static_cast<float>(static_cast<double>(p[0][c]) /
                                          std::sqrt(static_cast<double>(p[3][c]) + epsilon)));
    state->b.push_back(p[1][c]);
    state->mean.push_back(p[2][c]);
  }
  state->relu = !node.post_ops().empty();
  for (int i = 1; i <= 4; ++i) node.drop_constant(i);
  return {std::move(state)};
}

Status run(KernelContext& ctx) {
  const auto& s = static_cast<const BatchNormState&>(*ctx.state());
  const ConstView x = ctx.input(0);
  const int64_t channels = x.rank() == 1 ? 1 : x.rank() > 1 ? x.dims[1] : -1;
  if (channels != static_cast<int64_t>(s.k.size()))
    return kernel_error(ErrorCode::kMismatch, "input has dims " + dims_text(x.dims) +
                                                  ", parameters have " +
                                                  std::to_string(s.k.size()) + " channels");
  const std::vector<int64_t> dims(x.dims.begin(), x.dims.end());
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output_in_place(0, 0, DataType::kFloat, dims));
  if (x.count == 0) return {};
  const auto* from = static_cast<const float*>(x.data);
  auto* y = static_cast<float*>(out.data);
  if (x.layout == Layout::kChannelsLast) {
    ctx.parallel(x.count / channels, std::max<int64_t>(16384 / channels, 1),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin * channels; i < end * channels; i += channels)
                     normalize_line(from + i, s.mean.data(), s.k.data(), s.b.data(), s.relu,
                                    channels, y + i);
                 });
  } else {
    const int64_t pixels = x.count / (x.rank() == 1 ? 1 : x.dims[0] * channels);
    ctx.parallel(x.count / pixels, std::max<int64_t>(16384 / pixels, 1),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const auto c = static_cast<size_t>(i % channels);
                     normalize_plane(from + i * pixels, s.mean[c], s.k[c], s.b[c], s.relu, pixels,
                                     y + i * pixels);
                   }
                 });
  }
  return {};
}

}  // namespace

constinit const KernelInfo kBatchNormalization{.op = "BatchNormalization",
                                               .since = 7,
                                               .types = {DataType::kFloat},
                                               .prepare = prepare,
                                               .run = run,
                                               .accepts = accepts,
                                               .fuses = fuses,
                                               .takes_layout = [](int input, Layout layout) {
                                                 return input == 0 &&
                                                        layout == Layout::kChannelsLast;
                                               }};

}  // namespace onnxtool
