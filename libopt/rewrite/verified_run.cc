// run_verified(): passes, and the proof that what they made is the same model.
#include <algorithm>

#include "libopt/analysis/seam.h"
#include "libopt/rewrite/driver.h"

namespace onnxtool {
namespace {

// One attempt of run_verified(): all passes of a list, and what is wrong with the result.
class VerifiedAttempt {
 public:
  VerifiedAttempt(const Model& original, std::span<const PassInfo* const> passes,
                  const PassContext& context)
      : original_(original),
        passes_(passes),
        context_(context),
        grown_before_(context.state ? context.state->grown_bytes : 0) {}

  std::vector<PassReport> run(Model& model) {
    std::vector<PassReport> reports = run_passes(model, passes_, context_);
    for (size_t i = 0; i < passes_.size(); ++i) {
      rewrites_ += reports[i].fired;
      if (!reports[i].fired) continue;
      exactness_ = std::max(exactness_, passes_[i]->exactness);
      if (passes_[i]->exactness == Exactness::kStep) step_ = passes_[i];
    }
    return reports;
  }
  int64_t rewrites() const { return rewrites_; }
  Exactness exactness() const { return exactness_; }
  /// A pass that fired and is allowed a step of integer codes; nullptr: none.
  const PassInfo* step() const { return step_; }

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
    PassState state{.grown_bytes = grown_before_};
    again.state = &state;
    again.max_rewrites = count;
    again.on_near_miss = nullptr;
    again.on_progress = nullptr;
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
  const PassInfo* step_ = nullptr;
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
  const int64_t grown_before = context.state ? context.state->grown_bytes : 0;
  VerifiedRun result;
  const auto leave_out = [&](Breach breach) {
    std::erase_if(chosen, [&](const PassInfo* p) { return p->name == breach.pass; });
    result.dropped.push_back(std::move(breach));
    if (context.state) context.state->grown_bytes = grown_before;
    model = original->clone();
  };
  for (;;) {
    VerifiedAttempt attempt(*original, chosen, context);
    result.passes = attempt.run(*model);
    const bool converted = changed || model->opset("") != original->opset("");
    if (attempt.rewrites() == 0 && !converted) return result;
    if (std::string wrong = contradiction_in(*model); !wrong.empty()) {
      Breach breach = attempt.culprit(contradiction_in, std::move(wrong), changed);
      if (std::ranges::find(chosen, breach.pass, &PassInfo::name) == chosen.end()) {
        result.breach = std::move(breach);
        return result;
      }
      breach.difference =
          "it brings to light that types contradict each other: " + breach.difference;
      leave_out(std::move(breach));
      continue;
    }
    if (!verifier) return result;
    const Exactness exactness =
        converted ? std::max(Exactness::kRounding, attempt.exactness()) : attempt.exactness();
    result.verification = verifier->verify(*model, exactness);
    if (result.verification->equal) return result;
    if (const PassInfo* step = attempt.step()) {
      // Without it the model is what the runtime makes the same of by itself.
      leave_out({step->name,
                 {},
                 "results are too many steps away: " + result.verification->difference,
                 0});
      continue;
    }
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
    return result;
  }
}

}  // namespace onnxtool
