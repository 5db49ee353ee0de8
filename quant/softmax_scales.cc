#include "quant/softmax_scales.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

// The largest scale not above 1 / n of which the kernel makes n.
float reciprocal(float n) {
  const float scale = 1 / n;
  return std::floor(1 / scale) < n ? std::nextafter(scale, 0.0F) : scale;
}

}  // namespace

void round_softmax_scales(const Placement& placement, std::vector<TensorParams>& params) {
  std::set<const Value*> results;
  for (const IntegerNode& n : placement.nodes)
    if (n.node->is("Softmax") && !n.activation) results.insert(&n.node->output(0));
  for (size_t i = 0; i < params.size(); ++i) {
    TensorParams& p = params[i];
    if (!results.contains(placement.tensors[i].range_owner) || !is_8bit(p.type)) continue;
    float n = std::floor(1 / p.params.scale);
    if (is_signed(p.type)) n = std::min(n, static_cast<float>(p.scheme.qmax - p.params.zero_point));
    if (n < 1 || !std::isfinite(n)) continue;  // a range that was given
    const float scale = reciprocal(n);
    const double factor = static_cast<double>(scale) / static_cast<double>(p.params.scale);
    p.range = {p.range.min * factor, p.range.max * factor};
    p.params.scale = scale;
  }
}

}  // namespace onnxtool
