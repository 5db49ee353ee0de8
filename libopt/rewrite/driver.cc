#include "libopt/rewrite/driver.h"

#include <algorithm>
#include <chrono>

#include "libopt/analysis/seam.h"
#include "libopt/convert/convert_opset.h"
#include "libopt/io/encode.h"
#include "libopt/rewrite/pins.h"

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

// What the nodes and the constants that something reads take in a file.
int64_t bytes_of(const Graph& graph) {
  int64_t bytes = 0;
  for (const Node& n : graph.nodes()) {
    bytes += static_cast<int64_t>(encode_node(n, /*with_subgraphs=*/false).size());
    n.for_each_subgraph([&](Graph& sub) { bytes += bytes_of(sub); });
  }
  for (const Value* v : graph.initializers())
    if (!v->unused() || v->is_graph_input())
      bytes += static_cast<int64_t>(encode_tensor(v->name(), *v->initializer()).size());
  return bytes;
}

int64_t nodes_of(const Graph& graph) {
  int64_t nodes = static_cast<int64_t>(graph.num_nodes());
  for (const Node& n : graph.nodes())
    n.for_each_subgraph([&](Graph& sub) { nodes += nodes_of(sub); });
  return nodes;
}

// What all passes of a run share.
struct Run {
  const PassContext& context;
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
  pass.run_graph(graph, may_rewrite);
  return fired;
}

// How often the pass fired in the graph and its subgraphs.
int apply(Graph& graph, const PassInfo& pass, Run& run) {
  run.context.running = &pass;
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
    const bool changed = pass.run(*node, rewriter, run.context);
    ONNXTOOL_CHECK(changed || rewriter.edits() == 0);
    rewriter.sweep();
    if (!changed) continue;
    ++fired;
    ++run.rewrites;
    if (run.context.on_rewrite) run.context.on_rewrite(pass, called);
  }
  return fired;
}

// Whether the model says itself what operators of com.microsoft do: what passes would write means
// something else.
bool defines_extended(const Model& model) {
  return std::ranges::any_of(model.functions,
                             [](const Function& f) { return f.domain == "com.microsoft"; });
}

struct Size {
  int64_t nodes, bytes;
};

Size size_of(const Model& model) {
  Size size{0, 0};
  const auto add = [&](const Graph& graph) {
    size.bytes += bytes_of(graph);
    size.nodes += nodes_of(graph);
  };
  add(model.graph());
  for (const Function& f : model.functions) add(*f.body);
  return size;
}

// Why the model is not raised; empty: it can be, and what the passes then find makes up for what
// the conversion adds.
std::string raise_obstacle(const Model& model, int wanted, std::span<const PassInfo* const> passes,
                           const PassContext& context, const Pins& pins) {
  if (std::string kept = pins.raise_obstacle(wanted); !kept.empty()) return kept;
  const std::unique_ptr<Model> raised = model.clone();
  if (const auto converted = convert_opset(*raised, wanted); !converted.ok())
    return converted.error().message;
  PassContext trial = context;
  trial.allowed_opset = 0;
  trial.keep = nullptr;  // the clone's pinned nodes are disguised already
  trial.max_rewrites = -1;
  trial.on_rewrite = nullptr;
  trial.on_near_miss = nullptr;
  run_passes(*raised, passes, trial);
  const Size before = size_of(model), after = size_of(*raised);
  const int64_t left = std::max<int64_t>(context.max_growth_bytes - context.grown_bytes, 0);
  if (after.nodes <= before.nodes && after.bytes <= before.bytes + left) return {};
  return "at ai.onnx " + std::to_string(wanted) + " the model would be larger: " +
         std::to_string(after.nodes) + " nodes and " + std::to_string(after.bytes) +
         " bytes, not " + std::to_string(before.nodes) + " and " + std::to_string(before.bytes);
}

// Whether to look again: matches wait for operators of a later version. Where the latest that they
// wait for is out of reach, the next sweep asks for an earlier one.
bool raise_opset(Model& model, std::span<const PassInfo* const> passes, PassContext& context,
                 const Pins& pins) {
  const int wanted = context.wanted_opset;
  if (wanted <= model.opset("")) return false;
  std::string obstacle = raise_obstacle(model, wanted, passes, context, pins);
  if (obstacle.empty()) return convert_opset(model, wanted).ok();
  if (context.opset_obstacle.empty()) context.opset_obstacle = std::move(obstacle);
  context.allowed_opset = wanted - 1;
  return context.allowed_opset > model.opset("");
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
    context.wanted_opset = std::max(context.wanted_opset, version);
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
  if (basic_only) allowed.ort_cpu = false;
  const int64_t bytes_before = context.folder ? bytes_of(model.graph()) : 0;
  bool savings_spent = !context.folder;
  Run run{allowed};
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
    allowed.wanted_opset = 0;
    // What one sweep folded tells types that the next one needs. Contradictions are no news here:
    // whoever loaded or checked the model has been told.
    [[maybe_unused]] const bool consistent = infer_graph_naming_dims(model.graph()).ok();
    for (size_t i = 0; i < passes.size(); ++i) {
      if (passes[i]->level > level) continue;
      const auto start = std::chrono::steady_clock::now();
      const int fired = apply(model.graph(), *passes[i], run);
      reports[i].fired += fired;
      reports[i].time_ms +=
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
              .count();
      again |= fired > 0;
    }
    if (!again && allowed.refused_growth && !savings_spent) {
      savings_spent = true;
      const int64_t saved = bytes_before - bytes_of(model.graph());
      allowed.max_growth_bytes += std::clamp<int64_t>(saved, 0, bytes_before / kSpentShare);
      again = saved > 0;
    }
    if (!again && !run.exhausted()) again = raise_opset(model, passes, allowed, pins);
    if (!again && extended && level == Level::kBasic) {
      level = Level::kAll;
      again = true;
    }
  }
  context.grown_bytes = allowed.grown_bytes;
  context.opset_obstacle = allowed.opset_obstacle;
  forget_invented_dims(model.graph());
  remove_unused_below(model.graph());
  return reports;
}

namespace {

// One attempt of run_verified(): all passes of a list, and what is wrong with the result.
class VerifiedAttempt {
 public:
  VerifiedAttempt(const Model& original, std::span<const PassInfo* const> passes,
                  const PassContext& context)
      : original_(original),
        passes_(passes),
        context_(context),
        grown_before_(context.grown_bytes) {}

  std::vector<PassReport> run(Model& model) {
    std::vector<PassReport> reports = run_passes(model, passes_, context_);
    for (size_t i = 0; i < passes_.size(); ++i) {
      rewrites_ += reports[i].fired;
      if (reports[i].fired && passes_[i]->exactness == Exactness::kRounding)
        exactness_ = Exactness::kRounding;
    }
    return reports;
  }
  int64_t rewrites() const { return rewrites_; }
  Exactness exactness() const { return exactness_; }

  /// The first rewrite after which `wrong` says what is wrong, found by bisection; `wrong` does so
  /// after all.
  Breach culprit(const std::function<std::string(Model&)>& wrong, std::string difference,
                 bool changed_before) {
    Breach breach{{}, {}, std::move(difference), 0};
    if (changed_before && !wrong(*rerun(0, breach)).empty()) return breach;
    int64_t good = 0, bad = rewrites_;
    while (bad - good > 1) {
      const int64_t middle = good + (bad - good) / 2;
      (wrong(*rerun(middle, breach)).empty() ? good : bad) = middle;
    }
    rerun(bad, breach);
    breach.number = bad;
    return breach;
  }

  /// The model after the first `count` rewrites.
  std::unique_ptr<Model> after(int64_t count) const {
    Breach unread;
    return rerun(count, unread);
  }

 private:
  // The model after the first `count` rewrites; `breach` is told of the last.
  std::unique_ptr<Model> rerun(int64_t count, Breach& breach) const {
    PassContext again = context_;
    again.grown_bytes = grown_before_;
    again.max_rewrites = count;
    again.on_near_miss = nullptr;
    again.on_rewrite = [&](const PassInfo& pass, const std::string& node) {
      breach.pass = pass.name;
      breach.node = node;
    };
    std::unique_ptr<Model> copy = original_.clone();
    run_passes(*copy, passes_, again);
    return copy;
  }

  const Model& original_;
  std::span<const PassInfo* const> passes_;
  const PassContext& context_;
  int64_t grown_before_, rewrites_ = 0;
  Exactness exactness_ = Exactness::kExact;
};

std::string contradiction_in(Model& model) {
  const Status types = infer_graph(model.graph());
  return types.ok() ? std::string() : types.error().message;
}

}  // namespace

VerifiedRun run_verified(std::unique_ptr<Model>& model, std::span<const PassInfo* const> passes,
                         const PassContext& context, Verifier* verifier, bool changed) {
  const std::unique_ptr<Model> original = model->clone();
  std::vector<const PassInfo*> chosen(passes.begin(), passes.end());
  const int64_t grown_before = context.grown_bytes;
  VerifiedRun result;
  for (;;) {
    VerifiedAttempt attempt(*original, chosen, context);
    result.passes = attempt.run(*model);
    const bool converted = changed || model->opset("") != original->opset("");
    if (attempt.rewrites() == 0 && !converted) return result;
    if (std::string wrong = contradiction_in(*model); !wrong.empty()) {
      Breach breach = attempt.culprit(contradiction_in, std::move(wrong), changed);
      const auto guilty = std::ranges::find(chosen, breach.pass, &PassInfo::name);
      if (guilty == chosen.end()) {
        result.breach = std::move(breach);
        return result;
      }
      chosen.erase(std::remove(chosen.begin(), chosen.end(), *guilty),
                   chosen.end());  // it may stand there twice
      result.dropped.push_back(std::move(breach));
      context.grown_bytes = grown_before;
      model = original->clone();
      continue;
    }
    if (!verifier) return result;
    const Exactness exactness = converted ? Exactness::kRounding : attempt.exactness();
    result.verification = verifier->verify(*model, exactness);
    if (!result.verification->equal) {
      const auto differs = [&](Model& m) {
        const Verification v = verifier->verify(m, exactness);
        return v.equal ? std::string() : v.difference;
      };
      result.breach = attempt.culprit(differs, result.verification->difference, changed);
      if (const int64_t number = result.breach->number; number > 0) {
        result.before_breach = attempt.after(number - 1);
        result.after_breach = attempt.after(number);
        result.breach_inputs = verifier->verify(*result.after_breach, exactness).breach_inputs;
      }
    }
    return result;
  }
}

void remove_unused_values(Graph& graph) {
  for (Value* v : graph.initializers())
    if (v->unused() && !v->is_graph_input()) graph.erase_value(*v);
}

}  // namespace onnxtool
