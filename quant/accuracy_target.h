// What `--accuracy-target` asks for, and what a few samples say of all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "calib/compare/compare.h"

namespace onnxtool {

struct AccuracyTarget {
  enum class Kind : uint8_t { kSqnr, kKl, kDrop };
  Kind kind = Kind::kSqnr;
  double limit = 0;

  bool met(double value) const {
    return kind == Kind::kSqnr ? value >= limit : value <= limit;  // false for NaN
  }
  bool better(double a, double b) const { return kind == Kind::kSqnr ? a > b : a < b; }
  std::string_view name() const;  // "sqnr", "kl", "drop"
  std::string_view unit() const;  // "dB", "", "points"
};

/// sqnr=DB (of the worst output), kl=NATS (mean divergence of the outputs' softmax, of the worst
/// output), drop=POINTS (of top-1 accuracy, in percent). Errors (kUsage) list these.
Result<AccuracyTarget> parse_accuracy_target(const std::string& text);

/// What the target judges; NaN where it cannot be computed, and the worst value where an output
/// failed on a sample.
double accuracy_of(const ModelComparison& compared, const AccuracyTarget& target);

/// SQNR in dB of the output that suffers most; one that failed or is not finite is worse than all.
double worst_sqnr(const ModelComparison& compared);

/// What was fitted to the samples that it is judged on must win by so many dB: on others it loses
/// about that.
inline constexpr double kFittedMarginDb = 0.5;

/// A model's value on few and on all samples.
struct FewAndAll {
  double few = 0, all = 0;
};

/// What a model should have on all samples that has `few` on some, where they differ as they do for
/// another model: decibels by a difference, divergences by a ratio. Points are counted, and few
/// samples say little of them: they are taken as they come, and so is what the other model says
/// nothing of.
double carried_over(double few, const FewAndAll& other, const AccuracyTarget& target);

/// What all samples should have at worst where some lead to expect `value`.
double with_care(double value, int64_t samples, const AccuracyTarget& target);

}  // namespace onnxtool
