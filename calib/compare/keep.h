// Watched values of one run, kept for another.
#pragma once

#include <optional>
#include <vector>

#include "calib/compare/layers.h"

namespace onnxtool {

/// Copies the watched values that `wanted` names, in plain order; by the number of the watch.
class Keep final : public Observer {
 public:
  using Wanted = bool (*)(const ConstView&);
  Keep(size_t count, Wanted wanted) : values(count), wanted_(wanted) {}
  bool needs_plain() const override { return true; }
  Status observe(int watch, const ConstView& v) override {
    if (wanted_(v)) values[static_cast<size_t>(watch)] = tensor_of(v);
    return {};
  }
  std::vector<std::optional<Tensor>> values;

 private:
  Wanted wanted_;
};

inline bool has_floats(const ConstView& v) { return is_float(v.dtype); }

}  // namespace onnxtool
