// Accuracy targets and bias correction of `onnxtool quantize`: what is checked, run and reported.
#pragma once

#include <optional>
#include <vector>

#include "apps/quantize_flags.h"
#include "apps/quantize_method.h"
#include "apps/quantize_recipe.h"
#include "apps/report/report.h"
#include "quant/accuracy.h"

namespace onnxtool {

/// What --accuracy-target asks for. Errors: what is no target, and what other flags leave it
/// without.
Result<std::optional<AccuracyTarget>> accuracy_target(const QuantizeFlags& flags);

class QuantizeAccuracy {
 public:
  explicit QuantizeAccuracy(const QuantizeFlags& flags) : o_(flags) {}

  Status open();
  /// Rounds weights, corrects biases and searches for the target, as the flags ask for it. With
  /// `remake` the search may change options, but not what was improved before.
  Status improve(Quantizer& quantizer, Quantizer::Output& out, const QuantizeContext& context,
                 const Remake& remake, bool recalibrates);

  std::optional<Finding> unmet() const;
  std::vector<Section> sections() const;
  /// What a recipe has to say instead of the target.
  std::vector<Setting> decided(const Model& original) const;

 private:
  const QuantizeFlags& o_;
  std::optional<AccuracyTarget> target_;
  std::optional<AccuracySearch> search_;
  std::optional<Quantizer::Correction> correction_;
  std::optional<Quantizer::Rerounding> rerounding_;
};

/// The written file on the target's samples: a finding where it misses. nullopt without a target.
std::optional<Finding> target_missed(const QuantizeFlags& flags, const ModelComparison& compared);

}  // namespace onnxtool
