// Scan outputs: what the iterations of a loop give, as one tensor.
#pragma once

#include "calib/exec/plan_impl.h"

namespace onnxtool {

/// Appends each iteration's slice and gives them as one tensor with a new axis.
class Stacker {
 public:
  /// `type` is the body's output, as far as known: what the result is made of when nothing is
  /// added.
  explicit Stacker(const ValueType& type);
  /// The value of the body's slot. All must have one type and shape; elements below a byte, which
  /// would not stand side by side, are not supported.
  Status add(RunContext::Impl& child, int slot);
  /// The axis counts the new one; it must be in [-rank() - 1, rank()].
  Tensor result(int64_t axis, bool reversed) const;
  /// Of a slice.
  int64_t rank() const { return static_cast<int64_t>(dims_.size()); }

 private:
  DataType dtype_ = DataType::kFloat;
  std::vector<int64_t> dims_;
  std::vector<std::byte> bytes_;
  std::vector<std::string> strings_;
  int64_t count_ = 0;
};

/// For the `count` outputs of a body behind its first `first_output`.
std::vector<Stacker> stackers_for(const SubPlan& sub, size_t first_output, size_t count);

}  // namespace onnxtool
