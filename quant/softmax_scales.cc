#include "quant/softmax_scales.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "libopt/ir/code_type.h"
#include "libopt/target/softmax_limits.h"

namespace onnxtool {
namespace {

// Of a row of open length: the kernel makes zeros of one with a single entry, as it does with
// onnxruntime's own scale of 1/256.
constexpr int64_t kFewestEntries = 2;

// The largest scale not above 1 / n of which the kernel makes n.
float reciprocal(float n) {
  const float scale = 1 / n;
  return std::floor(1 / scale) < n ? std::nextafter(scale, 0.0F) : scale;
}

}  // namespace

void round_softmax_scales(const Graph& graph, const Placement& placement,
                          std::vector<TensorParams>& params) {
  std::unordered_set<const Value*> coded;
  for (const QuantizedTensor& t : placement.tensors) coded.insert(t.value);
  std::unordered_map<const Value*, float> most;  // of 1 / scale
  for (const Node& n : graph.nodes())
    if (n.is("Softmax") && n.has_input(0) && n.has_output(0) && coded.contains(&n.input(0)))
      most[&n.output(0)] = kMostSoftmaxCodesPerEntry *
                           static_cast<float>(softmax_entries(n).value_or(kFewestEntries));
  for (size_t i = 0; i < params.size(); ++i) {
    TensorParams& p = params[i];
    const auto softmax = most.find(placement.tensors[i].range_owner);
    if (softmax == most.end() || !is_8bit(p.type)) continue;
    float n = std::floor(std::min(1 / p.params.scale, softmax->second));
    if (is_signed(p.type)) n = std::min(n, static_cast<float>(p.scheme.qmax - p.params.zero_point));
    if (n < 1) continue;  // a range that was given
    p.rescale(reciprocal(n));
  }
}

}  // namespace onnxtool
