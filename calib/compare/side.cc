#include "calib/compare/side.h"

#include <algorithm>

#include "calib/data/arrays.h"
#include "calib/data/leaves.h"

namespace onnxtool {
namespace {

class ModelSide final : public Side {
 public:
  ModelSide(const Graph& graph, std::shared_ptr<const Plan> plan, const InputPairing* inputs,
            int workers) {
    for (const Value* v : graph.outputs())
      outputs_.push_back({v->name(), leaf_type(v->type()), is_container(v->type())});
    for (int i = 0; i < workers; ++i) contexts_.emplace_back(plan);
    if (inputs) inputs_ = *inputs;
    mapped_ = inputs != nullptr;
  }

  const std::vector<OutputInfo>& outputs() const override { return outputs_; }

  Status run(int worker, int64_t, const Sample& sample, std::vector<Datum>* outputs,
             Observer* observer) override {
    RunContext& context = contexts_[static_cast<size_t>(worker)];
    if (!mapped_) return context.run_data(as_data(sample.inputs), outputs, observer);
    std::vector<Tensor> inputs;
    for (size_t i = 0; i < inputs_.sample_input.size(); ++i) {
      Tensor t = sample.inputs[inputs_.sample_input[i]];
      if (const DataType to = inputs_.convert_to[i];
          to != DataType::kUndefined && to != t.dtype()) {
        ONNXTOOL_ASSIGN(t, convert_tensor(std::move(t), to));
      }
      inputs.push_back(std::move(t));
    }
    return context.run_data(as_data(inputs), outputs, observer);
  }

 private:
  std::vector<OutputInfo> outputs_;
  std::vector<RunContext> contexts_;
  InputPairing inputs_;
  bool mapped_ = false;
};

std::string list_of(const std::vector<InputInfo>& inputs) {
  std::string out;
  for (const InputInfo& i : inputs)
    out += (out.empty() ? "'" : ", '") + i.name + "' " + format_type(i.type);
  return out.empty() ? "none" : out;
}

bool may_stand_for(const InputInfo& a, const InputInfo& b) {
  if (!a.type.is_tensor() || !b.type.is_tensor() || !may_convert(a.type.dtype, b.type.dtype))
    return false;
  const auto &x = a.type.shape, &y = b.type.shape;
  if (!x || !y) return true;
  return std::equal(x->begin(), x->end(), y->begin(), y->end(), [](const Dim& d, const Dim& e) {
    return !d.value || !e.value || *d.value == *e.value;
  });
}

}  // namespace

std::vector<InputInfo> inputs_of(const Graph& graph) {
  std::vector<InputInfo> out;
  for (const Value* v : graph.inputs())
    if (!v->initializer()) out.push_back({v->name(), v->type()});
  return out;
}

Result<InputPairing> pair_inputs(const Graph& reference, const Graph& test) {
  return pair_inputs(inputs_of(reference), test);
}

Result<InputPairing> pair_inputs(const std::vector<InputInfo>& ours, const Graph& test) {
  const auto theirs = inputs_of(test);
  const auto fail = [&](const std::string& what) {
    return Error{
        ErrorCode::kMismatch,
        what + "; the reference takes " + list_of(ours) + ", the second model " + list_of(theirs),
        "both models must take the same samples"};
  };
  InputPairing out;
  const auto by_name = [&](const InputInfo& i) {
    return std::find_if(ours.begin(), ours.end(),
                        [&](const InputInfo& o) { return o.name == i.name; });
  };
  const bool named = std::all_of(theirs.begin(), theirs.end(),
                                 [&](const InputInfo& i) { return by_name(i) != ours.end(); });
  if (!named && ours.size() != theirs.size()) return fail("inputs do not correspond");
  for (const InputInfo& o : ours)
    if (named && std::none_of(theirs.begin(), theirs.end(),
                              [&](const InputInfo& i) { return i.name == o.name; }))
      out.notes.push_back("input '" + o.name +
                          "' of the reference is none of the second model: not given to it");
  for (size_t i = 0; i < theirs.size(); ++i) {
    const size_t at = named ? static_cast<size_t>(by_name(theirs[i]) - ours.begin()) : i;
    if (!may_stand_for(ours[at], theirs[i]))
      return fail("input '" + theirs[i].name + "' cannot take what '" + ours[at].name + "' takes");
    if (!named && ours[at].name != theirs[i].name)
      out.notes.push_back("input '" + theirs[i].name + "' stands for '" + ours[at].name +
                          "' by its position");
    const DataType from = ours[at].type.dtype, to = theirs[i].type.dtype;
    if (from != to)
      out.notes.push_back("input '" + theirs[i].name + "' is " + std::string(name(to)) + ", but " +
                          std::string(name(from)) + " in the reference: samples are converted");
    out.sample_input.push_back(at);
    out.convert_to.push_back(from != to ? to : DataType::kUndefined);
  }
  return out;
}

Parallelism Parallelism::of(int64_t samples, int threads) {
  const int workers = static_cast<int>(std::clamp<int64_t>(samples, 1, std::max(threads, 1)));
  return {workers, workers > 1 ? 1 : threads};
}

Result<std::unique_ptr<Side>> open_model_side(const Graph& graph, std::vector<const Value*> watched,
                                              const InputPairing* inputs, const RunOptions& run,
                                              Parallelism parallelism) {
  PlanOptions options;
  options.watched = std::move(watched);
  options.kernel_sets = run.kernel_sets;
  options.threads = parallelism.inside;
  options.max_iterations = run.max_iterations;
  ONNXTOOL_ASSIGN(auto plan, Plan::compile(graph, options));
  return std::unique_ptr<Side>(
      std::make_unique<ModelSide>(graph, std::move(plan), inputs, parallelism.workers));
}

OutputPairing pair_outputs(std::span<const OutputInfo> reference,
                           std::span<const OutputInfo> test) {
  OutputPairing out;
  std::vector<size_t> left_reference, left_test;
  std::vector<bool> taken(test.size(), false);
  for (size_t i = 0; i < reference.size(); ++i) {
    const auto it = std::find_if(test.begin(), test.end(),
                                 [&](const OutputInfo& o) { return o.name == reference[i].name; });
    if (it == test.end()) {
      left_reference.push_back(i);
      continue;
    }
    taken[static_cast<size_t>(it - test.begin())] = true;
    out.pairs.push_back({i, static_cast<size_t>(it - test.begin())});
  }
  for (size_t i = 0; i < test.size(); ++i)
    if (!taken[i]) left_test.push_back(i);
  const auto alike = [&](const OutputInfo& a, const OutputInfo& b) {
    return a.container == b.container &&
           (a.dtype == b.dtype || (is_float(a.dtype) && is_float(b.dtype)));
  };
  bool positions = left_reference.size() == left_test.size();
  for (size_t k = 0; positions && k < left_test.size(); ++k)
    positions = alike(reference[left_reference[k]], test[left_test[k]]);
  for (size_t k = 0; positions && k < left_test.size(); ++k) {
    out.pairs.push_back({left_reference[k], left_test[k]});
    out.notes.push_back("output '" + test[left_test[k]].name + "' stands for '" +
                        reference[left_reference[k]].name + "' by its position");
  }
  std::sort(out.pairs.begin(), out.pairs.end(),
            [](const OutputPair& a, const OutputPair& b) { return a.reference < b.reference; });
  if (positions) return out;
  for (const size_t i : left_reference) out.missing.push_back(reference[i].name);
  for (const size_t i : left_test) out.extra.push_back(test[i].name);
  return out;
}

ConstView view_of(const Tensor& t) {
  return {t.dtype(), t.dims(),
          t.dtype() == DataType::kString ? static_cast<const void*>(t.strings().data())
                                         : t.bytes().data(),
          t.count()};
}

}  // namespace onnxtool
