#include "calib/compare/verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <new>
#include <optional>

#include "calib/compare/difference.h"
#include "calib/compare/oracle.h"
#include "calib/compare/runnable.h"
#include "calib/compare/trial_inputs.h"
#include "calib/data/leaves.h"
#include "calib/exec/plan.h"

namespace onnxtool {
namespace {

// By name; of sequences and maps each tensor by its path.
using Outputs = std::map<std::string, Tensor>;

// One side, ready to run.
class Side {
 public:
  static Result<Side> of(const Model& model, const PlanOptions& options) {
    ONNXTOOL_ASSIGN(auto plan, Plan::compile(model.graph(), options));
    return Side(std::move(plan));
  }
  /// With the options that it was made runnable for, or those of the portable kernels.
  static Result<Side> of(const Runnable& r, const PlanOptions& options, bool portable) {
    if (r.plan && !portable) return Side(r.plan);
    return of(*r.model, options);
  }
  Result<Outputs> run(const std::vector<std::string>& names, const std::vector<Tensor>& values) {
    std::vector<Tensor> inputs;
    std::vector<Datum> results;
    for (const std::string& wanted : plan_->input_names()) {
      const auto at = std::ranges::find(names, wanted);
      if (at == names.end())
        return Error{ErrorCode::kMismatch, "input '" + wanted + "' is new", {}};
      inputs.push_back(values[static_cast<size_t>(at - names.begin())]);
    }
    ONNXTOOL_TRY(context_.run_data(as_data(inputs), &results));
    Outputs out;
    for (size_t i = 0; i < results.size(); ++i)
      for (Leaf& leaf : leaves_of(plan_->output_names()[i], results[i])) {
        if (leaf.keys) out[leaf.path + ".keys"] = *std::move(leaf.keys);
        out[leaf.path] = std::move(leaf.values);
      }
    return out;
  }

 private:
  explicit Side(std::shared_ptr<const Plan> plan) : plan_(plan), context_(std::move(plan)) {}
  std::shared_ptr<const Plan> plan_;
  RunContext context_;
};

// The least precise type that the model computes in: half precision or quantized values inside make
// float results no better than they are.
DataType coarsest_type(const Graph& graph) {
  DataType coarsest = DataType::kFloat;
  for (const Value* v : graph.values())
    if (v->type().is_tensor() && relative_unit(v->type().dtype) > relative_unit(coarsest))
      coarsest = v->type().dtype;
  for (const Node& n : graph.nodes()) {
    // 8-bit integers are pixels too; a quantizer says that they are rounded values.
    if (n.is("QuantizeLinear") || n.is("DynamicQuantizeLinear")) return kQuantized;
    n.for_each_subgraph([&](const Graph& sub) {
      if (const DataType t = coarsest_type(sub); relative_unit(t) > relative_unit(coarsest))
        coarsest = t;
    });
  }
  return coarsest;
}

class ExecutingVerifier final : public Verifier {
 public:
  ExecutingVerifier(const Model& original, const VerifierOptions& options)
      : options_(options),
        nodes_(static_cast<int64_t>(original.graph().num_nodes())),
        original_(make_runnable(original, comparison_plan(options.threads, false))),
        unit_(relative_unit(coarsest_type(original_.model->graph()))) {}

  Verification verify(Model& rewritten, Exactness exactness) override {
    Verification v;
    v.unverified_nodes = original_.cut;
    const Runnable after = make_runnable(rewritten, comparison_plan(options_.threads, false));
    for (const std::string& obstacle : {original_.obstacle, after.obstacle})
      if (!obstacle.empty()) return unverified(std::move(v), obstacle);
    if (after.cut != original_.cut)
      return unverified(std::move(v),
                        fmt::format("{} nodes of the original cannot be run, and {} of the result",
                                    original_.cut, after.cut));
    const auto trial = TrialInputs::of(*original_.model);
    if (!trial.ok()) return unverified(std::move(v), trial.error().message);
    compare(after, *trial, exactness, /*portable=*/false, v);
    if (!v.equal && exactness == Exactness::kExact) {
      Verification again;
      again.unverified_nodes = v.unverified_nodes;
      compare(after, *trial, exactness, /*portable=*/true, again);
      v = std::move(again);
    }
    if (v.equal && !v.compared_anything() && v.obstacle.empty())
      v.obstacle = "the original fails on every set of inputs";
    if (!v.compared_anything() && v.equal) return unverified(std::move(v), v.obstacle);
    return v;
  }

 private:
  Verification unverified(Verification v, std::string why) const {
    v.obstacle = std::move(why);
    v.elements = 0;
    v.unverified_nodes = nodes_;
    return v;
  }

  void compare(const Runnable& after, const TrialInputs& trial, Exactness exactness, bool portable,
               Verification& v) {
    const PlanOptions plan = comparison_plan(options_.threads, portable);
    auto first = Side::of(original_, plan, portable);
    if (!first.ok()) {
      v.obstacle = first.error().message;
      return;
    }
    auto second = Side::of(after, plan, portable);
    if (!second.ok())
      return breach(v, "the rewritten model cannot be run: " + second.error().message);
    const bool exact = exactness == Exactness::kExact;
    v.basis = exact                               ? "bit by bit"
              : exactness == Exactness::kRounding ? "up to rounding"
                                                  : "up to steps of integers";
    std::unique_ptr<Side> oracle;
    bool no_oracle = false;
    int spent = 0;
    for (int attempt = 0; attempt < options_.max_attempts && v.inputs < options_.wanted_inputs &&
                          spent <= options_.max_inferences - 2;
         ++attempt) {
      if (options_.on_progress) options_.on_progress(v.inputs, options_.wanted_inputs);
      // Every second set has edges; where rounding may move, only finite ones: an overflow that
      // comes earlier or later is no fault.
      std::vector<Tensor> inputs = trial.make(attempt, attempt % 2 == 1, exact);
      // Not among the first two, since NaN of one row hides what follows it.
      if (attempt % 4 == 2) trial.hide_last_rows(inputs);
      const auto before = first->run(trial.names(), inputs);
      const std::string unfit = before.ok() ? undeclared(*before) : before.error().message;
      if (!unfit.empty()) {
        ++v.discarded;
        v.obstacle = unfit;
        continue;
      }
      v.breach_inputs = named(trial.names(), inputs);
      const auto now = second->run(trial.names(), inputs);
      // Lack of memory says nothing about a model.
      if (!now.ok() && now.error().code == ErrorCode::kOutOfMemory) throw std::bad_alloc();
      if (!now.ok()) return breach(v, "the rewritten model fails: " + now.error().message);
      spent += 2;
      std::optional<Outputs> truth;
      bool unaffordable = false;
      const auto ask_oracle = [&]() -> const Outputs* {
        if (truth || no_oracle) return truth ? &*truth : nullptr;
        if (!oracle) oracle = make_oracle(plan);
        no_oracle = !oracle;
        unaffordable = oracle && spent > options_.max_inferences - 2;
        if (!oracle || unaffordable) return nullptr;
        spent += 2;
        auto run = oracle->run(trial.names(), widened(inputs));
        no_oracle = !run.ok();
        if (run.ok()) truth = *std::move(run);
        return truth ? &*truth : nullptr;
      };
      Verification set;
      compare_outputs(*before, *now, exactness, ask_oracle, set);
      if (unaffordable) break;
      ++v.inputs;
      v.elements += set.elements;
      if (!set.equal) return breach(v, std::move(set.difference));
    }
    v.breach_inputs.clear();
    if (v.elements > 0) v.obstacle.clear();
  }

  static std::vector<NamedTensor> named(const std::vector<std::string>& names,
                                        const std::vector<Tensor>& values) {
    std::vector<NamedTensor> out;
    for (size_t i = 0; i < names.size(); ++i) out.push_back({names[i], values[i]});
    return out;
  }

  // Why these are no outputs that the model means to give; empty: they are as declared.
  std::string undeclared(const Outputs& outputs) const {
    for (const Value* o : original_.model->graph().outputs()) {
      const auto at = outputs.find(o->name());
      const auto& shape = o->type().shape;
      if (at == outputs.end() || !shape) continue;
      bool fits = shape->size() == at->second.dims().size();
      for (size_t i = 0; fits && i < shape->size(); ++i)
        fits = !(*shape)[i].value || *(*shape)[i].value == at->second.dims()[i];
      if (!fits)
        return fmt::format("output '{}' is {}, declared as {}", o->name(),
                           format_dims(at->second.dims()), format_type(o->type()));
    }
    return {};
  }

  template <class Ask>
  void compare_outputs(const Outputs& before, const Outputs& now, Exactness exactness,
                       Ask&& ask_oracle, Verification& v) const {
    for (const auto& [name, a] : now)
      if (!before.contains(name)) return breach(v, "output '" + name + "' is new");
    for (const auto& [name, b] : before) {
      const auto at = now.find(name);
      if (at == now.end()) return breach(v, "output '" + name + "' is gone");
      const Tensor& a = at->second;
      v.elements += b.count();
      if (a.dtype() != b.dtype() || a.dims() != b.dims())
        return breach(v, fmt::format("output '{}' is {}{}, was {}{}", name,
                                     onnxtool::name(a.dtype()), format_dims(a.dims()),
                                     onnxtool::name(b.dtype()), format_dims(b.dims())));
      std::string why = exactness == Exactness::kExact ? difference_in_bits(b, a)
                        : exactness == Exactness::kStep
                            ? difference_beyond_steps(b, a)
                            : difference_beyond_rounding(b, a, {unit_, nullptr, true});
      if (exactness == Exactness::kRounding && !why.empty()) {
        const Outputs* truth = ask_oracle();
        const auto t = truth ? truth->find(name) : Outputs::const_iterator();
        const bool judged = truth && t != truth->end() && t->second.dims() == b.dims();
        why = difference_beyond_rounding(b, a, {unit_, judged ? &t->second : nullptr, false});
      }
      if (!why.empty()) return breach(v, "output '" + name + "': " + why);
    }
  }

  std::unique_ptr<Side> make_oracle(const PlanOptions& plan) const {
    const auto wide = in_double_precision(*original_.model);
    if (!wide.ok()) return nullptr;
    auto side = Side::of(**wide, plan);
    return side.ok() ? std::make_unique<Side>(*std::move(side)) : nullptr;
  }

  static void breach(Verification& v, std::string difference) {
    v.equal = false;
    v.difference = std::move(difference);
  }

  VerifierOptions options_;
  int64_t nodes_;  // of the original, cut or not
  Runnable original_;
  double unit_;
};

}  // namespace

VerifierOptions quick_verification(int threads) { return {3, 8, 8, threads, {}}; }
VerifierOptions full_verification(int threads) {
  return {16, 32, std::numeric_limits<int>::max(), threads, {}};
}

std::unique_ptr<Verifier> make_verifier(const Model& original, const VerifierOptions& options) {
  return std::make_unique<ExecutingVerifier>(original, options);
}

}  // namespace onnxtool
