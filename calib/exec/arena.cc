#include "calib/exec/arena.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <numeric>
#include <utility>

#include "libopt/support/headroom.h"
#include "libopt/support/huge_pages.h"

namespace onnxtool {
namespace {

size_t rounded(size_t n) {
  return (std::max<size_t>(n, 1) + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

}  // namespace

Arena::~Arena() { std::free(block_); }

void* Arena::heap(size_t size) {
  // Small ones come from what the process has already.
  constexpr size_t kSmall = size_t{64} << 10;
  if (size > kSmall && !has_headroom(size)) return nullptr;
  return allocate_in_huge_pages(kBufferAlignment, size);
}

void* Arena::acquire(size_t size_bytes, int* ticket) {
  const size_t size = rounded(size_bytes);
  const size_t k = record_.size();
  // The k-th request of this run goes where the k-th of the recorded run went, as long as this run
  // does the same things in the same order: sizes here, and the tick of every acquire and release.
  // A buffer that outlives its planned end shows as a wrong tick before anything can overlap it.
  const bool in_block =
      replaying_ && k < plan_.size() && plan_[k].size == size && plan_[k].begin == tick_;
  if (!in_block) replaying_ = false;
  // What may throw comes before what it would leak.
  record_.push_back({size, tick_, -1, 0});
  from_block_.push_back(in_block);
  void* data = in_block ? block_ + plan_[k].offset : heap(size);
  if (!data) {
    record_.pop_back();
    from_block_.pop_back();
    return nullptr;
  }
  ++tick_;
  if (!in_block) heap_bytes_ += size;
  *ticket = static_cast<int>(k);
  return data;
}

void Arena::release(void* data, int ticket) {
  const auto k = static_cast<size_t>(ticket);
  if (replaying_ && (k >= plan_.size() || plan_[k].end != tick_)) replaying_ = false;
  record_[k].end = tick_++;
  if (from_block_[k]) return;
  heap_bytes_ -= record_[k].size;
  std::free(data);
}

void Arena::lay_out() {
  plan_ = record_;
  // Greedy by size: each buffer goes to the lowest offset that is free during its whole life.
  std::vector<size_t> order(plan_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return plan_[a].size > plan_[b].size; });
  std::vector<size_t> placed;  // by offset
  size_t total = 0;
  for (size_t i : order) {
    size_t offset = 0;
    for (size_t j : placed) {
      const bool alive_together = plan_[i].begin < plan_[j].end && plan_[j].begin < plan_[i].end;
      if (!alive_together) continue;
      if (offset + plan_[i].size <= plan_[j].offset) break;
      offset = std::max(offset, plan_[j].offset + plan_[j].size);
    }
    plan_[i].offset = offset;
    total = std::max(total, offset + plan_[i].size);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), i,
                         [&](size_t a, size_t b) { return plan_[a].offset < plan_[b].offset; }),
        i);
  }
  block_ = static_cast<std::byte*>(heap(total));
  if (block_) block_size_ = total;
}

void Arena::finish_run() noexcept {
  const bool same = replaying_ && record_.size() == plan_.size();
  if (!same && !record_.empty()) {
    std::free(std::exchange(block_, nullptr));
    block_size_ = 0;
    try {
      lay_out();
    } catch (const std::bad_alloc&) {  // the next run does without a block
    }
    if (!block_) plan_.clear();
  }
  record_.clear();
  from_block_.clear();
  tick_ = 0;
  replaying_ = block_ != nullptr;
}

}  // namespace onnxtool
