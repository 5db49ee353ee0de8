#include "calib/compare/channel_errors.h"

#include <algorithm>
#include <optional>

#include "calib/compare/keep.h"

namespace onnxtool {
namespace {

bool has_channels(const ConstView& v) {
  return v.dtype == DataType::kFloat && v.dims.size() >= 2 && v.count > 0;
}

struct ChannelSum {
  std::vector<double> error;
  int64_t count = 0;  // of elements in each
};

// Adds up errors, and puts the reference's values in place of the test's.
class Compare final : public Observer {
 public:
  Compare(const Keep& reference, std::vector<ChannelSum>& sums)
      : reference_(reference), sums_(sums) {}
  bool needs_plain() const override { return true; }
  Status observe(int watch, const ConstView& v) override {
    const auto& r = reference_.values[static_cast<size_t>(watch)];
    forced_ = nullptr;
    if (!r || !has_channels(v) || !std::ranges::equal(v.dims, r->dims())) return {};
    forced_ = &*r;
    add(static_cast<const float*>(view_of(*r).data), v, sums_[static_cast<size_t>(watch)]);
    return {};
  }
  std::optional<Replacement> replacement(int) override {
    if (!forced_) return std::nullopt;
    return Replacement{view_of(*std::exchange(forced_, nullptr))};
  }

 private:
  static void add(const float* r, const ConstView& v, ChannelSum& sum) {
    const auto* t = static_cast<const float*>(v.data);
    const auto channels = static_cast<size_t>(v.dims[1]);
    const int64_t spatial = v.count / (v.dims[0] * v.dims[1]);
    sum.error.resize(channels);
    sum.count += v.dims[0] * spatial;
    for (int64_t n = 0; n < v.dims[0]; ++n)
      for (size_t c = 0; c < channels; ++c)
        for (int64_t s = 0; s < spatial; ++s)
          sum.error[c] += static_cast<double>(*t++) - static_cast<double>(*r++);
  }

  const Keep& reference_;
  std::vector<ChannelSum>& sums_;
  const Tensor* forced_ = nullptr;
};

std::vector<const Value*> side_of(std::span<const LayerPair> pairs, const Value* LayerPair::*side) {
  std::vector<const Value*> out;
  for (const LayerPair& p : pairs) out.push_back(p.*side);
  return out;
}

}  // namespace

Result<std::vector<std::vector<double>>> channel_errors(const Graph& reference, const Graph& test,
                                                        std::span<const LayerPair> pairs,
                                                        const SampleSource& source,
                                                        const RunOptions& run) {
  // One after the other: sums of doubles depend on their order.
  const Parallelism one{1, run.threads};
  ONNXTOOL_ASSIGN(const auto r, open_model_side(reference, side_of(pairs, &LayerPair::reference),
                                                nullptr, run, one));
  ONNXTOOL_ASSIGN(const auto t,
                  open_model_side(test, side_of(pairs, &LayerPair::test), nullptr, run, one));
  std::vector<ChannelSum> sums(pairs.size());
  ONNXTOOL_TRY(for_each_sample(source, 1, [&](int, int64_t index, Sample sample) -> Status {
    Keep kept(pairs.size(), has_channels);
    Status s = r->run(0, index, sample, nullptr, &kept);
    Compare compare(kept, sums);
    if (s.ok()) s = t->run(0, index, sample, nullptr, &compare);
    return s.ok() ? std::move(s) : std::move(s).error().at("sample '" + sample.id + "'");
  }));
  std::vector<std::vector<double>> out(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i)
    for (const double e : sums[i].error) out[i].push_back(e / static_cast<double>(sums[i].count));
  return out;
}

}  // namespace onnxtool
