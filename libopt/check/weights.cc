// Advice about constants: dead and duplicate ones, values that formats or CPUs cannot hold.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <tuple>

#include "libopt/analysis/qdq_movers.h"
#include "libopt/analysis/statistics.h"
#include "libopt/check/family.h"

namespace onnxtool::check {
namespace {

// Smaller copies (axes, shapes, scalars) are not worth a word.
constexpr size_t kMinDuplicateBytes = 1024;
// Of tensors that look alike, so many are kept to compare others with.
constexpr size_t kMaxAlike = 64;
constexpr double kFp16Max = 65504;

// A few bytes of the tensor: most tensors that differ differ there, so that few are read whole.
uint64_t sample(const Tensor& t) {
  const auto bytes = t.bytes();
  uint64_t hash = 1469598103934665603u;
  const size_t step = std::max<size_t>(bytes.size() / 8, 1);
  for (size_t at = 0; at < bytes.size(); at += step)
    for (size_t i = at; i < std::min(at + 8, bytes.size()); ++i)
      hash = (hash ^ std::to_integer<uint64_t>(bytes[i])) * 1099511628211u;
  return hash;
}

void check_duplicates(const Graph& graph, Findings& out) {
  using Key = std::tuple<DataType, std::vector<int64_t>, uint64_t>;
  std::map<Key, std::vector<const Value*>> groups;
  uint64_t wasted = 0;
  size_t copies = 0;
  std::string example;
  for (const Value* v : graph.initializers()) {
    const Tensor& t = *v->initializer();
    if (t.dtype() == DataType::kString || t.size_bytes() < kMinDuplicateBytes) continue;
    auto& group = groups[{t.dtype(), t.dims(), sample(t)}];
    const auto twin = std::ranges::find_if(
        group, [&](const Value* other) { return other->initializer()->same_content(t); });
    if (twin == group.end()) {
      if (group.size() < kMaxAlike) group.push_back(v);
      continue;
    }
    wasted += t.size_bytes();
    if (copies++ == 0) example = "'" + v->name() + "' is '" + (*twin)->name() + "'";
  }
  if (copies)
    out.add(RuleId::kDuplicateWeights, "",
            std::to_string(copies) +
                (copies == 1 ? " initializer repeats" : " initializers repeat") + " another, " +
                std::to_string(wasted) + " bytes in all: " + example);
}

void check_values(const std::string& place, const Tensor& t, Findings& out) {
  if (!is_float(t.dtype())) return;
  const TensorStatistics s = statistics_of(t);
  if (s.nan) out.add(RuleId::kNanWeights, place, "holds NaN");
  const double largest = std::max(std::fabs(s.min), std::fabs(s.max));
  if (largest <= kFp16Max) return;
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", largest);
  out.add(RuleId::kFp16Overflow, place, std::string("holds magnitudes up to ") + text);
}

// `where` of a function's body: its name and a colon.
void walk_values(const Graph& graph, const std::string& where, Findings& out) {
  for (const Value* v : graph.initializers())
    check_values(where + "initializer '" + v->name() + "'", *v->initializer(), out);
  for (Node& n : graph.nodes()) {
    const std::string place = where + n.describe();
    if (const Tensor* t = n.is("Constant") ? n.output(0).constant() : nullptr)
      check_values(place, *t, out);  // whichever attribute it comes from
    else
      for (const Attribute& a : n.attributes())
        if (const auto* named = a.get<NamedTensor>()) check_values(place, named->tensor, out);
    n.for_each_subgraph([&](Graph& g) { walk_values(g, where, out); });
  }
}

// --- saturation ---------------------------------------------------------------------------------

// The weights of an integer product: [outer, reduced, inner], summed along `reduced`.
struct Weights {
  const Tensor* tensor = nullptr;
  int64_t outer = 1, reduced = 1, inner = 1;
};

// Through the DequantizeLinear that feeds it, where there is one.
const Tensor* integer_constant(const Node& node, int input, bool behind_dequantize) {
  if (!node.has_input(input)) return nullptr;
  const Value* v = &node.input(input);
  if (behind_dequantize) {
    const Node* dq = v->producer();
    if (!dq || !dq->is("DequantizeLinear") || !dq->has_input(0)) return nullptr;
    v = &dq->input(0);
  }
  const Tensor* t = v->constant();
  return t && t->dtype() == DataType::kInt8 ? t : nullptr;
}

// u8 on the other side: signed activations take another path.
bool reads_u8(const Node& node, bool behind_dequantize) {
  if (!node.has_input(0)) return false;
  const Value* v = &node.input(0);
  if (behind_dequantize) {
    while (v->producer() && is_passed_by_qdq(*v->producer())) v = &v->producer()->input(0);
    const Node* dq = v->producer();
    if (!dq || !dq->is("DequantizeLinear") || !dq->has_input(0)) return false;
    v = &dq->input(0);
  }
  return v->type().is_tensor() && v->type().dtype == DataType::kUint8;
}

Weights weights_of(const Node& node) {
  const bool qdq = node.is("Conv") || node.is("MatMul") || node.is("Gemm");
  const bool conv = node.is("Conv") || node.is("QLinearConv") || node.is("ConvInteger");
  const bool product =
      node.is("MatMul") || node.is("Gemm") || node.is("QLinearMatMul") || node.is("MatMulInteger");
  if ((!conv && !product) || !reads_u8(node, qdq)) return {};
  const int place = node.is("QLinearConv") || node.is("QLinearMatMul") ? 3 : 1;
  Weights w{integer_constant(node, place, qdq)};
  if (!w.tensor || w.tensor->rank() < 2) return {};
  const auto& dims = w.tensor->dims();
  if (conv || (node.is("Gemm") && node.attr<int64_t>("transB", 0))) {
    w.outer = dims[0];
    w.reduced = dims[0] ? w.tensor->count() / dims[0] : 0;
  } else {
    w.inner = dims.back();
    w.reduced = dims[dims.size() - 2];
    w.outer = w.reduced != 0 && w.inner != 0 ? w.tensor->count() / (w.reduced * w.inner) : 0;
  }
  return w;
}

// Pairs of neighbours whose products with 255 pass 16 bits: 255 x 128 still fits, 255 x 129 does
// not.
int64_t saturating_pairs(const Weights& w) {
  const auto* p = reinterpret_cast<const int8_t*>(w.tensor->bytes().data());
  int64_t pairs = 0;
  for (int64_t o = 0; o < w.outer; ++o)
    for (int64_t r = 0; r + 1 < w.reduced; r += 2)
      for (int64_t i = 0; i < w.inner; ++i) {
        const int64_t at = (o * w.reduced + r) * w.inner + i;
        const int a = p[at], b = p[at + w.inner];
        pairs += (a ^ b) >= 0 && std::abs(a + b) > 128;
      }
  return pairs;
}

void check_saturation(const Graph& graph, Findings& out) {
  size_t nodes = 0;
  int64_t pairs = 0;
  std::string first;
  for (Node& n : graph.nodes()) {
    const Weights w = weights_of(n);
    const int64_t own = w.tensor ? saturating_pairs(w) : 0;
    if (own && nodes++ == 0) first = n.describe();
    pairs += own;
  }
  if (nodes)
    out.add(RuleId::kSaturation, "",
            std::to_string(pairs) + " pairs of weights in " + std::to_string(nodes) +
                (nodes == 1 ? " node" : " nodes") + ", first " + first);
}

struct Dead {
  size_t count = 0, bytes = 0;
  std::string first;
};

void count_dead(const Graph& graph, Dead& dead) {
  for (const Value* v : graph.initializers()) {
    if (!v->unused() || v->is_graph_input()) continue;
    if (dead.count++ == 0) dead.first = v->name();
    dead.bytes += v->initializer()->size_bytes();
  }
  for (Node& n : graph.nodes()) n.for_each_subgraph([&](Graph& g) { count_dead(g, dead); });
}

void check_dead(const Graph& graph, Findings& out) {
  Dead dead;
  count_dead(graph, dead);
  if (dead.count)
    out.add(RuleId::kDeadInitializer, "",
            std::to_string(dead.count) +
                (dead.count == 1 ? " initializer is" : " initializers are") + " read by nothing, " +
                std::to_string(dead.bytes) + " bytes in all: first '" + dead.first + "'");
}

}  // namespace

void check_weights(const Model& model, bool read_all, Findings& out) {
  check_dead(model.graph(), out);
  check_duplicates(model.graph(), out);
  check_saturation(model.graph(), out);
  if (!read_all) return;
  walk_values(model.graph(), "", out);
  for (const Function& f : model.functions)
    walk_values(*f.body, "function '" + f.domain + "." + f.name + "': ", out);
}

}  // namespace onnxtool::check
