#include "calib/compare/layers.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "calib/compare/energy.h"
#include "calib/compare/keep.h"
#include "calib/data/arrays.h"
#include "libopt/analysis/qdq.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

// How many bytes each layer has.
class Measure final : public Observer {
 public:
  explicit Measure(size_t count) : bytes(count, 0) {}
  Status observe(int watch, const ConstView& v) override {
    if (is_float(v.dtype))
      bytes[static_cast<size_t>(watch)] = size_bytes_of(v.dtype, static_cast<uint64_t>(v.count));
    return {};
  }
  std::vector<uint64_t> bytes;
};

// The numbers that codes stand for.
Tensor decoded(const ConstView& v, const CodeParams& codes) {
  std::vector<float> out(static_cast<size_t>(v.count));
  for (size_t i = 0; i < out.size(); ++i) {
    const int code = v.dtype == DataType::kUint8 ? int{static_cast<const uint8_t*>(v.data)[i]}
                                                 : int{static_cast<const int8_t*>(v.data)[i]};
    out[i] = static_cast<float>((code - codes.zero_point) * codes.scale);
  }
  return Tensor::from({v.dims.begin(), v.dims.end()}, out);
}

// Codes of numbers: half to even, saturated, as QuantizeLinear. NaN becomes the zero point.
Tensor encoded(const Tensor& values, DataType type, const CodeParams& codes) {
  const double low = type == DataType::kUint8 ? 0 : -128, high = low + 255;
  std::vector<std::byte> out;
  for (const double v : values.to_doubles()) {
    const double code =
        std::isnan(v) ? codes.zero_point : std::nearbyint(v / codes.scale) + codes.zero_point;
    out.push_back(static_cast<std::byte>(static_cast<int>(std::clamp(code, low, high)) & 0xff));
  }
  return Tensor::from_bytes(type, values.dims(), std::move(out));
}

}  // namespace

Tensor tensor_of(const ConstView& v) {
  const auto* bytes = static_cast<const std::byte*>(v.data);
  const size_t size = size_bytes_of(v.dtype, static_cast<uint64_t>(v.count));
  return Tensor::from_bytes(v.dtype, {v.dims.begin(), v.dims.end()}, {bytes, bytes + size});
}

Energy energy_of(const Tensor& reference, const ConstView& test, const CodeParams& codes) {
  if (!is_8bit(test.dtype) || codes.scale <= 0) return energy_of(view_of(reference), test);
  const Tensor numbers = decoded(test, codes);
  return energy_of(view_of(reference), view_of(numbers));
}

std::optional<Tensor> as_type(const Tensor& value, DataType type, const CodeParams& codes) {
  if (value.dtype() == type) return value;
  if (is_8bit(type))
    return codes.scale > 0 ? std::optional(encoded(value, type, codes)) : std::nullopt;
  auto converted = convert_tensor(value, type);
  return converted.ok() ? std::optional(*std::move(converted)) : std::nullopt;
}

namespace {

class Compare final : public Observer {
 public:
  Compare(Keep& reference, std::vector<CodeParams> codes, bool force)
      : energies(reference.values.size()),
        reference_(reference),
        codes_(std::move(codes)),
        force_(force) {}
  bool needs_plain() const override { return true; }
  Status observe(int watch, const ConstView& v) override {
    const auto w = static_cast<size_t>(watch);
    auto& r = reference_.values[w];
    forcing_ = nullptr;
    energies[w] = Energy();
    if (!r) return {};
    energies[w] = energy_of(*r, v, codes_[w]);
    // What takes its place has its type: kernels were chosen by it.
    if (force_ && energies[w].skipped == 0)
      r = as_type(*r, v.dtype, codes_[w]);
    else if (!force_)
      r.reset();
    if (force_ && r && energies[w].skipped == 0) forcing_ = &*r;
    return {};
  }
  const Tensor* replacement(int) override { return std::exchange(forcing_, nullptr); }
  std::vector<Energy> energies;

 private:
  Keep& reference_;
  std::vector<CodeParams> codes_;
  const Tensor* forcing_ = nullptr;
  bool force_;
};

// The 8-bit codes that a DequantizeLinear with one scale makes `value` of; nullptr: it is something
// else.
const Value* codes_behind(const Value& value) {
  const Node* dq = value.producer();
  const bool fits = dq && is_dequantize(*dq) && has_one_scale(*dq) && dq->input(0).producer() &&
                    !dq->input(0).constant() && is_8bit(dq->input(2).type().dtype) &&
                    &dq->input(0).graph() == &value.graph();
  return fits ? &dq->input(0) : nullptr;
}

// A layer that is read through DequantizeLinear is judged and replaced as codes: operators that run
// on integers read those, and each of several DequantizeLinear has the reference's value then.
std::vector<LayerPair> fed_as_codes(std::span<const LayerPair> pairs) {
  std::unordered_set<const Value*> taken;
  for (const LayerPair& p : pairs) taken.insert(p.test);
  std::vector<LayerPair> out(pairs.begin(), pairs.end());
  for (LayerPair& p : out) {
    const Value* codes = codes_behind(*p.test);
    if (!codes || !taken.insert(codes).second) continue;
    const Node& dq = *p.test->producer();
    p.codes = {dq.input(1).constant()->to_doubles()[0], dq.input(2).constant()->to_doubles()[0]};
    p.test = codes;
  }
  return out;
}

// A run over the samples: the layers that are judged, and those whose values are only passed on.
struct Pass {
  std::vector<size_t> judged, fed;  // indices of pairs, ascending
};

// Values of `graph` that the subgraphs of a node read or give on, however deep.
template <class Visit>
void visit_captured(const Node& node, const Graph& graph, const Visit& visit) {
  node.for_each_subgraph([&](Graph& g) {
    for (const Node& inner : g.nodes()) {
      for (const Value* in : inner.inputs())
        if (in && &in->graph() == &graph) visit(in);
      visit_captured(inner, graph, visit);
    }
    for (const Value* out : g.outputs())
      if (&out->graph() == &graph) visit(out);
  });
}

// The layers that the value of pairs[i] is computed from directly.
std::vector<size_t> feeders(const Value& value,
                            const std::unordered_map<const Value*, size_t>& layer_of) {
  std::vector<size_t> out;
  std::unordered_set<const Value*> seen{&value};
  std::vector<const Value*> open{&value};
  const auto visit = [&](const Value* v) {
    if (!seen.insert(v).second) return;
    if (const auto it = layer_of.find(v); it != layer_of.end())
      out.push_back(it->second);
    else
      open.push_back(v);
  };
  while (!open.empty()) {
    const Node* n = open.back()->producer();
    open.pop_back();
    if (!n) continue;
    for (const Value* in : n->inputs())
      if (in) visit(in);
    // A subgraph may read anything: what it captures feeds the node as well.
    visit_captured(*n, n->graph(), visit);
  }
  return out;
}

std::vector<Pass> plan_passes(std::span<const LayerPair> pairs, const std::vector<uint64_t>& bytes,
                              const LayerOptions& options) {
  std::unordered_map<const Value*, size_t> layer_of;
  for (size_t i = 0; i < pairs.size(); ++i) layer_of.emplace(pairs[i].test, i);
  std::vector<Pass> passes;
  std::unordered_set<size_t> held;
  uint64_t sum = 0;
  const auto hold = [&](size_t i) {
    if (held.insert(i).second) sum += bytes[i];
  };
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (passes.empty() || sum + bytes[i] > options.budget_bytes) {
      passes.emplace_back();
      held.clear();
      sum = 0;
    }
    passes.back().judged.push_back(i);
    hold(i);
    if (options.mode == LayerMode::kLocal)
      for (const size_t f : feeders(*pairs[i].test, layer_of))
        if (!held.contains(f)) {
          hold(f);
          passes.back().fed.push_back(f);
        }
  }
  return passes;
}

std::vector<const Value*> values_of(std::span<const LayerPair> pairs,
                                    const std::vector<size_t>& indices,
                                    const Value* LayerPair::*side) {
  std::vector<const Value*> out;
  for (const size_t i : indices) out.push_back(pairs[i].*side);
  return out;
}

RunOptions of_test(RunOptions run, const std::vector<const KernelSet*>& sets) {
  if (!sets.empty()) run.kernel_sets = sets;
  return run;
}

class Comparison {
 public:
  Comparison(const Graph& reference, const Graph& test, std::span<const LayerPair> pairs,
             const InputPairing* inputs, const SampleSource& source, const RunOptions& run,
             const LayerOptions& options)
      : reference_(reference),
        test_(test),
        pairs_(options.mode == LayerMode::kLocal ? fed_as_codes(pairs)
                                                 : std::vector(pairs.begin(), pairs.end())),
        inputs_(inputs),
        run_(run),
        options_(options),
        source_(source, options.max_samples < 0 ? source.size() : options.max_samples),
        totals_(pairs.size()) {}

  Status run_all() {
    ONNXTOOL_ASSIGN(const auto bytes, measure());
    const auto passes = plan_passes(pairs_, bytes, options_);
    total_ = static_cast<int64_t>(passes.size()) * source_.size();
    for (const Pass& p : passes) ONNXTOOL_TRY(run_pass(p));
    return {};
  }

  std::vector<LayerError> result() const {
    std::vector<LayerError> out;
    for (size_t i = 0; i < pairs_.size(); ++i) {
      const Energy& e = totals_[i];
      out.push_back(
          {pairs_[i].reference->name(), e.sqnr(), e.max_abs, e.compared, e.non_finite, e.skipped});
    }
    return out;
  }

 private:
  Result<std::vector<uint64_t>> measure() {
    std::vector<size_t> all(pairs_.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = i;
    ONNXTOOL_ASSIGN(const auto side,
                    open_model_side(reference_, values_of(pairs_, all, &LayerPair::reference),
                                    nullptr, run_, {1, run_.threads}));
    ONNXTOOL_ASSIGN(const Sample sample, source_.read(0));
    Measure sizes(pairs_.size());
    if (Status s = side->run(0, 0, sample, nullptr, &sizes); !s.ok())
      return std::move(s).error().at("reference").at("sample '" + sample.id + "'");
    return sizes.bytes;
  }

  Status run_pass(const Pass& pass) {
    std::vector<size_t> watched = pass.judged;
    watched.insert(watched.end(), pass.fed.begin(), pass.fed.end());
    const Parallelism p = Parallelism::of(source_.size(), run_.threads);
    ONNXTOOL_ASSIGN(const auto reference,
                    open_model_side(reference_, values_of(pairs_, watched, &LayerPair::reference),
                                    nullptr, run_, p));
    ONNXTOOL_ASSIGN(const auto test,
                    open_model_side(test_, values_of(pairs_, watched, &LayerPair::test), inputs_,
                                    of_test(run_, options_.test_kernel_sets), p));
    std::vector<CodeParams> codes;
    for (const size_t i : watched) codes.push_back(pairs_[i].codes);
    std::mutex mutex;
    // Sums of doubles depend on their order: samples are added in theirs, and wait for their turn.
    std::map<int64_t, std::vector<Energy>> waiting;
    int64_t next = 0;
    return for_each_sample(
        source_, p.workers, [&](int worker, int64_t index, Sample sample) -> Status {
          const auto at_sample = [&](Status s, const char* side) -> Status {
            return std::move(s).error().at(side).at("sample '" + sample.id + "'");
          };
          Keep kept(watched.size(), has_floats);
          if (Status s = reference->run(worker, index, sample, nullptr, &kept); !s.ok())
            return at_sample(std::move(s), "reference");
          Compare compare(kept, codes, options_.mode == LayerMode::kLocal);
          if (Status s = test->run(worker, index, sample, nullptr, &compare); !s.ok())
            return at_sample(std::move(s), "test model");
          const std::lock_guard lock(mutex);
          waiting.emplace(index, std::move(compare.energies));
          for (auto it = waiting.find(next); it != waiting.end(); it = waiting.find(++next)) {
            for (size_t k = 0; k < pass.judged.size(); ++k)
              totals_[pass.judged[k]].add(it->second[k]);
            waiting.erase(it);
          }
          ++done_;
          if (run_.progress) run_.progress(done_, total_);
          return {};
        });
  }

  const Graph &reference_, &test_;
  std::vector<LayerPair> pairs_;
  const InputPairing* inputs_;
  const RunOptions& run_;
  const LayerOptions& options_;
  FirstSamples source_;
  std::vector<Energy> totals_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

Result<std::vector<LayerError>> compare_layers(const Graph& reference, const Graph& test,
                                               std::span<const LayerPair> pairs,
                                               const InputPairing* inputs,
                                               const SampleSource& source, const RunOptions& run,
                                               const LayerOptions& options) {
  if (pairs.empty()) return std::vector<LayerError>();
  Comparison comparison(reference, test, pairs, inputs, source, run, options);
  ONNXTOOL_TRY(comparison.run_all());
  return comparison.result();
}

}  // namespace onnxtool
