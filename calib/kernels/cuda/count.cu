// Counting values for calibration where they lie: extrema, kinds, and the log-linear histogram of
// Summary (calib/ranges/summary.h). Everything that is kept is an integer that only grows, so the
// result does not depend on the order of lanes, blocks or samples, and equals the host's exactly.
//
// A block counts in shared memory, an octave (256 buckets) to each of its kSlots slots; the first
// octave that asks for a slot has it, and what finds its slot taken is counted in device memory at
// once. Slots follow the exponent, so that the octaves which hold most values have slots of their
// own: 16 in a row of either sign.

#include "calib/kernels/cuda/backend.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool::device {
namespace {

constexpr int kSlots = 32, kSteps = 256;

template <class T>
struct CountBlock {
  struct Shared {
    uint32_t owner[kSlots];  // octave + 1; 0: free
    uint32_t steps[kSlots][kSteps];
    uint32_t zeros, nan, positive_infinity, negative_infinity, finite;
    uint32_t highest, lowest_complement;
  };

  DataType type;
  const void* data;
  int64_t count, per_block;
  DeviceTally* counts;
  uint64_t* table;  // nullptr: no histogram

  ONNXTOOL_HD void start(Shared& s, int lane) const {
    auto* words = reinterpret_cast<uint32_t*>(&s);
    for (size_t i = static_cast<size_t>(lane); i < sizeof s / 4; i += kLanes) words[i] = 0;
  }

  ONNXTOOL_HD void add(Shared& s, int64_t block, int lane) const {
    const int64_t begin = block * per_block;
    const int64_t end = begin + per_block < count ? begin + per_block : count;
    uint32_t zeros = 0, nan = 0, positive = 0, negative = 0, finite = 0;
    uint32_t highest = 0, lowest = 0;
    for (int64_t i = begin + lane; i < end; i += kLanes) {
      const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(load<T>(type, data, i)));
      const uint32_t magnitude = bits & 0x7fffffffu;
      if (magnitude >= 0x7f800000u) {
        if (magnitude > 0x7f800000u)
          ++nan;
        else
          ++(bits >> 31 ? negative : positive);
        continue;
      }
      ++finite;
      const uint32_t key = DeviceTally::key(magnitude ? bits : 0);  // a zero is +0
      highest = highest > key ? highest : key;
      lowest = lowest > ~key ? lowest : ~key;
      if (!magnitude)
        ++zeros;
      else if (table)
        tally(s, bits);
    }
    const auto sum = [](uint32_t* to, uint32_t n) {
      if (n) atomic_add(to, n);
    };
    sum(&s.zeros, zeros);
    sum(&s.nan, nan);
    sum(&s.positive_infinity, positive);
    sum(&s.negative_infinity, negative);
    sum(&s.finite, finite);
    atomic_max(&s.highest, highest);
    atomic_max(&s.lowest_complement, lowest);
  }

  ONNXTOOL_HD void finish(Shared& s, int lane) const {
    if (table)
      for (int i = lane; i < kSlots * kSteps; i += kLanes)
        if (const uint32_t n = s.steps[i / kSteps][i % kSteps])
          atomic_add(table + (s.owner[i / kSteps] - 1) * kSteps + i % kSteps, n);
    if (lane != 0) return;
    const auto sum = [](uint64_t* to, uint32_t n) {
      if (n) atomic_add(to, n);
    };
    sum(&counts->finite, s.finite);
    sum(&counts->zeros, s.zeros);
    sum(&counts->nan, s.nan);
    sum(&counts->positive_infinity, s.positive_infinity);
    sum(&counts->negative_infinity, s.negative_infinity);
    atomic_max(&counts->highest, s.highest);
    atomic_max(&counts->lowest_complement, s.lowest_complement);
  }

  ONNXTOOL_HD void tally(Shared& s, uint32_t bits) const {
    const uint32_t octave = bits >> 23, sign = bits >> 31;
    const uint32_t slot = (octave + sign * (kSlots / 2)) % kSlots;
    uint32_t owner = atomic_read(&s.owner[slot]);
    if (owner == 0) owner = atomic_claim(&s.owner[slot], octave + 1);
    if (owner == 0 || owner == octave + 1)
      atomic_add(&s.steps[slot][bits >> 15 & (kSteps - 1)], 1u);
    else
      atomic_add(table + (bits >> 15), uint64_t{1});
  }
};

template <class T>
void launch(DeviceTally* counts, uint64_t* table, const ConstView& value) {
  // Few enough blocks that adding their tables up stays small, none of more than 32 bits.
  constexpr int64_t kLeast = 16384, kMostBlocks = 512, kMost = int64_t{1} << 31;
  int64_t blocks = (value.count + kLeast - 1) / kLeast;
  if (blocks > kMostBlocks) blocks = kMostBlocks;
  if (blocks < value.count / kMost + 1) blocks = value.count / kMost + 1;
  const int64_t per_block = (value.count + blocks - 1) / blocks;
  for_each_block(blocks,
                 CountBlock<T>{value.dtype, value.data, value.count, per_block, counts, table});
}

}  // namespace

Status count(DeviceTally* counts, uint64_t* table, const ConstView& value) {
  if (value.count == 0) return {};
  switch (value.dtype) {
    case DataType::kFloat:
    case DataType::kFloat16:
    case DataType::kBfloat16: launch<float>(counts, table, value); break;
    case DataType::kDouble: launch<double>(counts, table, value); break;
    default: return kernel_error(ErrorCode::kUnsupported, "counting takes floating types only");
  }
  return {};
}

}  // namespace onnxtool::device
