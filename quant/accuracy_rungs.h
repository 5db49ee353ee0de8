// What all layers get before any of them goes back to float: the best of all calibrators, one
// weight scale per channel, 16-bit activations where the target has them.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "quant/accuracy_meter.h"

namespace onnxtool {

class AccuracyRungs {
 public:
  /// `value` is that of `out` on all samples.
  AccuracyRungs(Quantizer& quantizer, Quantizer::Output& out, double value, AccuracyMeter& meter);

  /// Every rung is judged on a few samples and kept where it is better; `quantizer` and `out` are
  /// replaced then. What seems to be enough is measured on all, as is what is left in the end, if
  /// the budget has that.
  Status climb();
  /// Of the rung that met the target: gives it to those layers alone that need it.
  Status take_back();

  /// On all samples, or what is expected of them.
  double value() const { return value_; }
  /// That led to value().
  int64_t samples() const { return samples_; }
  /// Whether `out` was measured on all samples and meets the target.
  bool met() const { return met_; }
  bool measured() const { return samples_ == meter_.all(); }
  std::vector<AccuracyRung> take_rungs() { return std::move(rungs_); }

 private:
  struct Change {
    AccuracyRung rung;
    QuantizeOptions options;
  };
  struct Below {
    Quantizer quantizer;
    Quantizer::Output out;
  };

  std::optional<Change> next_change() const;
  int64_t cost_of(const Change& change) const;
  bool affords(int64_t runs) const;
  std::optional<Quantizer> made_by(const Change& change, int64_t comparisons);
  Result<bool> is_likely();
  Result<bool> is_worth_a_last_look(double on_few);
  Status measure_on_all();

  Quantizer& quantizer_;
  Quantizer::Output& out_;
  AccuracyMeter& meter_;
  std::set<std::string> tried_;  // settings
  std::vector<AccuracyRung> rungs_;
  std::optional<Below> below_;  // as all was before the rung that was kept last
  double value_;
  int64_t samples_;
  bool met_ = false;
};

}  // namespace onnxtool
