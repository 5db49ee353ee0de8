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
inline std::shared_ptr<const PackedWeights> pack_weights(const dnnl::memory::desc& from,
                                                         const void* source,
                                                         const dnnl::memory::desc& to) {
  auto packed = std::make_shared<PackedWeights>();
  packed->desc = to;
  packed->data.reset(std::aligned_alloc(64, (to.get_size() + 63) / 64 * 64));
  if (!packed->data) return nullptr;
  reorder(from, source, to, packed->data.get());
  return packed;
}

/// One constant tensor. Nearly always one order serves every shape that a model meets; another one
/// is made when a primitive asks for it, and shared by all that do. Callers serialise.
class WeightStore {
 public:
  /// Where to reorder from, until forget_original(); from then on, from an order made before.
  void set_original(const dnnl::memory::desc& desc, const void* data) {
    original_desc_ = desc;
    original_ = data;
  }
  void forget_original() { original_ = nullptr; }
  explicit operator bool() const { return original_ || first_; }

  /// nullptr when memory is out.
  std::shared_ptr<const PackedWeights> in_order(const dnnl::memory::desc& wanted) {
    if (first_ && first_->desc == wanted) return first_;
    for (const auto& weak : others_)
      if (auto held = weak.lock(); held && held->desc == wanted) return held;
    auto made = original_ ? pack_weights(original_desc_, original_, wanted)
                          : pack_weights(first_->desc, first_->data.get(), wanted);
    // An order that nothing reads is not kept beside the one in use.
    if (made && (!first_ || first_.use_count() == 1))
      first_ = made;
    else if (made)
      others_.push_back(made);
    return made;
  }

 private:
  dnnl::memory::desc original_desc_;
  const void* original_ = nullptr;
  std::shared_ptr<const PackedWeights> first_;
  std::vector<std::weak_ptr<const PackedWeights>> others_;
};

}  // namespace onnxtool
