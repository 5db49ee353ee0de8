// --explain: what passes came close to and did not do, and why.
#pragma once

#include <span>
#include <string>

#include "apps/report/report.h"
#include "libopt/rewrite/near_misses.h"

namespace onnxtool {

/// What --explain asks about: nothing, everything, one pass, or some nodes.
class Explanation {
 public:
  /// `what` is a pass's name, op:TYPE or name:GLOB; empty: everything. Errors (kUsage).
  static Result<Explanation> parse(bool wanted, const std::string& what);
  bool wanted() const { return wanted_; }
  /// Of a model that run_passes() is done with.
  Section section(Model& model, std::span<const PassInfo* const> passes,
                  const PassContext& context) const;

 private:
  bool wanted_ = false;
  const PassInfo* pass_ = nullptr;  // nullptr: all
  Selector nodes_;                  // empty: all
};

}  // namespace onnxtool
