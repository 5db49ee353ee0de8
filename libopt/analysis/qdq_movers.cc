#include "libopt/analysis/qdq_movers.h"

namespace onnxtool {

bool is_passed_by_qdq(const Node& n) {
  if (!n.has_input(0) || !n.has_output(0)) return false;
  if (n.is("MaxPool"))
    return n.opset() >= 12 && n.opset() < 22 && !(n.num_outputs() > 1 && n.has_output(1));
  return n.is("Reshape") || n.is("Transpose") || n.is("Squeeze") || n.is("Unsqueeze") ||
         n.is("Slice");
}

bool swaps_axes(const Node& n, bool by_default) {
  if (!n.is("Transpose")) return false;
  if (!n.attribute("perm")) return by_default;
  return n.attr<std::vector<int64_t>>("perm", {}) == std::vector<int64_t>{1, 0};
}

const Value& before_movers(const Value& value) {
  const Value* at = &value;
  while (at->producer() && is_passed_by_qdq(*at->producer())) at = &at->producer()->input(0);
  return *at;
}

}  // namespace onnxtool
