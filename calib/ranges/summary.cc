// Counting is the hot loop of calibration. Large spans are counted in a table of 32-bit counters
// that belongs to the thread, one per pattern >> 15, and the octaves that occurred are then added
// to the summary: no lookup of the octave per element. Two counters a bucket, used in turn, halve
// the wait of an increment on the one before when values repeat. Zeros, which repeat most (after a
// Relu), are only counted, by the scan that also finds the extrema.

#include "calib/ranges/summary.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "calib/ranges/scan.h"
#include "libopt/support/half.h"

namespace onnxtool {
namespace {

constexpr uint32_t kBuckets = 1u << 17;
constexpr uint32_t kSignBucket = 1u << 16;
constexpr uint32_t kSpecialOctave = 255;  // infinity and NaN, in either half
constexpr uint32_t kSignOctave = 256;

// Below this, adding the table's octaves to the summary costs more than counting there directly.
constexpr size_t kTableThreshold = 32768;
// Elements that fit the first-level cache, so that the second loop over them reads no memory.
constexpr size_t kChunk = 2048;
// Counters of the table are 32 bits.
constexpr size_t kSegment = size_t{1} << 30;

/// lanes[b][0..1]: bucket b.
struct Table {
  uint32_t lanes[kBuckets][2];
};

/// All zero between calls.
Table& thread_table() {
  thread_local const std::unique_ptr<Table> table = std::make_unique<Table>();
  return *table;
}

void tally(Table& table, const uint32_t* buckets, size_t n) {
  auto* const lanes = table.lanes;
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const uint32_t b0 = buckets[i], b1 = buckets[i + 1], b2 = buckets[i + 2], b3 = buckets[i + 3];
    ++lanes[b0][0];
    ++lanes[b1][1];
    ++lanes[b2][0];
    ++lanes[b3][1];
  }
  for (; i < n; ++i) ++lanes[buckets[i]][0];
}

uint32_t bucket_of(float v) { return std::bit_cast<uint32_t>(v) >> 15; }

/// Bounds of a bucket's magnitudes. The last bucket of all ends at 2^128, beyond float.
double magnitude_from(uint32_t step) {  // step: pattern >> 15 without the sign
  if (step == kSpecialOctave * Summary::kStepsPerOctave) return 0x1p128;
  return std::bit_cast<float>(step << 15);
}

Error inconsistent(const std::string& what) { return Error{ErrorCode::kBadData, what, {}}; }

}  // namespace

Summary::Summary(const Summary& other)
    : mode_(other.mode_),
      min_(other.min_),
      max_(other.max_),
      finite_(other.finite_),
      zeros_(other.zeros_),
      nan_(other.nan_),
      positive_infinity_(other.positive_infinity_),
      negative_infinity_(other.negative_infinity_) {
  octaves_.resize(other.octaves_.size());
  for (size_t i = 0; i < octaves_.size(); ++i)
    if (other.octaves_[i]) octaves_[i] = std::make_unique<Octave>(*other.octaves_[i]);
}

Summary& Summary::operator=(const Summary& other) {
  if (this != &other) *this = Summary(other);
  return *this;
}

Summary::Octave& Summary::octave(uint32_t i) {
  if (octaves_.empty()) octaves_.resize(kOctaves);
  if (!octaves_[i]) octaves_[i] = std::make_unique<Octave>();
  return *octaves_[i];
}

void Summary::extend_range(float low, float high) {
  // + 0.0f: a zero is +0, whichever came first.
  low += 0.0f;
  high += 0.0f;
  min_ = finite_ ? std::min(min_, low) : low;
  max_ = finite_ ? std::max(max_, high) : high;
}

void Summary::add(std::span<const float> values) {
  for (size_t begin = 0; begin < values.size(); begin += kSegment)
    add_segment(values.data() + begin, std::min(kSegment, values.size() - begin));
}

void Summary::add_segment(const float* x, size_t n) {
  const Scan& s = scan();
  Extrema e;
  if (mode_ == Mode::kMinMax || n < kTableThreshold) {
    s.extrema(e, x, n);
    if (e.special()) return add_special(x, n);
    if (mode_ == Mode::kHistogram) count_directly(x, n);
  } else {
    Table& table = thread_table();
    std::array<uint32_t, kChunk + Scan::kSlack> buckets;
    for (size_t i = 0; i < n; i += kChunk)
      tally(table, buckets.data(), s.buckets(e, x + i, std::min(kChunk, n - i), buckets.data()));
    if (e.special()) {
      std::memset(&table, 0, sizeof table);
      return add_special(x, n);
    }
    take_table(&table.lanes[0][0], e.min_abs, std::max(-e.min, e.max), e.min < 0);
  }
  extend_range(e.min, e.max);
  finite_ += n;
  zeros_ += e.zeros;
}

void Summary::count_directly(const float* x, size_t n) {
  if (octaves_.empty()) octaves_.resize(kOctaves);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]), o = bits >> 23;
    if (!octaves_[o]) [[unlikely]]
      octaves_[o] = std::make_unique<Octave>();
    (*octaves_[o])[bits >> 15 & (kStepsPerOctave - 1)] +=
        bits << 1 != 0;  // no branch: zeros are irregular
  }
}

void Summary::take_table(uint32_t* lanes, float min_abs, float max_abs, bool negative) {
  if (max_abs == 0) return;
  const uint32_t first = std::bit_cast<uint32_t>(min_abs) >> 23,
                 last = std::bit_cast<uint32_t>(max_abs) >> 23;
  for (uint32_t sign : {0u, kSignOctave}) {
    if (sign && !negative) break;
    for (uint32_t o = sign + first; o <= sign + last; ++o) {
      uint32_t* const from = lanes + size_t{o} * kStepsPerOctave * 2;
      uint32_t any = 0;
      for (uint32_t i = 0; i < 2 * kStepsPerOctave; ++i) any |= from[i];
      if (!any) continue;
      Octave& to = octave(o);
      for (size_t i = 0; i < kStepsPerOctave; ++i) to[i] += uint64_t{from[2 * i]} + from[2 * i + 1];
      std::memset(from, 0, sizeof(uint32_t) * 2 * kStepsPerOctave);
    }
  }
}

void Summary::add_special(const float* x, size_t n) {
  std::array<float, 1024> kept;
  while (n) {
    const size_t m = std::min(n, kept.size());
    size_t finite = 0;
    for (size_t i = 0; i < m; ++i) {
      kept[finite] = x[i];
      if ((std::bit_cast<uint32_t>(x[i]) & 0x7f800000u) != 0x7f800000u) {
        ++finite;
      } else if (x[i] != x[i]) {
        ++nan_;
      } else {
        ++(x[i] > 0 ? positive_infinity_ : negative_infinity_);
      }
    }
    if (finite) add_segment(kept.data(), finite);
    x += m;
    n -= m;
  }
}

namespace {

/// Calls sink(span of floats) on the logical elements, converted where need be.
template <class T, class Sink>
void for_logical(const ConstView& view, Sink&& sink) {
  const T* data = static_cast<const T*>(view.data);
  std::array<float, 1024> buffer;
  size_t held = 0;
  const auto flush = [&] {
    if (held) sink(std::span<const float>(buffer.data(), held));
    held = 0;
  };
  const auto take = [&](const T* from, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      buffer[held++] = static_cast<float>(from[i]);
      if (held == buffer.size()) flush();
    }
  };
  const auto take_run = [&](const T* from, size_t n) {
    if constexpr (std::is_same_v<T, float>) {
      sink(std::span<const float>(from, n));
    } else {
      take(from, n);
    }
  };
  const bool blocked = view.layout == Layout::kBlocked8 || view.layout == Layout::kBlocked16;
  const int64_t block = view.layout == Layout::kBlocked8 ? 8 : 16;
  const int64_t channels = view.rank() > 1 ? view.dims[1] : 1;
  if (!blocked || channels % block == 0) {
    take_run(data, static_cast<size_t>(view.count));
  } else if (view.count > 0) {
    // [N, ceil(C/block), spatial, block]: whole blocks are contiguous, the last has padding.
    const int64_t blocks = channels / block, in_last = channels % block;
    const int64_t spatial = view.count / (view.dims[0] * channels);
    for (int64_t n = 0; n < view.dims[0]; ++n) {
      const T* image = data + n * (blocks + 1) * spatial * block;
      if (blocks) take_run(image, static_cast<size_t>(blocks * spatial * block));
      for (int64_t s = 0; s < spatial; ++s)
        take(image + (blocks * spatial + s) * block, static_cast<size_t>(in_last));
    }
  }
  flush();
}

}  // namespace

Status Summary::add(const ConstView& tensor) {
  ONNXTOOL_CHECK(tensor.space == MemorySpace::kHost);
  const auto sink = [this](std::span<const float> values) { add(values); };
  switch (tensor.dtype) {
    case DataType::kFloat: for_logical<float>(tensor, sink); break;
    case DataType::kFloat16: for_logical<Half>(tensor, sink); break;
    case DataType::kBfloat16: for_logical<Bfloat16>(tensor, sink); break;
    case DataType::kDouble: for_logical<double>(tensor, sink); break;
    default:
      return Error{ErrorCode::kUnsupported,
                   "no range of a tensor of type " + std::string(name(tensor.dtype)) +
                       ", expected a floating type",
                   {}};
  }
  return {};
}

void Summary::merge(const Summary& other) {
  if (mode_ == Mode::kHistogram && other.mode_ == Mode::kHistogram) {
    for (uint32_t o = 0; o < other.octaves_.size(); ++o) {
      if (!other.octaves_[o]) continue;
      Octave& to = octave(o);
      for (size_t i = 0; i < to.size(); ++i) to[i] += (*other.octaves_[o])[i];
    }
  } else {
    mode_ = Mode::kMinMax;
    octaves_.clear();
  }
  if (other.finite_) extend_range(other.min_, other.max_);
  finite_ += other.finite_;
  zeros_ += other.zeros_;
  nan_ += other.nan_;
  positive_infinity_ += other.positive_infinity_;
  negative_infinity_ += other.negative_infinity_;
}

std::vector<Summary::Count> Summary::counts() const {
  std::vector<Count> result;
  for (uint32_t o = 0; o < octaves_.size(); ++o) {
    if (!octaves_[o]) continue;
    for (uint32_t i = 0; i < kStepsPerOctave; ++i)
      if (const uint64_t n = (*octaves_[o])[i]) result.push_back({o * kStepsPerOctave + i, n});
  }
  return result;
}

std::vector<Summary::Bucket> Summary::buckets() const {
  const std::vector<Count> all = counts();
  const auto split =
      std::lower_bound(all.begin(), all.end(), kSignBucket,
                       [](const Count& c, uint32_t index) { return c.index < index; });
  std::vector<Bucket> result;
  result.reserve(all.size());
  for (auto it = all.end(); it != split;) {  // negative values ascend as patterns descend
    --it;
    const uint32_t step = it->index - kSignBucket;
    result.push_back({-magnitude_from(step + 1), -magnitude_from(step), it->count});
  }
  for (auto it = all.begin(); it != split; ++it)
    result.push_back({magnitude_from(it->index), magnitude_from(it->index + 1), it->count});
  if (!result.empty()) {
    // min and max are zero, not an end of these buckets, where zeros lie outside of them.
    if (min_ < 0 || zeros_ == 0) result.front().lower = min_;
    if (max_ > 0 || zeros_ == 0) result.back().upper = max_;
  }
  return result;
}

double Summary::mean() const {
  if (finite_ == 0) return 0;
  double sum = 0;
  for (const Bucket& b : buckets()) sum += static_cast<double>(b.count) * b.middle();
  return sum / static_cast<double>(finite_);
}

double Summary::variance() const {
  if (finite_ == 0 || mode_ == Mode::kMinMax) return 0;
  const double m = mean();
  double sum = static_cast<double>(zeros_) * m * m;
  for (const Bucket& b : buckets()) {
    const double d = b.middle() - m, width = b.upper - b.lower;
    sum += static_cast<double>(b.count) * (d * d + width * width / 12);
  }
  return sum / static_cast<double>(finite_);
}

size_t Summary::size_bytes() const {
  size_t bytes = octaves_.capacity() * sizeof octaves_[0];
  for (const auto& o : octaves_) bytes += o ? sizeof *o : 0;
  return bytes;
}

Result<Summary> Summary::restore(Mode mode, const Header& header, std::span<const Count> counts) {
  Summary s(mode);
  s.zeros_ = header.zeros;
  s.nan_ = header.nan;
  s.positive_infinity_ = header.positive_infinity;
  s.negative_infinity_ = header.negative_infinity;
  s.finite_ = header.finite;
  s.min_ = header.min;
  s.max_ = header.max;
  if (!std::isfinite(header.min) || !std::isfinite(header.max) || header.min > header.max)
    return inconsistent("min and max are not finite values in ascending order");
  if (header.zeros > header.finite) return inconsistent("more zeros than finite values");
  if (header.zeros && (header.min > 0 || header.max < 0))
    return inconsistent("zeros lie outside min and max");
  if (mode == Mode::kMinMax) {
    if (!counts.empty()) return inconsistent("a histogram where only min and max are kept");
    return s;
  }
  uint64_t total = header.zeros;
  for (size_t i = 0; i < counts.size(); ++i) {
    const Count& c = counts[i];
    if (c.index >= kBuckets || (c.index & (kSignBucket - 1)) >= kSpecialOctave * kStepsPerOctave ||
        c.count == 0 || (i && counts[i - 1].index >= c.index))
      return inconsistent("histogram bucket " + std::to_string(c.index) +
                          " is out of order, empty or not finite");
    if (__builtin_add_overflow(total, c.count, &total))
      return inconsistent("histogram counts pass 64 bits");
    s.octave(c.index / kStepsPerOctave)[c.index % kStepsPerOctave] = c.count;
  }
  if (total != header.finite)
    return inconsistent("histogram and zeros hold " + std::to_string(total) + " values, but " +
                        std::to_string(header.finite) + " are counted as finite");
  // The extrema must lie in the outermost buckets: calibrators integrate between them.
  const auto positive_end =
      std::lower_bound(counts.begin(), counts.end(), kSignBucket,
                       [](const Count& c, uint32_t index) { return c.index < index; });
  const bool any_negative = positive_end != counts.end(),
             any_positive = positive_end != counts.begin();
  uint32_t lowest = 0, highest = 0;  // the bucket of zero
  if (any_negative)
    lowest = counts.back().index;
  else if (header.zeros == 0 && any_positive)
    lowest = counts.front().index;
  if (any_positive)
    highest = (positive_end - 1)->index;
  else if (header.zeros == 0 && any_negative)
    highest = positive_end->index;
  if (bucket_of(header.min + 0.0f) != lowest || bucket_of(header.max + 0.0f) != highest)
    return inconsistent("min and max lie outside the outermost histogram buckets");
  return s;
}

bool Summary::operator==(const Summary& other) const {
  return mode_ == other.mode_ && min() == other.min() && max() == other.max() &&
         finite_ == other.finite_ && zeros_ == other.zeros_ && nan_ == other.nan_ &&
         positive_infinity_ == other.positive_infinity_ &&
         negative_infinity_ == other.negative_infinity_ && counts() == other.counts();
}

}  // namespace onnxtool
