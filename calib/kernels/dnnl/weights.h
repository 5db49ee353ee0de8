// Constant weights in the order that primitives want them.
#pragma once

#include <cstdlib>
#include <memory>

#include "calib/kernels/dnnl/engine.h"

namespace onnxtool {

/// Memory for one reordered tensor, aligned to 64 bytes; freed with the last plan that reads it.
struct PackedWeights {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  dnnl::memory::desc desc;
  std::unique_ptr<void, Free> data;
};

/// nullptr when memory is out.
inline std::shared_ptr<const PackedWeights> pack_weights(const dnnl::memory::desc& from, const void* source, const dnnl::memory::desc& to) {
  auto packed = std::make_shared<PackedWeights>();
  packed->desc = to;
  packed->data.reset(std::aligned_alloc(64, (to.get_size() + 63) / 64 * 64));
  if (!packed->data) return nullptr;
  reorder(from, source, to, packed->data.get());
  return packed;
}

/// One constant tensor. Nearly always one order serves every shape that a model meets; another one is
/// made from it when a primitive asks for it, and shared by all that do. Callers serialise.
class WeightStore {
 public:
  explicit operator bool() const { return first_ != nullptr; }
  bool set(std::shared_ptr<const PackedWeights> packed) {
    first_ = std::move(packed);
    return first_ != nullptr;
  }
  /// nullptr when memory is out.
  std::shared_ptr<const PackedWeights> in_order(const dnnl::memory::desc& wanted) {
    if (first_->desc == wanted) return first_;
    for (const auto& weak : others_)
      if (auto held = weak.lock(); held && held->desc == wanted) return held;
    auto made = pack_weights(first_->desc, first_->data.get(), wanted);
    if (!made) return nullptr;
    // An order that nothing reads is not kept beside the one in use.
    if (first_.use_count() == 1) first_ = made;
    else others_.push_back(made);
    return made;
  }

 private:
  std::shared_ptr<const PackedWeights> first_;
  std::vector<std::weak_ptr<const PackedWeights>> others_;
};

}  // namespace onnxtool
