// Which kernel set runs a node.
#pragma once

#include <span>
#include <string_view>
#include <unordered_set>

#include "calib/exec/plan_impl.h"

namespace onnxtool {

/// Whether a kernel is the operator's at this opset version (0: undeclared), whatever the types.
bool is_for(const KernelInfo& kernel, std::string_view op, std::string_view domain, int opset);

/// For one graph, whose steps are told in order.
class KernelChoice {
 public:
  explicit KernelChoice(std::span<const KernelSet* const> sets) : sets_(sets) {}

  /// Sets the step's kernel and set, of the first set that serves it; none: they stay unset.
  /// `type`: of the first input, or, without inputs, of the first output.
  void select(Step& step, DataType type) const;
  /// Whether an operator may stand for several nodes. With a device it must have the kernel: else
  /// nodes that it could run would go to the host as one.
  bool may_stand_for_groups(std::string_view op, std::string_view domain, int opset,
                            DataType type) const;
  /// The slot holds a few integers that some kernel will look at on the host.
  void stays_small(int slot) { small_on_host_.insert(slot); }
  /// Extents, and what was computed from nothing but them, stay small.
  void note_small(const Step& step);

 private:
  bool stays_on_host(const CompiledNode& c) const;

  std::span<const KernelSet* const> sets_;
  std::unordered_set<int> small_on_host_;
};

}  // namespace onnxtool
