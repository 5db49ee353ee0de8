#include "calib/compare/layers.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_set>

#include "calib/compare/energy.h"
#include "calib/compare/handover.h"
#include "calib/compare/kept_value.h"
#include "calib/compare/numbers.h"
#include "calib/exec/layout.h"
#include "libopt/analysis/qdq.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

// Elements as another type, in their order. false: this type cannot hold them.
bool convert_elements(const ConstView& from, DataType to, const CodeParams& codes, void* out) {
  const bool coded = is_8bit(to) && codes.scale > 0;
  if (!is_float(from.dtype) || !(is_float(to) || coded)) return false;
  const float scale = static_cast<float>(codes.scale);
  const auto zero_point = static_cast<int32_t>(codes.zero_point);
  const int32_t low = to == DataType::kUint8 ? 0 : -128, high = low + 255;
  Numbers<float> floats(from, {});
  Numbers<double> doubles(from, {});
  for (int64_t start = 0; start < from.count; start += kNumbersBlock) {
    const int64_t size = std::min(kNumbersBlock, from.count - start);
    if (to == DataType::kDouble) {
      std::copy_n(doubles.at(start, size), size, static_cast<double*>(out) + start);
      continue;
    }
    const float* x = floats.at(start, size);
    if (to == DataType::kFloat)
      std::copy_n(x, size, static_cast<float*>(out) + start);
    else if (to == DataType::kFloat16)
      vector_math().narrow_half(x, static_cast<uint16_t*>(out) + start, size);
    else if (to == DataType::kBfloat16)
      std::transform(x, x + size, static_cast<Bfloat16*>(out) + start,
                     [](float v) { return Bfloat16(v); });
    else
      vector_math().quantize8(x, {&scale, &zero_point, 0}, low, high,
                              static_cast<uint8_t*>(out) + start, size);
  }
  return true;
}

}  // namespace

Tensor tensor_of(const ConstView& v) {
  const auto* bytes = static_cast<const std::byte*>(v.data);
  const size_t size = size_bytes_of(v.dtype, static_cast<uint64_t>(v.count));
  return Tensor::from_bytes(v.dtype, {v.dims.begin(), v.dims.end()}, {bytes, bytes + size});
}

std::optional<Tensor> as_type(const Tensor& value, DataType type, const CodeParams& codes) {
  if (value.dtype() == type) return value;
  std::vector<std::byte> out(size_bytes_of(type, static_cast<uint64_t>(value.count())));
  if (!convert_elements(view_of(value), type, codes, out.data())) return std::nullopt;
  return Tensor::from_bytes(type, value.dims(), std::move(out));
}

namespace {

// Hands the reference's layers on.
class Give final : public Observer {
 public:
  Give(Handover& handover, MemoryPool& pool) : handover_(handover), pool_(pool) {}
  Status observe(int watch, const ConstView& v) override {
    if (!is_float(v.dtype)) return {};
    if (handover_.give(static_cast<size_t>(watch), KeptValue::copy_of(v, pool_))) return {};
    stopped_ = true;
    return Error{ErrorCode::kNegative, "the other run has ended", {}};
  }
  bool stopped() const { return stopped_; }

 private:
  Handover& handover_;
  MemoryPool& pool_;
  bool stopped_ = false;
};

class Compare final : public Observer {
 public:
  Compare(Handover& handover, MemoryPool& pool, std::span<const LayerPair> pairs, LayerMode mode)
      : energies(pairs.size()), handover_(handover), pool_(pool), pairs_(pairs), mode_(mode) {}

  Status observe(int watch, const ConstView& v) override {
    const auto w = static_cast<size_t>(watch);
    energies[w] = Energy();
    reference_ = handover_.take(w);
    if (!reference_) return {};
    if (reference_->layout == v.layout) {
      compare(w, v);
    } else {
      if (reference_->layout != Layout::kPlain) reference_ = plain(reference_->view());
      compare(w, v.layout != Layout::kPlain ? plain(v).view() : v);
    }
    return {};
  }

  std::optional<Replacement> replacement(int) override {
    if (!reference_) return std::nullopt;
    return Replacement{reference_->view(), reference_->memory};
  }

  std::vector<Energy> energies;

 private:
  KeptValue plain(const ConstView& v) {
    KeptValue out = KeptValue::like(v, v.dtype, pool_);
    out.layout = Layout::kPlain;
    to_plain_layout(v.data, v.layout, out.memory.get(), v.dtype, v.dims, 1);
    return out;
  }

  // Leaves the reference's value as what takes the other's place, where something does.
  void compare(size_t w, const ConstView& v) {
    energies[w] = energy_of(reference_->view(), v, pairs_[w].codes);
    if (mode_ == LayerMode::kCumulative || energies[w].skipped) {
      reference_.reset();
    } else if (reference_->dtype != v.dtype) {
      // Kernels were chosen by its type.
      KeptValue other = KeptValue::like(reference_->view(), v.dtype, pool_);
      if (convert_elements(reference_->view(), v.dtype, pairs_[w].codes, other.memory.get()))
        reference_ = std::move(other);
      else
        reference_.reset();
    }
  }

  Handover& handover_;
  MemoryPool& pool_;
  std::span<const LayerPair> pairs_;
  LayerMode mode_;
  std::optional<KeptValue> reference_;
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

std::vector<const Value*> values_of(std::span<const LayerPair> pairs,
                                    const Value* LayerPair::*side) {
  std::vector<const Value*> out;
  for (const LayerPair& p : pairs) out.push_back(p.*side);
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
    const Parallelism p = Parallelism::of(source_.size(), run_.threads);
    // Of the two runs of a sample one waits: with a thread more in both, so many compute.
    const Parallelism each{p.workers, p.inside > 1 ? p.inside + 1 : 1};
    ONNXTOOL_ASSIGN(
        reference_side_,
        open_model_side(reference_, values_of(pairs_, &LayerPair::reference), nullptr, run_, each));
    ONNXTOOL_ASSIGN(test_side_, open_model_side(test_, values_of(pairs_, &LayerPair::test), inputs_,
                                                of_test(run_, options_.test_kernel_sets), each));
    beside_ = std::vector<Beside>(static_cast<size_t>(p.workers));
    std::mutex mutex;
    // Sums of doubles depend on their order: samples are added in theirs, and wait for their turn.
    std::map<int64_t, std::vector<Energy>> waiting;
    int64_t next = 0, done = 0;
    return for_each_sample(
        source_, p.workers, [&](int worker, int64_t index, const Sample& sample) -> Status {
          auto energies = run_one(worker, index, sample);
          if (!energies.ok()) return std::move(energies).error().at("sample '" + sample.id + "'");
          const std::lock_guard lock(mutex);
          waiting.emplace(index, *std::move(energies));
          for (auto it = waiting.find(next); it != waiting.end(); it = waiting.find(++next)) {
            for (size_t k = 0; k < totals_.size(); ++k) totals_[k].add(it->second[k]);
            waiting.erase(it);
          }
          if (run_.progress) run_.progress(++done, source_.size());
          return {};
        });
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
  Result<std::vector<Energy>> run_one(int worker, int64_t index, const Sample& sample) {
    Handover handover(pairs_.size(), options_.budget_bytes);
    Give give(handover, pool_);
    Compare compare(handover, pool_, pairs_, options_.mode);
    Status reference, test;
    const auto run_reference = [&] {
      reference = reference_side_->run(worker, index, sample, nullptr, &give);
    };
    const auto run_test = [&] { test = test_side_->run(worker, index, sample, nullptr, &compare); };
    // Taking turns costs some 30 us a sample; small models take less themselves.
    Beside& beside = beside_[static_cast<size_t>(worker)];
    if (beside.last_sample_fitted)
      handover.run_in_order(run_reference, run_test);
    else
      handover.run(beside.companion, run_reference, run_test);
    beside.last_sample_fitted = handover.fits();
    if (!reference.ok() && !give.stopped()) return std::move(reference).error().at("reference");
    if (!test.ok()) return std::move(test).error().at("test model");
    return std::move(compare.energies);
  }

  const Graph &reference_, &test_;
  std::vector<LayerPair> pairs_;
  const InputPairing* inputs_;
  const RunOptions& run_;
  const LayerOptions& options_;
  FirstSamples source_;
  std::vector<Energy> totals_;
  MemoryPool pool_;  // outlives the runs that it lends to
  std::unique_ptr<Side> reference_side_, test_side_;
  // Of each worker.
  struct Beside {
    Companion companion;
    bool last_sample_fitted = false;
  };
  std::vector<Beside> beside_;
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
