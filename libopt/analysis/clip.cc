#include "libopt/analysis/clip.h"

namespace onnxtool {

std::optional<ClipBounds> clip_bounds(const Node& clip, double open) {
  ClipBounds b{-open, open};
  if (clip.opset() < 11) {
    if (clip.attribute("min")) b.low = clip.attr<float>("min", 0);
    if (clip.attribute("max")) b.high = clip.attr<float>("max", 0);
    return b;
  }
  for (const int i : {1, 2}) {
    if (!clip.has_input(i)) continue;
    const Tensor* t = clip.input(i).constant();
    if (!t || t->count() != 1 || t->dtype() == DataType::kString) return std::nullopt;
    (i == 1 ? b.low : b.high) = t->to_doubles()[0];
  }
  return b;
}

}  // namespace onnxtool
