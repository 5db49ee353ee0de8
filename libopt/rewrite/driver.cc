#include "libopt/rewrite/driver.h"

#include <algorithm>
#include <chrono>
#include <unordered_set>

#include "libopt/analysis/provenance.h"
#include "libopt/analysis/seam.h"
#include "libopt/rewrite/file_size.h"
#include "libopt/rewrite/raise_opset.h"

namespace onnxtool {
namespace {

// A rule may move its match one node a sweep (pushing against the order of nodes), so chains need
// many sweeps; two rules that undo each other never end.
constexpr int kMaxSweeps = 1000;

bool is_root(const PassInfo& pass, const Node& node) {
  if (pass.roots[0].empty()) return true;
  for (std::string_view root : pass.roots) {
    if (root.empty()) break;
    if (!node.domain().empty()) {
      // "com.microsoft.Gelu": the domain, a dot, the operator.
      if (!root.starts_with(node.domain()) || root.substr(node.domain().size()).substr(0, 1) != ".")
        continue;
      root.remove_prefix(node.domain().size() + 1);
    }
    if (node.op_type() == root) return true;
  }
  return false;
}

// What other passes saved may be spent on folding once they are done, so that tables that exporters
// leave to be computed become constants in a file that is still no larger than it was: but no more
// than this part of it, since whoever has weights shared expects a smaller file.
constexpr int64_t kSpentShare = 64;

// What all passes of a run share.
struct Run {
  const PassContext& context;
  std::optional<Provenance> provenance = std::nullopt;
  int64_t rewrites = 0;
  bool exhausted() const { return context.max_rewrites >= 0 && rewrites >= context.max_rewrites; }
};

int apply_whole(Graph& graph, const PassInfo& pass, Run& run) {
  int fired = 0;
  for (Node& n : graph.nodes())
    n.for_each_subgraph([&](Graph& sub) { fired += apply_whole(sub, pass, run); });
  const auto may_rewrite = [&](const std::string& what) {
    if (run.exhausted()) return false;
    ++fired;
    ++run.rewrites;
    if (run.context.on_rewrite) run.context.on_rewrite(pass, what);
    return true;
  };
  const Provenance::Wiring before =
      run.provenance ? Provenance::wiring_of(graph) : Provenance::Wiring();
  pass.run_graph(graph, run.context, may_rewrite);
  if (run.provenance) run.provenance->record(graph, before);
  return fired;
}

// How often the pass fired in the graph and its subgraphs.
int apply(Graph& graph, const PassInfo& pass, Run& run) {
  run.context.state->running = &pass;
  if (pass.run_graph) return apply_whole(graph, pass, run);
  // By id: a rule may remove any node, its own and later ones included.
  std::vector<int> ids;
  for (const Node& n : graph.nodes()) {
    bool wanted = is_root(pass, n);
    n.for_each_subgraph([&](Graph&) { wanted = true; });
    if (wanted) ids.push_back(n.id());
  }
  int fired = 0;
  for (const int id : ids) {
    Node* node = graph.node(id);
    if (!node) continue;
    node->for_each_subgraph([&](Graph& sub) { fired += apply(sub, pass, run); });
    if (!is_root(pass, *node)) continue;
    if (run.exhausted()) break;
    const std::string called = run.context.on_rewrite ? node->describe() : std::string();
    Rewriter rewriter(graph, node);
    RewriteTrace trace;
    if (run.provenance) rewriter.trace_into(trace);
    const bool changed = pass.run(*node, rewriter, run.context);
    ONNXTOOL_CHECK(changed || rewriter.edits() == 0);
    rewriter.sweep();
    if (!changed) continue;
    if (run.provenance) run.provenance->record(trace);
    ++fired;
    ++run.rewrites;
    if (run.context.on_rewrite) run.context.on_rewrite(pass, called);
  }
  return fired;
}

// What outputs are declared as. Names that stand on nothing else that the file declares tell
// nothing of the extents, and would hide what follows from the inputs: while passes look for work
// they are hidden.
class Promises {
 public:
  explicit Promises(Graph& graph) : graph_(graph) {
    for (const Value* v : graph.outputs()) declared_.push_back(v->type());
    hide();
  }
  void hide() {
    std::unordered_set<std::string> own;
    for (const Value* v : graph_.outputs())
      for_each_name(*v, [&](const std::string& name) { own.insert(name); });
    if (own.empty()) return;
    const auto values = graph_.values();
    for (const Value* v : values)
      if (v->is_graph_input() || (v->has_value_info && !v->is_graph_output()))
        for_each_name(*v, [&](const std::string& name) { own.erase(name); });
    // What was inferred has taken them over.
    for (Value* v : values) {
      bool has_own = false;
      for_each_name(*v, [&](const std::string& name) { has_own |= own.contains(name); });
      if (!has_own) continue;
      ValueType type = v->type();
      for (Dim& d : *type.shape)
        if (own.contains(d.symbol)) d.symbol.clear();
      v->set_type(std::move(type));
    }
  }
  void restore() {
    for (size_t i = 0; i < declared_.size(); ++i)
      if (Value* v = graph_.outputs()[i]; !v->is_graph_input()) v->set_type(declared_[i]);
  }

 private:
  template <class F>
  static void for_each_name(const Value& v, const F& f) {
    if (!v.type().shape) return;
    for (const Dim& d : *v.type().shape)
      if (!d.value && !d.symbol.empty()) f(d.symbol);
  }

  Graph& graph_;
  std::vector<ValueType> declared_;
};

// Whether the model says itself what operators of com.microsoft do: what passes would write means
// something else.
bool defines_extended(const Model& model) {
  return std::ranges::any_of(model.functions,
                             [](const Function& f) { return f.domain == "com.microsoft"; });
}

void remove_unused_below(Graph& graph) {
  for (const Node& n : graph.nodes())
    n.for_each_subgraph([](Graph& sub) { remove_unused_below(sub); });
  remove_unused_values(graph);
}

}  // namespace

bool has_opset(const Node& node, int version, const PassContext& context) {
  if (node.graph().model().opset("") >= version) return true;
  if (version <= context.allowed_opset)
    context.state->wanted_opset = std::max(context.state->wanted_opset, version);
  return false;
}

std::vector<PassReport> run_passes(Model& model, std::span<const PassInfo* const> passes,
                                   const PassContext& context) {
  std::vector<PassReport> reports;
  for (const PassInfo* pass : passes) reports.push_back({pass->name, 0, 0});
  static const Selector kNone;
  const Pins pins(model, context.keep ? *context.keep : kNone);
  const bool basic_only = defines_extended(model);
  PassContext allowed = context;
  PassState own;
  if (!allowed.state) allowed.state = &own;
  PassState& state = *allowed.state;
  state.refused_growth = false;
  state.savings_bytes = 0;
  state.opset_obstacle.clear();
  if (basic_only) allowed.ort_cpu = false;
  const int64_t bytes_before = context.folder ? size_in_file(model.graph()).bytes : 0;
  bool savings_spent = !context.folder;
  Run run{allowed};
  Promises promises(model.graph());
  if (context.provenance) run.provenance.emplace(model);
  // Bodies of local functions are left alone: there an attribute can stand for one of the caller's
  // (Attribute::ref) and opsets are the function's own, so no rule can tell what a node does.
  bool again = true;
  Level level = Level::kBasic;
  const bool extended = !basic_only && std::ranges::any_of(passes, [](const PassInfo* p) {
    return p->level > Level::kBasic;
  });
  for (int sweep = 0; again; ++sweep) {
    ONNXTOOL_CHECK(sweep < kMaxSweeps);
    again = false;
    state.wanted_opset = 0;
    // What one sweep folded tells types that the next one needs. Contradictions are no news here:
    // whoever loaded or checked the model has been told.
    [[maybe_unused]] const bool consistent = infer_graph_naming_dims(model.graph()).ok();
    const auto sweep_through = [&](bool last) {
      for (size_t i = 0; i < passes.size(); ++i) {
        if (passes[i]->last != last) continue;
        if (allowed.on_progress)
          allowed.on_progress(static_cast<int64_t>(i), static_cast<int64_t>(passes.size()));
        if (passes[i]->level > level) continue;
        const auto start = std::chrono::steady_clock::now();
        const int fired = apply(model.graph(), *passes[i], run);
        reports[i].fired += fired;
        reports[i].time_ms +=
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                .count();
        again |= fired > 0;
      }
    };
    const auto spend_savings = [&] {
      if (again || !state.refused_growth || savings_spent) return;
      savings_spent = true;
      const int64_t saved = bytes_before - size_in_file(model.graph()).bytes;
      state.savings_bytes = std::clamp<int64_t>(saved, 0, bytes_before / kSpentShare);
      allowed.max_growth_bytes += state.savings_bytes;
      again = saved > 0;
    };
    sweep_through(/*last=*/false);
    spend_savings();
    if (!again && !run.exhausted()) again = raise_opset(model, passes, allowed, pins);
    if (!again && extended && level == Level::kBasic) {
      level = Level::kAll;
      again = true;
    }
    if (!again && !run.exhausted()) {
      promises.restore();  // some of these give names
      sweep_through(/*last=*/true);
      spend_savings();
      if (again) promises.hide();
    }
  }
  state.running = nullptr;
  if (run.provenance) run.provenance->write(model);
  promises.restore();
  forget_invented_dims(model.graph());
  remove_unused_below(model.graph());
  return reports;
}

void remove_unused_values(Graph& graph) {
  for (Value* v : graph.initializers())
    if (v->unused() && !v->is_graph_input()) graph.erase_value(*v);
}

}  // namespace onnxtool
