// What the families of findings share. Each is one file and looks at one side of a model.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libopt/check/check.h"
#include "libopt/io/outline.h"

namespace onnxtool::check {

/// Collects findings, of each rule up to a number that people and memory can bear: many of one
/// never hide another.
class Findings {
 public:
  explicit Findings(const CheckOptions& options) : ignore_(options.ignore) {}

  void add(RuleId id, std::string place, std::string message, std::optional<uint64_t> offset = {},
           std::string hint = {}) {
    if (rule(id).severity == Severity::kError) at_fault_.insert(place);
    found_.insert(id);
    CheckFinding f{id, std::move(message), std::move(place), std::move(hint), offset};
    if (ignore_ && ignore_(f)) return;
    if (size_t& n = kept_[id]; n == kMaxOfRule)
      ++left_out_[id];
    else
      ++n, list_.push_back(std::move(f));
  }
  /// Those that are ignored too.
  bool found(RuleId id) const { return found_.contains(id); }
  bool has_errors() const { return !at_fault_.empty(); }
  /// Whether an error was found there: what follows from it need not be said.
  bool at_fault(const std::string& place) const { return at_fault_.contains(place); }
  std::vector<CheckFinding> take() { return std::move(list_); }
  const std::map<RuleId, size_t>& left_out() const { return left_out_; }

 private:
  static constexpr size_t kMaxOfRule = 10000;
  const std::function<bool(const CheckFinding&)>& ignore_;
  std::vector<CheckFinding> list_;
  std::unordered_set<std::string> at_fault_;
  std::set<RuleId> found_;
  std::map<RuleId, size_t> kept_, left_out_;
};

using OpsetMap = std::unordered_map<std::string_view, int64_t>;

/// What the outline's families read.
struct OutlineView {
  const outline::Model& model;
  const DecodeSource& source;
  const CheckOptions& options;
  OpsetMap opsets;  // of the model
};

/// `node 'conv1' (Conv)`, as Node::describe(); `index` counts within its graph.
std::string describe(const outline::Node& node, size_t index);

void check_header(const OutlineView& view, Findings& out);
/// Names, scopes, order; calls check_node() for each node.
void check_graphs(const OutlineView& view, Findings& out);
void check_functions(const OutlineView& view, Findings& out);
void check_tensors(const OutlineView& view, Findings& out);
/// One node against its schema and its attributes' own rules.
void check_node(const OutlineView& view, const outline::Node& node, const std::string& place,
                const OpsetMap& opsets, bool in_main_graph, Findings& out);
/// Types and shapes, on the graph: inferred against declared, and what the graph does not keep of
/// declarations (a second one of a value, one of an outer graph's value).
void check_types(const OutlineView& view, Model& model, Findings& out);
/// Opsets and IR version against what is known and against the runtime.
void check_runtime(const OutlineView& view, Findings& out);
/// Attributes whose values are words of a list.
void check_choices(const Model& model, const CheckOptions& options, Findings& out);
/// Kernels of the runtime and provider, and node names, which it wants unique; on inferred types.
void check_kernels(const Model& model, const CheckOptions& options, Findings& out);
/// What the target needs of shapes and zero points; on inferred types.
void check_target(const Model& model, const Target& target, Findings& out);
/// Operators outside of the standard.
void check_operators(const OutlineView& view, Findings& out);
void check_exporter(const Model& model, Findings& out);
/// Reads only constants that may be duplicates, unless `read_all`.
void check_weights(const Model& model, bool read_all, Findings& out);
/// Reads weights of integer products.
void check_saturation(const Model& model, Findings& out);
/// Layers between DequantizeLinear nodes.
void check_quantization(const Model& model, Findings& out);
/// Whether expanding the functions stays within bounds; a finding where it does not.
bool check_expansion(const Model& model, Findings& out);

/// Calls f(node, place, graph depth) for each node of the graph and its subgraphs.
template <class F>
void for_each_node(const std::vector<outline::Node>& nodes, F&& f, int depth = 0) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    f(nodes[i], describe(nodes[i], i), depth);
    for (const outline::Attribute& a : nodes[i].attributes)
      for (const auto& g : a.graphs) for_each_node(g->nodes, f, depth + 1);
  }
}

}  // namespace onnxtool::check
