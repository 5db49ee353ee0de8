// Constant weights in the order that primitives want them.
#pragma once

#include <cstdlib>
#include <memory>
#include <vector>

#include "calib/kernels/dnnl/engine.h"

namespace onnxtool {

struct IndexRange {
  int64_t first = 0, count = 0;
};

/// Memory for the reordered weights of some output channels, aligned to 64 bytes; freed with the
/// last plan that reads it.
struct PackedWeights {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  IndexRange outputs;
  dnnl::memory::desc desc;
  std::unique_ptr<void, Free> data;
};

/// One constant tensor, outputs (or groups) on its first axis. Nearly always one order serves every
/// shape that a model meets; another one is made when a primitive asks for it, and shared by all
/// that do. Callers serialise.
class WeightStore {
 public:
  /// Where to reorder from, until forget_original(); from then on, from what was made before, which
  /// must be all of the outputs.
  void set_original(const dnnl::memory::desc& desc, const void* data) {
    original_desc_ = desc;
    original_ = data;
  }
  void forget_original() { original_ = nullptr; }
  explicit operator bool() const { return original_ || !base_.empty(); }

  /// nullptr when memory is out.
  std::shared_ptr<const PackedWeights> in_order(const dnnl::memory::desc& wanted,
                                                const IndexRange& outputs);
  /// Of all outputs.
  std::shared_ptr<const PackedWeights> in_order(const dnnl::memory::desc& wanted);

 private:
  /// What original_desc_ says of these outputs.
  dnnl::memory::desc original_of(const IndexRange& outputs) const;

  dnnl::memory::desc original_desc_;
  const void* original_ = nullptr;
  std::vector<std::shared_ptr<const PackedWeights>> base_;  // each output once
  std::vector<std::weak_ptr<const PackedWeights>> others_;
};

}  // namespace onnxtool
