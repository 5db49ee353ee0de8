#include "libopt/target/bias_fault.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

namespace onnxtool {
namespace {

// What onnxruntime still takes for equal.
constexpr double kTolerance = 0.01;

// The DequantizeLinear that makes an input; nullptr: none does.
const Node* dequantize(const Node& node, int input) {
  if (!node.has_input(input)) return nullptr;
  const Node* dq = node.input(input).producer();
  return dq && dq->is("DequantizeLinear") && dq->has_input(0) && dq->has_input(1) ? dq : nullptr;
}

// One for the tensor or one a channel; empty: not known.
std::vector<double> scales_of(const Node& dq) {
  const Tensor* t = dq.input(1).constant();
  return t && is_float(t->dtype()) && t->rank() <= 1 ? t->to_doubles() : std::vector<double>();
}

std::string ratio(double found, double expected) {
  char text[64];
  std::snprintf(text, sizeof text, "its scale is %.4g, data times weights %.4g", found, expected);
  return text;
}

}  // namespace

bool has_zero_point(const Node& node) {
  if (!node.has_input(2)) return false;
  const Tensor* t = node.input(2).constant();
  if (!t || t->dtype() == DataType::kString) return false;
  const std::vector<int64_t> zeros = t->to_ints();
  return std::ranges::any_of(zeros, [](int64_t z) { return z != 0; });
}

std::string bias_fault(const Node& layer) {
  const Node *data = dequantize(layer, 0), *weights = dequantize(layer, 1),
             *bias = dequantize(layer, 2);
  if (!data || !weights || !bias) return {};
  const ValueType& type = bias->input(0).type();
  if (type.is_tensor() && type.dtype != DataType::kInt32)
    return "it holds " + std::string(name(type.dtype)) + ", expected int32";
  if (has_zero_point(*bias)) return "its zero point is not 0";
  const std::vector<double> x = scales_of(*data), w = scales_of(*weights), b = scales_of(*bias);
  if (x.size() != 1 || w.empty() || b.empty()) return {};
  const size_t channels = std::max(w.size(), b.size());
  if ((w.size() != 1 && w.size() != channels) || (b.size() != 1 && b.size() != channels)) return {};
  for (size_t c = 0; c < channels; ++c) {
    const double expected = x[0] * w[w.size() == 1 ? 0 : c], found = b[b.size() == 1 ? 0 : c];
    if (!(std::fabs(found - expected) <= kTolerance * std::fabs(expected)))
      return ratio(found, expected) +
             (channels > 1 ? " in channel " + std::to_string(c) : std::string());
  }
  return {};
}

}  // namespace onnxtool
