#include "quant/input_moments.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "calib/compare/side.h"
#include "libopt/support/half.h"
#include "quant/dense.h"
#include "quant/input_windows.h"

namespace onnxtool {
namespace {

// Rows that are multiplied at once: samples of one row each would read all sums for every one.
constexpr int64_t kPending = 256;
// Windows of a convolution that are looked at in one sample.
constexpr int64_t kWindows = 256;

// Rows of one input, added up.
class Accumulator {
 public:
  explicit Accumulator(const LayerInput& input) : input_(input) {
    moments.depth = input.depth;
    moments.sums.resize(static_cast<size_t>(input.groups * input.depth * input.depth));
    waiting_.resize(static_cast<size_t>(input.groups));
    capacity_ = std::min(kPending, kMaxPending / (input.depth * input.groups) + 1);
    pending_.resize(static_cast<size_t>(capacity_ * input.depth * input.groups));
  }

  Status add(const ConstView& v) {
    const bool half = v.dtype == DataType::kFloat16;
    if ((v.dtype != DataType::kFloat && !half) || v.rank() < 1)
      return mismatch("is no tensor of floats");
    if (input_.layer->is("Conv")) {
      if (half) return mismatch("is no tensor of float32");
      return for_each_window(*input_.layer, v, kWindows,
                             [&](int64_t g, std::span<const float> x) { put(x.data(), 1, g); });
    }
    const bool columns =
        input_.layer->is("Gemm") && input_.layer->attr<int64_t>("transA", 0) != 0 && v.rank() == 2;
    const int64_t depth = columns ? v.dims[0] : v.dims.back();
    if (depth != input_.depth) return mismatch("holds rows of " + std::to_string(depth));
    const int64_t rows = v.count / depth;
    const int64_t row_step = columns ? 1 : depth, step = columns ? rows : 1;
    for (int64_t r = 0; r < rows; ++r)
      half ? put(v.as<Half>().data() + r * row_step, step, 0)
           : put(v.as<float>().data() + r * row_step, step, 0);
    return {};
  }

  Status finish() {
    for (int64_t g = 0; g < input_.groups; ++g) {
      flush(g);
      float* sums = sums_of(g);
      mirror_upper(sums, input_.depth);
      for (int64_t i = 0; i < input_.depth; ++i)
        if (!std::isfinite(sums[i * input_.depth + i])) return not_finite();
    }
    pending_ = {};
    return {};
  }

  InputMoments moments;

 private:
  static constexpr int64_t kMaxPending = int64_t{1} << 20;

  float* sums_of(int64_t group) {
    return moments.sums.data() + group * input_.depth * input_.depth;
  }

  template <class T>
  void put(const T* from, int64_t step, int64_t group) {
    int64_t& waiting = waiting_[static_cast<size_t>(group)];
    float* to = pending_.data() + (group * capacity_ + waiting) * input_.depth;
    for (int64_t k = 0; k < input_.depth; ++k) to[k] = static_cast<float>(from[k * step]);
    if (group == 0) ++moments.rows;
    if (++waiting == capacity_) flush(group);
  }

  void flush(int64_t group) {
    int64_t& waiting = waiting_[static_cast<size_t>(group)];
    if (waiting > 0)
      add_gram(pending_.data() + group * capacity_ * input_.depth, waiting, input_.depth,
               sums_of(group));
    waiting = 0;
  }

  Error not_finite() const {
    return {ErrorCode::kNotFinite,
            "tensor '" + input_.value->name() +
                "' holds NaN, infinities or values whose squares overflow",
            "exclude what reads it (--exclude), or mend the data or its preprocessing"};
  }

  Status mismatch(const std::string& what) const {
    return Error{ErrorCode::kMismatch,
                 "tensor '" + input_.value->name() + "' " + what + ", expected rows of " +
                     std::to_string(input_.depth),
                 {}};
  }

  LayerInput input_;
  int64_t capacity_ = 1;        // rows of a group that wait at most
  std::vector<float> pending_;  // [groups, capacity, depth]
  std::vector<int64_t> waiting_;
};

class MomentObserver final : public Observer {
 public:
  explicit MomentObserver(std::span<const LayerInput> inputs)
      : sums(inputs.begin(), inputs.end()) {}
  bool needs_plain() const override { return true; }
  Status observe(int watch, const ConstView& value) override {
    return sums[static_cast<size_t>(watch)].add(value);
  }
  std::vector<Accumulator> sums;
};

}  // namespace

void InputMoments::add(const InputMoments& other) {
  rows += other.rows;
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += other.sums[i];
}

Result<std::vector<InputMoments>> collect_moments(const Graph& graph,
                                                  std::span<const LayerInput> inputs,
                                                  const SampleSource& source,
                                                  const RunOptions& run) {
  std::vector<const Value*> watched;
  for (const LayerInput& i : inputs) watched.push_back(i.value);
  // One after the other: sums depend on their order. Threads are inside the operators.
  const Parallelism one{1, run.threads};
  ONNXTOOL_ASSIGN(const auto side, open_model_side(graph, watched, nullptr, run, one));
  MomentObserver observer(inputs);
  int64_t done = 0;
  ONNXTOOL_TRY(for_each_sample(source, 1, [&](int, int64_t index, Sample sample) -> Status {
    if (Status s = side->run(0, index, sample, nullptr, &observer); !s.ok())
      return std::move(s).error().at("sample '" + sample.id + "'");
    if (run.progress) run.progress(++done, source.size());
    return {};
  }));
  std::vector<InputMoments> out;
  for (Accumulator& a : observer.sums) {
    ONNXTOOL_TRY(a.finish());
    out.push_back(std::move(a.moments));
  }
  return out;
}

}  // namespace onnxtool
