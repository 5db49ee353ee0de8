#include "libopt/analysis/qdq_movers.h"

namespace onnxtool {

bool is_passed_by_qdq(const Node& n) {
  if (!n.has_input(0) || !n.has_output(0)) return false;
  if (n.is("MaxPool"))
    return n.opset() >= 12 && n.opset() < 22 && !(n.num_outputs() > 1 && n.has_output(1));
  return n.is("Reshape") || n.is("Transpose") || n.is("Squeeze") || n.is("Unsqueeze") ||
         n.is("Slice");
}

}  // namespace onnxtool
