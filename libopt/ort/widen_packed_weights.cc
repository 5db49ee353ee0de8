// Weights of 4 and 2 bits as 8-bit ones: releases from 1.28 on load no others from a .ort file.
//
//   y = DequantizeLinear (w: int4, scale, zero_point: int4)
//     =>
//   y = DequantizeLinear (w': int8, scale, zero_point': int8)     the same numbers
//
// What other nodes read stays, and the writer refuses it by name.

#include <unordered_map>

#include "libopt/ort/prepare.h"

namespace onnxtool {
namespace {

bool is_packed(DataType t) {
  return t == DataType::kInt4 || t == DataType::kUint4 || t == DataType::kInt2 ||
         t == DataType::kUint2;
}

Tensor widened(const Tensor& t) {
  const bool is_signed = t.dtype() == DataType::kInt4 || t.dtype() == DataType::kInt2;
  const int bits = bits_of(t.dtype()), per_byte = 8 / bits;
  const auto count = static_cast<size_t>(t.count());
  std::vector<std::byte> out(count);
  for (size_t i = 0; i < count; ++i) {
    const int shift = static_cast<int>(i % static_cast<size_t>(per_byte)) * bits;
    const int code = (std::to_integer<int>(t.bytes()[i / static_cast<size_t>(per_byte)]) >> shift) &
                     ((1 << bits) - 1);
    out[i] =
        static_cast<std::byte>(is_signed && code >= 1 << (bits - 1) ? code - (1 << bits) : code);
  }
  return Tensor::from_bytes(is_signed ? DataType::kInt8 : DataType::kUint8, t.dims(),
                            std::move(out));
}

class Widener {
 public:
  void walk(Graph& graph) {
    for (Node& n : graph.nodes()) {
      n.for_each_subgraph([&](Graph& sub) { walk(sub); });
      if (n.is("DequantizeLinear") && can_widen(n)) widen(n);
    }
  }
  int count() const { return count_; }

 private:
  // The weight and, where there is one, the zero point.
  static bool can_widen(const Node& n) {
    for (const int i : {0, 2})
      if (n.has_input(i) && (!n.input(i).initializer() || !n.input(i).constant() ||
                             !is_packed(n.input(i).constant()->dtype())))
        return false;
    return n.has_input(0);
  }

  void widen(Node& n) {
    for (const int i : {0, 2}) {
      if (!n.has_input(i)) continue;
      Value& old = n.input(i);
      Value*& made = made_[&old];
      if (!made) {
        made = &old.graph().add_initializer(widened(*old.constant()), "", old.name());
        ++count_;
      }
      n.graph().set_input(n, i, made);
    }
  }

  std::unordered_map<const Value*, Value*> made_;
  int count_ = 0;
};

}  // namespace

int widen_packed_weights(Graph& graph) {
  Widener widener;
  widener.walk(graph);
  return widener.count();
}

}  // namespace onnxtool
