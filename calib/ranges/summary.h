// What calibration keeps of one tensor: exact extrema, counts, and a log-linear histogram.
//
// The bucket of a value is the top 17 bits of its binary32 pattern: sign, exponent, and the upper 8
// bits of the mantissa, so 256 steps an octave and a relative width of at most 1/256 (the layout of
// HdrHistogram). Counts are exact 64-bit integers, so summaries merge exactly in any order, and
// memory depends on the octaves that occur (2 KiB each), never on the number of samples.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "calib/exec/kernel.h"
#include "libopt/support/status.h"

namespace onnxtool {

class Summary {
 public:
  /// kMinMax keeps no histogram: enough for the minmax calibrator, and cheaper.
  enum class Mode : uint8_t { kHistogram, kMinMax };

  /// Patterns share their upper bits within a bucket; an octave is one sign and exponent.
  static constexpr uint32_t kStepsPerOctave = 256;
  static constexpr uint32_t kOctaves =
      512;  // 0..255 positive, 256..511 negative (index = pattern >> 23)

  /// Counted values lie in [lower, upper], taken as uniformly spread; lower == upper is one value.
  /// The outermost buckets end at the exact min and max.
  struct Bucket {
    double lower;
    double upper;
    uint64_t count;
    double middle() const { return 0.5 * (lower + upper); }
  };

  explicit Summary(Mode mode = Mode::kHistogram) : mode_(mode) {}
  Summary(const Summary& other);
  Summary& operator=(const Summary& other);
  Summary(Summary&&) noexcept = default;
  Summary& operator=(Summary&&) noexcept = default;

  /// Not thread-safe: one summary per thread, merged afterwards.
  void add(std::span<const float> values);
  /// The logical elements of a float, float16, bfloat16 or double tensor in host memory, whatever
  /// its layout: the padding of blocked layouts is not counted. Doubles are rounded to float.
  Status add(const ConstView& tensor);
  /// Exact, commutative and associative. The result has a histogram only if both have one.
  void merge(const Summary& other);

  Mode mode() const { return mode_; }
  uint64_t count() const { return finite_ + nan_ + positive_infinity_ + negative_infinity_; }
  /// Zeros of either sign; part of finite().
  uint64_t zeros() const { return zeros_; }
  uint64_t finite() const { return finite_; }
  uint64_t nan() const { return nan_; }
  uint64_t positive_infinity() const { return positive_infinity_; }
  uint64_t negative_infinity() const { return negative_infinity_; }
  bool all_finite() const { return finite_ == count(); }

  /// Of the finite values; a zero is +0. Both are 0 where finite() == 0.
  float min() const { return finite_ ? min_ + 0.0f : 0.0f; }
  float max() const { return finite_ ? max_ + 0.0f : 0.0f; }

  /// The non-zero finite values in ascending order; no bucket spans zero or is empty. Empty in
  /// kMinMax.
  std::vector<Bucket> buckets() const;
  /// Of the finite values, zeros included, from the histogram (uniform density inside a bucket).
  /// 0 where there is no histogram or nothing finite.
  double mean() const;
  double variance() const;

  /// Bytes held beyond the object itself.
  size_t size_bytes() const;

  /// For range files: the bucket counts by pattern >> 15, in ascending order of that index.
  /// Bucket 0 leaves out the zeros.
  struct Count {
    uint32_t index;
    uint64_t count;
    bool operator==(const Count&) const = default;
  };
  std::vector<Count> counts() const;
  struct Header {
    uint64_t zeros = 0, nan = 0, positive_infinity = 0, negative_infinity = 0;
    uint64_t finite = 0;
    float min = 0, max = 0;
  };
  /// Checks that counts are ascending, add up to finite - zeros, and agree with min and max.
  static Result<Summary> restore(Mode mode, const Header& header, std::span<const Count> counts);

  /// Same counts, extrema and mode.
  bool operator==(const Summary& other) const;

 private:
  using Octave = std::array<uint64_t, kStepsPerOctave>;

  Octave& octave(uint32_t i);
  void extend_range(float low, float high);
  void add_segment(const float* x, size_t n);
  void add_special(const float* x, size_t n);
  void count_directly(const float* x, size_t n);
  void take_table(uint32_t* lanes, float min_abs, float max_abs, bool negative);

  Mode mode_;
  float min_ = 0, max_ = 0;  // meaningless while finite_ == 0
  uint64_t finite_ = 0, zeros_ = 0, nan_ = 0, positive_infinity_ = 0, negative_infinity_ = 0;
  // Zeros are counted in zeros_ and not here. nullptr until an octave occurs; empty until the first
  // value.
  std::vector<std::unique_ptr<Octave>> octaves_;
};

}  // namespace onnxtool
