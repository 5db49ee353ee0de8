#include "libopt/analysis/qdq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "libopt/analysis/clip.h"

namespace onnxtool {
namespace {

struct Codes {
  int64_t low, high;
};

std::optional<Codes> codes_of(DataType type) {
  switch (type) {
    case DataType::kUint8: return Codes{0, 255};
    case DataType::kInt8: return Codes{-128, 127};
    case DataType::kUint16: return Codes{0, 65535};
    case DataType::kInt16: return Codes{-32768, 32767};
    default: return std::nullopt;
  }
}

bool same_tensor(const Value& a, const Value& b) {
  const Tensor &x = *a.constant(), &y = *b.constant();
  return x.dtype() == y.dtype() && std::ranges::equal(x.bytes(), y.bytes());
}

}  // namespace

bool is_quantize(const Node& node) { return node.is("QuantizeLinear"); }
bool is_dequantize(const Node& node) { return node.is("DequantizeLinear"); }

bool is_one_element(const Value& value) {
  const Tensor* t = value.constant();
  return t && t->count() == 1 && t->rank() <= 1;
}

bool has_one_scale(const Node& node) {
  if (!node.has_input(1) || !node.has_input(2) || !is_one_element(node.input(1)) ||
      !is_one_element(node.input(2)))
    return false;
  const double scale = node.input(1).constant()->to_doubles()[0];
  return scale > 0 && std::isfinite(scale);
}

bool same_scale(const Node& a, const Node& b) {
  return has_one_scale(a) && has_one_scale(b) && same_tensor(a.input(1), b.input(1)) &&
         same_tensor(a.input(2), b.input(2));
}

bool saturation_covers(const Node& activation, const Node& quantize) {
  const Tensor& zero = *quantize.input(2).constant();
  const auto codes = codes_of(zero.dtype());
  if (!codes) return false;
  const int64_t zero_point = zero.to_ints()[0];
  if (activation.is("Relu")) return zero_point == codes->low;
  if (!activation.is("Clip")) return false;
  const auto bounds = clip_bounds(activation, std::numeric_limits<double>::infinity());
  if (!bounds) return false;
  const double scale = quantize.input(1).constant()->to_doubles()[0];
  const auto code = [&](double x) {
    return std::rint(x / scale) + static_cast<double>(zero_point);
  };
  return code(bounds->low) <= static_cast<double>(codes->low) &&
         code(bounds->high) >= static_cast<double>(codes->high);
}

}  // namespace onnxtool
