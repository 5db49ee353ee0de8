#include "calib/compare/kept_reference.h"

#include <algorithm>
#include <mutex>

namespace onnxtool {
namespace {

// Runs another side and keeps what it gives, as long as that is tensors that fit.
class Keeper final : public Side {
 public:
  Keeper(Side& side, int64_t samples, uint64_t most_bytes)
      : side_(side), kept_(static_cast<size_t>(samples)), most_bytes_(most_bytes) {}

  const std::vector<OutputInfo>& outputs() const override { return side_.outputs(); }
  Status run(int worker, int64_t index, const Sample& sample, std::vector<Datum>* outputs,
             Observer* observer) override {
    ONNXTOOL_TRY(side_.run(worker, index, sample, outputs, observer));
    const std::lock_guard lock(mutex_);
    for (const Datum& d : *outputs) {
      fits_ = fits_ && d.is_tensor();
      if (fits_) bytes_ += d.tensor().size_bytes();
    }
    fits_ = fits_ && bytes_ <= most_bytes_;
    if (fits_)
      kept_[static_cast<size_t>(index)] = *outputs;
    else
      kept_.clear();
    return {};
  }

  /// Empty where they do not fit.
  std::vector<std::vector<Datum>> take() { return fits_ ? std::move(kept_) : decltype(kept_)(); }

 private:
  Side& side_;
  std::mutex mutex_;
  std::vector<std::vector<Datum>> kept_;
  uint64_t most_bytes_, bytes_ = 0;
  bool fits_ = true;
};

class KeptSide final : public Side {
 public:
  KeptSide(const std::vector<OutputInfo>& outputs, const std::vector<std::vector<Datum>>& kept,
           const SpreadSamples& some)
      : outputs_(outputs), kept_(kept), some_(some) {}

  const std::vector<OutputInfo>& outputs() const override { return outputs_; }
  Status run(int, int64_t index, const Sample&, std::vector<Datum>* outputs, Observer*) override {
    *outputs = kept_[static_cast<size_t>(some_.place(index))];
    return {};
  }

 private:
  const std::vector<OutputInfo>& outputs_;
  const std::vector<std::vector<Datum>>& kept_;
  const SpreadSamples& some_;
};

}  // namespace

KeptReference::KeptReference(const Graph& graph, const SampleSource& samples, const RunOptions& run,
                             uint64_t most_bytes)
    : graph_(graph), samples_(samples), run_(run), most_bytes_(most_bytes) {}

Result<ModelComparison> KeptReference::compare(const Graph& test, int64_t count,
                                               const ComparisonOptions& options) {
  ONNXTOOL_CHECK(options.max_samples < 0);  // else some of what is kept would be missing
  const SpreadSamples some(samples_, count);
  const Parallelism parallelism = Parallelism::of(some.size(), run_.threads);
  const std::vector<InputInfo> inputs = inputs_of(graph_);
  if (!kept_.empty()) {
    KeptSide side(outputs_, kept_, some);
    return compare_to(side, inputs, test, some, parallelism, run_, options);
  }
  ONNXTOOL_ASSIGN(const auto side, open_model_side(graph_, {}, nullptr, run_, parallelism));
  if (some.size() < samples_.size())
    return compare_to(*side, inputs, test, some, parallelism, run_, options);
  Keeper keeper(*side, samples_.size(), most_bytes_);
  ONNXTOOL_ASSIGN(ModelComparison compared,
                  compare_to(keeper, inputs, test, some, parallelism, run_, options));
  outputs_ = side->outputs();
  kept_ = keeper.take();
  return compared;
}

}  // namespace onnxtool
