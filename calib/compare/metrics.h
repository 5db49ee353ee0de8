// How far a test output is from the reference: one pass per sample, doubles, a fixed order.
//
// compare_sample() is pure, so samples may be compared in parallel; OutputMetrics folds the results
// in order of sample id, so that no bit depends on threads. Sums are pairwise over blocks of fixed
// size.
//
// Notation: r reference, t test, e = t - r, sums over the pairs of finite values.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calib/exec/kernel.h"
#include "calib/ranges/summary.h"
#include "libopt/support/scaled.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// kNone: nothing was compared, so there is no answer (exit 2); never to be read as a pass.
enum class Verdict : uint8_t { kNone, kPass, kFail };

/// The verdict on several: any fail is a fail, else any none is none; none for no verdict at all.
Verdict combine(Verdict a, Verdict b);

struct MetricOptions {
  /// An element is outside the band when !(|e| <= atol + rtol |r|), numpy's rule.
  double atol = 1e-5;
  double rtol = 1e-3;
  /// Rows along the last axis are ranked, or along axis 1 where all behind it are 1 ([N, C, 1, 1]);
  /// 0 leaves out top-k, argmax and KL. Only floating outputs with at least two elements along it
  /// are ranked, and lists are shorter than the axis.
  int top_k = 5;
  /// KL(softmax(r) || softmax(t)) per row, base e, q floored at 1e-12. Needs top_k > 0.
  bool kl = false;
  /// Keep the distribution of relative errors (kRelP50, kRelP99): some 2 KiB an octave that occurs.
  bool relative = true;
  /// float against float16 and the like are compared after widening instead of refused.
  bool allow_dtype_change = false;
};

/// One output of one sample. Counts are of elements unless said otherwise.
struct SampleMetrics {
  uint64_t elements = 0;
  uint64_t compared = 0;  // finite on both sides (or: integers, strings, all of them)
  bool floating = true;   // integers, bool and strings have mismatches and max_abs only
  bool identical = true;  // equal bits or values everywhere, NaN like NaN

  Scaled sum_r2, sum_t2, sum_rt, sum_e2, sum_abs_e;
  double max_abs =
      0;  // of |e|, infinite where no double is as large; integers: largest step difference
  int64_t max_abs_index = -1;  // lowest flat index where it occurs; -1: nothing compared
  double max_rel = 0;
  int64_t max_rel_index = -1;
  double absmax_r = 0;
  uint64_t outside_band = 0;  // non-finite mismatches included
  uint64_t max_ulp = 0;       // steps between the floats of the narrower type; 0 and -0 are equal
  uint64_t mismatches =
      0;  // integers, bool, strings: exact inequality; floats: r != t, non-finite included

  uint64_t nan_reference_only = 0, nan_test_only = 0, nan_both = 0;
  uint64_t infinity_mismatches = 0;  // infinite on one side, or on both with unequal signs
  uint64_t infinity_equal = 0;

  uint64_t rows = 0;          // ranked
  uint64_t argmax_equal = 0;  // rows
  uint64_t argmax_flips = 0;  // rows whose argmax changed, each side preferring its own strictly
  uint64_t argmax_ties = 0;   // rows whose argmax changed where one side scored both equal
  uint64_t topk_set_equal = 0, topk_order_equal = 0;  // rows
  uint64_t kl_rows = 0;                               // ranked rows without NaN or +inf
  double kl_sum = 0, kl_max = 0;                      // over them

  Summary relative;  // of the relative errors

  /// Elements that only a NaN or an infinity tells apart: NaN on one side, or an infinity that
  /// differs.
  uint64_t non_finite_mismatches = 0;

  /// Of an output that consists of several tensors: the path of the element with the largest error.
  std::string worst_place;

  /// Whether anything was compared: values, or infinities that agree. NaN on both sides is nothing.
  bool any() const { return compared + infinity_equal + non_finite_mismatches != 0; }
  /// 10 log10(sum r^2 / sum e^2): +inf when there is no error, -inf when r is all zero and t is
  /// not, NaN when nothing was compared, a non-finite value mismatches, or the output is not
  /// floating.
  double sqnr() const;
};

/// Errors (kMismatch): shape or type differ, both printed; (kUnsupported): a type with no
/// comparison, or not plain host memory.
Result<SampleMetrics> compare_sample(const ConstView& reference, const ConstView& test,
                                     const MetricOptions& options);

/// Takes in the figures of a further tensor of the same output, whose elements count behind those
/// there are.
void append(SampleMetrics& metrics, const SampleMetrics& more);

/// What a gate can name. Each knows its direction.
enum class Metric : uint8_t {
  kMaxAbs,
  kMeanAbs,
  kRmse,
  kMaxRel,
  kRelP50,
  kRelP99,
  kSqnr,
  kSqnrMin,
  kPsnr,
  kCosine,
  kGain,
  kUlp,
  kKl,
  kKlMax,
  kArgmax,
  kFlips,
  kTopK,
  kMismatches,
  kOutside,
};
struct MetricInfo {
  std::string_view name;  // as in --gate NAME=LIMIT
  std::string_view unit;  // "", "dB", "share", "steps"
  bool higher_is_better;  // kGain: its distance from 1 is judged, so lower is better
  std::string_view summary;
};
const MetricInfo& info(Metric metric);
std::span<const Metric> all_metrics();
std::optional<Metric> find_metric(std::string_view name);

/// One output over all samples.
class OutputMetrics {
 public:
  explicit OutputMetrics(const MetricOptions& options = {}) : options_(options) {}

  /// Samples may come in any order; a sample id may come once. Not thread-safe.
  void add(int64_t sample, SampleMetrics metrics);
  /// A sample whose output is missing, or of another shape or type: never a pass from here on.
  void add_failure(int64_t sample, std::string why);

  int64_t samples() const { return static_cast<int64_t>(samples_.size()); }
  const std::map<int64_t, std::string>& failures() const { return failures_; }
  /// SampleMetrics::worst_place of that sample.
  const std::string& worst_place(int64_t sample) const { return samples_.at(sample).worst_place; }
  const MetricOptions& options() const { return options_; }

  /// Sums, extrema and counts over all samples; indices stay relative to their sample.
  struct Total {
    SampleMetrics all;  // folded in order of sample id
    int64_t max_abs_sample = -1;
    int64_t max_rel_sample = -1;
    /// SQNR per sample of a floating output. Samples without error count as identical, those at
    /// -inf or with a non-finite mismatch as undefined; both stay out of the figures, but an
    /// undefined one is the worst. Percentiles interpolate linearly, as numpy's. All +inf where no
    /// sample is left.
    struct PerSample {
      double min = std::numeric_limits<double>::infinity();
      double p1 = min, p5 = min, median = min, mean = min;
      int64_t worst = -1;     // lowest id with the lowest SQNR; -1: none differs
      int64_t identical = 0;  // samples
      int64_t undefined = 0;  // -inf or NaN
    } per_sample;
  };
  const Total& total() const;  // put together once; not for several threads

  /// nullopt: not defined here (nothing compared, an integer output, no rows to rank).
  std::optional<double> value(Metric metric) const;

  /// The verdict where no limit can mend it: kFail on a failed sample or a non-finite mismatch,
  /// kNone when nothing was compared.
  std::optional<Verdict> settled() const;

  /// Whether the value is provably inside the limit: kFail on a failed sample or a non-finite
  /// mismatch, whatever the metric; kNone when nothing was compared or the metric is not defined
  /// for this output.
  Verdict judge(Metric metric, double limit) const;

 private:
  MetricOptions options_;
  std::map<int64_t, SampleMetrics> samples_;  // their distributions joined in relative_
  Summary relative_;
  std::map<int64_t, std::string> failures_;
  Total fold() const;
  mutable std::optional<Total> total_;  // until a further sample
};

/// Classification: right answers of both sides, image by image.
class ClassAccuracy {
 public:
  /// Scores of one image: floating, at most one extent above 1 ([classes], [1, classes, 1, 1],
  /// ...). The class is the argmax, ties to the lower index, NaN never wins. label: index into
  /// them.
  Status add(int64_t sample, const ConstView& reference, const ConstView& test, int64_t label);

  int64_t images() const { return static_cast<int64_t>(images_.size()); }
  int64_t reference_correct() const;
  int64_t test_correct() const;
  /// Right on the reference only, and on the test only, in ascending order of sample id.
  std::vector<int64_t> lost() const;
  std::vector<int64_t> won() const;
  /// Percentage points lost, reference less test; nullopt without images.
  std::optional<double> drop() const;
  /// kNone without images.
  Verdict judge_drop(double limit) const;

 private:
  struct Image {
    bool reference = false, test = false;
  };
  std::map<int64_t, Image> images_;
};

/// Index of the largest element, ties to the lower index; NaN never wins; -1: empty or all NaN.
/// Any floating type.
int64_t argmax(const ConstView& scores);

}  // namespace onnxtool
