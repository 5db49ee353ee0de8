// Memory for what is read from end to end in every run: weights and activations. Walking it in
// pages of 4 KiB costs a large part of the time of a product with few rows. Header-only, so that
// kernel modules can use it.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

namespace onnxtool {

inline constexpr size_t kHugePage = size_t{2} << 20;

/// As std::aligned_alloc, freed with std::free. What fills whole huge pages is aligned to them and
/// the system is asked for such, where it gives them on request; the rest takes small ones, so that
/// no memory is wasted.
inline void* allocate_in_huge_pages(size_t alignment, size_t size_bytes) {
  size_bytes = (size_bytes + alignment - 1) / alignment * alignment;
  if (size_bytes < kHugePage) return std::aligned_alloc(alignment, size_bytes);
  void* data = nullptr;
  if (::posix_memalign(&data, kHugePage, size_bytes) != 0) return nullptr;
  ::madvise(data, size_bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return data;
}

}  // namespace onnxtool
