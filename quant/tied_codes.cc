#include "quant/tied_codes.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "libopt/rewrite/rewriter.h"
#include "quant/attributes.h"

namespace onnxtool {
namespace {

// Half a step of each, and what floats lose.
constexpr float kHalfSteps = 0.505f;

struct Table {
  Value* codes = nullptr;     // s8 [rows, columns]
  std::vector<float> scales;  // of the rows
};

const Node* only_reader(const Value& v) {
  return v.has_one_use() && !v.is_graph_output() ? v.uses()[0].user : nullptr;
}

// As quant/weight_emit.h writes it: Mul(Cast(Gather(codes, i)), Gather(scales, i)).
std::optional<Table> table_of(const Node& n) {
  const Tensor* codes = n.is("Gather") ? n.input(0).constant() : nullptr;
  if (!codes || codes->dtype() != DataType::kInt8 || codes->rank() != 2) return std::nullopt;
  const Node* cast = only_reader(n.output(0));
  const Node* mul = cast && cast->is("Cast") ? only_reader(cast->output(0)) : nullptr;
  if (!mul || !mul->is("Mul")) return std::nullopt;
  const Node* other = mul->input(&mul->input(0) == &cast->output(0) ? 1 : 0).producer();
  const Tensor* column = other && other->is("Gather") && &other->input(1) == &n.input(1)
                             ? other->input(0).constant()
                             : nullptr;
  if (!column || column->dtype() != DataType::kFloat ||
      column->dims() != std::vector<int64_t>{codes->dims()[0], 1})
    return std::nullopt;
  return Table{&n.input(0), column->values<float>()};
}

// A weight of products alone, with a scale for each column.
bool is_weight_by_column(const Node& dq) {
  if (!dq.is("DequantizeLinear") || !dq.has_input(2) || dq.output(0).is_graph_output())
    return false;
  const Tensor *codes = dq.input(0).constant(), *scales = dq.input(1).constant(),
               *zeros = dq.input(2).constant();
  const int64_t axis = dq.attr<int64_t>("axis", 1);
  return codes && scales && zeros && codes->dtype() == DataType::kInt8 && codes->rank() == 2 &&
         scales->dtype() == DataType::kFloat && scales->rank() == 1 &&
         scales->count() == codes->dims()[1] && (axis == 1 || axis == -1) &&
         std::ranges::all_of(zeros->to_ints(), [](int64_t z) { return z == 0; }) &&
         std::ranges::all_of(dq.output(0).uses(),
                             [](const Use& u) { return u.user->is("MatMul") && u.index == 1; });
}

bool is_same_matrix(const Table& t, const Node& dq) {
  const Tensor &a = *t.codes->constant(), &b = *dq.input(0).constant();
  const int64_t rows = a.dims()[0], columns = a.dims()[1];
  if (b.dims() != std::vector<int64_t>{columns, rows}) return false;
  const std::vector<float> scales = dq.input(1).constant()->values<float>();
  const auto* of_table = reinterpret_cast<const int8_t*>(a.bytes().data());
  const auto* of_weight = reinterpret_cast<const int8_t*>(b.bytes().data());
  for (int64_t r = 0; r < rows; ++r) {
    const float mine = t.scales[static_cast<size_t>(r)], its = scales[static_cast<size_t>(r)];
    const float limit = kHalfSteps * (mine + its);
    for (int64_t c = 0; c < columns; ++c)
      if (!(std::fabs(mine * static_cast<float>(of_table[r * columns + c]) -
                      its * static_cast<float>(of_weight[c * rows + r])) <= limit))
        return false;
  }
  return true;
}

void share(Graph& graph, Node& dq, const Table& t) {
  Rewriter rw(graph, &dq);
  const std::string base = dq.output(0).name(), name = dq.name();
  Value& scales = rw.add_constant(Tensor::vector(t.scales), dq.input(1).name());
  Node& rows = rw.add_node("DequantizeLinear", {t.codes, &scales, &dq.input(2)},
                           one_attribute<int64_t>("axis", 0), 1, base + "_rows");
  // onnxruntime wants its axes named.
  Node& turned = rw.add_node("Transpose", {&rows.output(0)},
                             one_attribute("perm", std::vector<int64_t>{1, 0}), 1, base);
  turned.output(0).set_type(dq.output(0).type());
  rw.replace_uses(dq.output(0), turned.output(0));
  rw.remove(dq);
  rw.sweep();
  if (name.empty()) return;
  graph.set_node_name(rows, name);
  graph.set_node_name(turned, name + "_Transpose");
}

}  // namespace

int share_tied_codes(Graph& graph) {
  std::vector<Table> tables;
  for (const Node& n : graph.nodes())
    if (auto t = table_of(n)) tables.push_back(*std::move(t));
  if (tables.empty()) return 0;
  int count = 0;
  for (Node& n : graph.nodes()) {
    if (!is_weight_by_column(n)) continue;
    const auto t =
        std::ranges::find_if(tables, [&](const Table& t) { return is_same_matrix(t, n); });
    if (t == tables.end()) continue;
    share(graph, n, *t);
    ++count;
  }
  return count;
}

}  // namespace onnxtool
