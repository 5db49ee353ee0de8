#include "quant/softmax_scales.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "libopt/ir/code_type.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

// e^5, less some room for how the kernel rounds it.
constexpr float kMostPerEntry = 148;

// The largest scale not above 1 / n of which the kernel makes n.
float reciprocal(float n) {
  const float scale = 1 / n;
  return std::floor(1 / scale) < n ? std::nextafter(scale, 0.0F) : scale;
}

// Of a row that sums up to 1; before opset 13 it has all axes from `axis` on. 1 where it is open.
float entries_of(const Node& softmax) {
  const auto& shape = softmax.input(0).type().shape;
  if (!shape || shape->empty()) return 1;
  const bool flattens = softmax.graph().model().opset("") < 13;
  const auto rank = static_cast<int64_t>(shape->size());
  int64_t axis = softmax.attr<int64_t>("axis", flattens ? 1 : -1);
  if (axis < 0) axis += rank;
  float entries = 1;
  const int64_t end = flattens ? rank : std::min(axis + 1, rank);
  for (int64_t i = std::max<int64_t>(axis, 0); i < end; ++i)
    entries *= static_cast<float>((*shape)[static_cast<size_t>(i)].value.value_or(1));
  return std::max(entries, 1.0F);
}

}  // namespace

void round_softmax_scales(const Placement& placement, std::vector<TensorParams>& params) {
  std::unordered_map<const Value*, float> most;  // of 1 / scale
  for (const IntegerNode& n : placement.nodes)
    if (n.node->is("Softmax") && !n.activation)
      most[&n.node->output(0)] = kMostPerEntry * entries_of(*n.node);
  for (size_t i = 0; i < params.size(); ++i) {
    TensorParams& p = params[i];
    const auto softmax = most.find(placement.tensors[i].range_owner);
    if (softmax == most.end() || !is_8bit(p.type)) continue;
    float n = std::floor(std::min(1 / p.params.scale, softmax->second));
    if (is_signed(p.type)) n = std::min(n, static_cast<float>(p.scheme.qmax - p.params.zero_point));
    if (n < 1) continue;  // a range that was given
    const float scale = reciprocal(n);
    const double factor = static_cast<double>(scale) / static_cast<double>(p.params.scale);
    p.range = {p.range.min * factor, p.range.max * factor};
    p.params.scale = scale;
  }
}

}  // namespace onnxtool
