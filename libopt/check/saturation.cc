// Weights whose products overflow the 16 bits that x86 CPUs without VNNI add pairs of them in.
#include <algorithm>

#include "libopt/analysis/qdq_movers.h"
#include "libopt/check/family.h"
#include "libopt/ir/walk.h"
#include "libopt/target/pair_sums.h"

namespace onnxtool::check {
namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";

/// What an operator's data is.
enum class Data : uint8_t {
  kCodes,
  kBehindDequantize,  // and so are its weights
  kFloat,             // which becomes u8 while it runs
};

struct Product {
  std::string_view op, domain;
  Data data;
  int first, last;  // weights
};
constexpr Product kProducts[] = {
    {"Conv", "", Data::kBehindDequantize, 1, 1},
    {"MatMul", "", Data::kBehindDequantize, 1, 1},
    {"Gemm", "", Data::kBehindDequantize, 1, 1},
    {"QLinearConv", "", Data::kCodes, 3, 3},
    {"QLinearConv", kMicrosoft, Data::kCodes, 3, 3},
    {"QLinearMatMul", "", Data::kCodes, 3, 3},
    {"QGemm", kMicrosoft, Data::kCodes, 3, 3},
    {"MatMulInteger", "", Data::kCodes, 1, 1},
    {"MatMulIntegerToFloat", kMicrosoft, Data::kCodes, 1, 1},
    {"DynamicQuantizeMatMul", kMicrosoft, Data::kFloat, 1, 1},
    {"DynamicQuantizeLSTM", kMicrosoft, Data::kFloat, 1, 2},
};

// What the DequantizeLinear reads that makes it; nullptr where another node does.
const Value* before_dequantize(const Value& v) {
  const Node* dq = v.producer();
  return dq && dq->is("DequantizeLinear") && dq->has_input(0) ? &dq->input(0) : nullptr;
}

// onnxruntime turns s8 into u8 when it loads a Q that only one DQ reads.
bool becomes_u8(const Value& codes) {
  const Node* q = codes.producer();
  return codes.type().dtype == DataType::kInt8 && q && q->is("QuantizeLinear") &&
         codes.has_one_use();
}

// Signed data takes another kernel.
bool reads_u8(const Node& node, Data data) {
  if (!node.has_input(0)) return false;
  const Value* v = &node.input(0);
  if (data == Data::kFloat) return true;
  if (data == Data::kBehindDequantize) v = before_dequantize(before_movers(*v));
  if (!v || !v->type().is_tensor()) return false;
  return v->type().dtype == DataType::kUint8 || (data == Data::kBehindDequantize && becomes_u8(*v));
}

int64_t saturating_pairs(const Node& node) {
  const auto product =
      std::ranges::find_if(kProducts, [&](const Product& p) { return node.is(p.op, p.domain); });
  if (product == std::end(kProducts) || !reads_u8(node, product->data)) return 0;
  int64_t pairs = 0;
  for (int input = product->first; input <= product->last; ++input) {
    if (!node.has_input(input)) continue;
    const Value* v = &node.input(input);
    if (product->data == Data::kBehindDequantize) v = before_dequantize(*v);
    const Tensor* w = v ? v->constant() : nullptr;
    if (!w || w->dtype() != DataType::kInt8 || w->count() == 0) continue;
    if (const auto order = pair_order(node, w->dims()))
      pairs += count_saturating_pairs(
          *order, {reinterpret_cast<const int8_t*>(w->bytes().data()), w->bytes().size()});
  }
  return pairs;
}

}  // namespace

void check_saturation(const Model& model, Findings& out) {
  size_t nodes = 0;
  int64_t pairs = 0;
  std::string first;
  for_each_node(model.graph(), [&](const Node& n) {
    const int64_t own = saturating_pairs(n);
    if (own && nodes++ == 0) first = n.describe();
    pairs += own;
  });
  if (nodes)
    out.add(RuleId::kSaturation, "",
            std::to_string(pairs) + (pairs == 1 ? " pair" : " pairs") + " of weights in " +
                std::to_string(nodes) + (nodes == 1 ? " node" : " nodes") + ", first " + first);
}

}  // namespace onnxtool::check
