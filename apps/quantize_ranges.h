// Range files of `onnxtool quantize`: what --ranges reads, what --save-ranges writes, shards.
#pragma once

#include <optional>
#include <string>

#include "apps/quantize_method.h"
#include "calib/ranges/foreign.h"
#include "calib/ranges/range_file.h"
#include "calib/ranges/shard.h"
#include "quant/quantize.h"

namespace onnxtool {

class QuantizeRanges {
 public:
  explicit QuantizeRanges(const QuantizeFlags& flags) : o_(flags) {}

  /// Reads --ranges and checks what goes with what.
  Status open();
  /// Ranges of another tool: no samples are needed, and the calibrator does not matter.
  bool foreign() const { return foreign_.has_value(); }
  /// Whether ranges come from a file or go to one: then they are of one model, whatever is learnt.
  bool in_files() const { return !o_.ranges.empty() || !o_.save_ranges.empty(); }
  /// What another tool reads or has written speaks of the model as it is: nothing may be evened
  /// out.
  bool of_the_model_as_it_is() const { return foreign() || o_.ranges_format != "onnxtool"; }
  /// A shard ends with its range file; there is no model.
  bool only_a_shard() const { return !o_.shard.empty(); }

  /// Runs the samples, or takes what was read instead; writes counts where they are asked for.
  Status calibrate(Quantizer& quantizer, const QuantizeContext& context);
  /// Writes the ranges that the calibrator chose, where another tool's form is asked for.
  Status save_chosen(const Quantizer::Output& out) const;

 private:
  RangeKey key(const Quantizer& quantizer, const QuantizeContext& context) const;
  Status run_samples(Quantizer& quantizer, const QuantizeContext& context) const;
  Status save_counts(RangeFile file) const;

  const QuantizeFlags& o_;
  Shard shard_;
  std::optional<RangeFile> counts_;
  std::optional<ForeignRanges> foreign_;
};

}  // namespace onnxtool
