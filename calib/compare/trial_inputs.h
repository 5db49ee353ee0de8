// Inputs for comparing a model with its rewritten self: seeded, with edge values, in several sizes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "calib/data/source.h"
#include "libopt/analysis/extent.h"
#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

class TrialInputs {
 public:
  /// Errors: an input that is no tensor, of no known type or rank, or of a type without values to
  /// draw.
  static Result<TrialInputs> of(const Model& model);

  /// Number `attempt` (0, 1, ...): the same every time. Attempts differ in values and in the
  /// extents of dynamic dimensions, where equal symbols get equal extents, those that the model's
  /// weights settle or within what it assumes of them, and smaller where inputs would have many
  /// millions of elements. Integers lie within what their uses bound; where nothing does, attempts
  /// take small ranges of both signs in turn, and an input of one element, which may be a
  /// condition, is 0 in one of the attempts 0 and 1 and not 0 in the other, and so are later pairs
  /// of booleans. `edges` sprinkles 0, -0 and tiny and large numbers over floating inputs, and with
  /// `non_finite` NaN and infinities.
  std::vector<Tensor> make(int attempt, bool edges, bool non_finite) const;

  /// Hides everything in the last row of every input that is a mask, which something adds to scores
  /// before a Softmax: -inf throughout, of which Softmax makes NaN.
  void hide_last_rows(std::vector<Tensor>& inputs) const;

  /// Names of the inputs, in the order of make().
  std::vector<std::string> names() const;

 private:
  struct Extents;
  struct Input {
    std::string name;
    DataType dtype = DataType::kUndefined;
    std::vector<Dim> dims;
    bool bounded = false;
    IntegerBounds bounds;
    bool mask = false;
  };
  bool has_dynamic_dims() const;
  /// By input and axis.
  void settle(const std::map<std::pair<std::string, int>, int64_t>& extents);
  /// Of every input.
  std::vector<std::vector<int64_t>> dims_at(const Extents& extents) const;

  std::vector<Input> inputs_;
  ExtentRanges ranges_;  // what the model assumes of named dimensions
};

}  // namespace onnxtool
