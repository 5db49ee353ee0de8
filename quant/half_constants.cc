// Constants in 16 bits, and whether they survive it.

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "libopt/support/half.h"
#include "quant/half.h"

namespace onnxtool {
namespace {

// Elements that one task converts; sums of tasks are added in order.
constexpr int64_t kChunk = int64_t{1} << 16;
// Rounding to nearest leaves 66 dB of float16 (11 bits) and 48 dB of bfloat16 (8 bits) at least,
// whatever the values; less means that some lie below the normal range.
constexpr double kFloat16FloorDb = 55, kBfloat16FloorDb = 45;
// Scores are added to it: it must not reach infinity by that.
constexpr float kMask = -32768;

struct Tally {
  double signal = 0, noise = 0;
  int64_t overflows = 0, masks = 0;
};

template <class T>
Tally convert(const std::byte* from, std::byte* to, int64_t first, int64_t last, bool mask) {
  Tally t;
  for (int64_t i = first; i < last; ++i) {
    float x;
    std::memcpy(&x, from + i * 4, 4);
    if (mask && x < kMask && std::isfinite(x)) {
      x = kMask;
      ++t.masks;
    }
    const T narrow(x);
    std::memcpy(to + i * 2, &narrow.bits, 2);
    const double wide = static_cast<float>(narrow), exact = x;
    if (std::isfinite(wide)) {
      t.signal += exact * exact;
      t.noise += (exact - wide) * (exact - wide);
    } else {
      t.overflows += std::isfinite(x);
    }
  }
  return t;
}

}  // namespace

const HalfConstants::Entry& HalfConstants::of(const Tensor& tensor, bool mask) {
  const auto [it, fresh] = entries_.try_emplace({tensor.bytes().data(), mask});
  Entry& entry = it->second;
  if (!fresh && entry.tensor.dims() == tensor.dims()) return entry;
  entry.source = tensor;
  std::vector<std::byte> bytes(static_cast<size_t>(tensor.count()) * 2);
  const int64_t chunks = (tensor.count() + kChunk - 1) / kChunk;
  std::vector<Tally> tallies(static_cast<size_t>(chunks));
  tbb::parallel_for(int64_t{0}, chunks, [&](int64_t c) {
    const int64_t first = c * kChunk, last = std::min(first + kChunk, tensor.count());
    const std::byte* from = tensor.bytes().data();
    tallies[static_cast<size_t>(c)] =
        type_ == DataType::kFloat16 ? convert<Half>(from, bytes.data(), first, last, mask)
                                    : convert<Bfloat16>(from, bytes.data(), first, last, mask);
  });
  Tally sum;
  for (const Tally& t : tallies) {
    sum.signal += t.signal;
    sum.noise += t.noise;
    sum.overflows += t.overflows;
    sum.masks += t.masks;
  }
  const double floor_db = type_ == DataType::kFloat16 ? kFloat16FloorDb : kBfloat16FloorDb;
  entry.tensor = Tensor::from_bytes(type_, tensor.dims(), std::move(bytes));
  entry.overflows = sum.overflows > 0;
  entry.vanishes = sum.noise > sum.signal * std::pow(10, -floor_db / 10);
  masks_ += sum.masks > 0;
  return entry;
}

}  // namespace onnxtool
