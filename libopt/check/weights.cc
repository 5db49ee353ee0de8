// Advice about constants: dead and duplicate ones, values that formats cannot hold.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <tuple>

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
  if (!read_all) return;
  walk_values(model.graph(), "", out);
  for (const Function& f : model.functions)
    walk_values(*f.body, "function '" + f.domain + "." + f.name + "': ", out);
}

}  // namespace onnxtool::check
