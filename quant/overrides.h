// What a user asks for single layers and tensors: `--override SELECTOR:KEY=VALUE`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calib/ranges/calibrator.h"
#include "libopt/ir/dtype.h"
#include "quant/selection.h"

namespace onnxtool {

/// Keys that say nothing are empty. Those of weights are a layer's; the others are the tensor's, or
/// those of a layer's result.
struct OverrideValues {
  bool in_float = false;                    // type=float
  std::optional<bool> per_channel;          // weights=per-channel, weights=per-tensor
  std::optional<DataType> weight_type;      // weight-type=s8, u8
  std::optional<DataType> activation_type;  // activation-type=u8, s8, u16, s16
  std::optional<Calibrator> calibrator;     // calibrator=NAME
  std::optional<double> percentile;         // percentile=P, which chooses that calibrator too
  std::optional<Range> range;               // range=MIN,MAX
  std::optional<bool> symmetric;            // symmetric=yes, no
  bool operator==(const OverrideValues&) const = default;
};

class Overrides {
 public:
  /// SELECTOR:KEY=VALUE, split at the last `=` and the last `:` before it. Errors (kUsage) say what
  /// is wrong and list the keys.
  static Result<Overrides> parse(const std::vector<std::string>& texts);
  bool empty() const { return entries_.empty(); }
  /// Fails (kUsage) for one whose selector matches nothing of the model.
  Status check(const Model& model) const;

  /// Everything that is said of a node, of `also` if given (an activation that goes with it), or of
  /// its first result; a later override wins.
  OverrideValues of(const Node& node, const Node* also = nullptr) const;
  /// Likewise of a value that no integer node makes.
  OverrideValues of(const Value& value) const;
  /// Whether some layer is left in float, or has one weight scale a channel; and all types.
  bool leaves_in_float() const;
  bool asks_for_channels() const;
  std::vector<DataType> weight_types() const;
  std::vector<DataType> activation_types() const;
  /// These come after, and so win.
  void append(const Overrides& more);

 private:
  struct Entry {
    std::string text;
    Selection selector;
    OverrideValues values;
  };
  std::vector<Entry> entries_;
};

}  // namespace onnxtool
