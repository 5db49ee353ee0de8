#include "calib/kernels/dnnl/weights.h"

#include <algorithm>

#include "libopt/support/huge_pages.h"

namespace onnxtool {
namespace {

using dnnl::memory;
using Bytes = std::unique_ptr<void, PackedWeights::Free>;

Bytes allocate(size_t size_bytes) {
  return Bytes(allocate_in_huge_pages(64, size_bytes));
}

bool overlap(const IndexRange& a, const IndexRange& b) {
  return a.first < b.first + b.count && b.first < a.first + a.count;
}

}  // namespace

memory::desc WeightStore::original_of(const IndexRange& outputs) const {
  memory::dims dims = original_desc_.dims(), offsets(dims.size(), 0);
  if (outputs.count == dims[0]) return original_desc_;
  dims[0] = outputs.count;
  offsets[0] = outputs.first;
  return original_desc_.submemory_desc(dims, offsets);
}

std::shared_ptr<const PackedWeights> WeightStore::in_order(const memory::desc& wanted) {
  return in_order(wanted, {0, original_desc_.dims()[0]});
}

std::shared_ptr<const PackedWeights> WeightStore::in_order(const memory::desc& wanted,
                                                           const IndexRange& outputs) {
  const auto fits = [&](const PackedWeights& p) {
    return p.outputs.first == outputs.first && p.desc == wanted;
  };
  for (const auto& held : base_)
    if (fits(*held)) return held;
  for (const auto& weak : others_)
    if (auto held = weak.lock(); held && fits(*held)) return held;
  const void* source = original_;
  Bytes gathered;
  if (!source) {
    gathered = allocate(original_desc_.get_size());
    if (!gathered) return nullptr;
    for (const auto& held : base_)
      reorder(held->desc, held->data.get(), original_of(held->outputs), gathered.get());
    source = gathered.get();
  }
  auto made =
      std::make_shared<PackedWeights>(PackedWeights{outputs, wanted, allocate(wanted.get_size())});
  if (!made->data) return nullptr;
  reorder(original_of(outputs), source, wanted, made->data.get());
  const bool is_new = std::ranges::none_of(
      base_, [&](const auto& held) { return overlap(held->outputs, outputs); });
  if (is_new)
    base_.push_back(made);
  else
    others_.push_back(made);
  return made;
}

}  // namespace onnxtool
