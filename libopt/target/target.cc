#include "libopt/target/target.h"

#include <algorithm>

namespace onnxtool {
namespace {

constexpr const Target* kAll[] = {&kOrtCpu,   &kOrtCpuNoVnni, &kOrtArm64, &kOrtMobile, &kOrtCuda,
                                  &kTensorRt, &kOpenVino,     &kQnn,      &kPortable};

}  // namespace

std::span<const Target* const> all_targets() { return kAll; }

const Target* find_target(std::string_view name) {
  for (const Target* t : kAll)
    if (t->name == name) return t;
  return nullptr;
}

bool has_integer_operators(const Target& target) {
  return std::ranges::any_of(target.ops, [](const TargetOp& op) { return !op.integer_op.empty(); });
}

const TargetOp* find_target_op(const Target& target, const Node& node) {
  if (!node.domain().empty()) return nullptr;
  for (const TargetOp& op : target.ops)
    if (op.op == node.op_type()) return &op;
  return nullptr;
}

}  // namespace onnxtool
