// Parts of calibration data: which samples a shard has, and a digest of samples that adds up.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "calib/data/source.h"

namespace onnxtool {

/// One of `count` parts, 0-based.
struct Shard {
  int index = 0;
  int count = 1;
  bool whole() const { return count == 1; }
  /// How many of `all` samples it has: every count-th, from `index` on, so that class directories
  /// spread over all shards.
  int64_t samples_of(int64_t all) const {
    return all <= index ? 0 : (all - index + count - 1) / count;
  }
};
inline constexpr int kMaxShards = 1 << 20;

/// `i/n`, as in 0/4. Errors (kUsage) say what is wrong.
Result<Shard> parse_shard(const std::string& text);

/// A shard of another source, which must outlive it.
class ShardSamples final : public SampleSource {
 public:
  ShardSamples(const SampleSource& all, Shard shard) : all_(all), shard_(shard) {}
  int64_t size() const override { return shard_.samples_of(all_.size()); }
  Result<Sample> read(int64_t index) const override { return all_.read(position(index)); }
  SourceDescription describe() const override;
  const std::vector<std::string>& labels() const override { return all_.labels(); }
  bool has_labels() const override { return all_.has_labels(); }
  /// Of a sample of the shard among all samples.
  int64_t position(int64_t index) const { return shard_.index + index * shard_.count; }

 private:
  const SampleSource& all_;
  Shard shard_;
};

/// The sum, modulo 2^256, of a SHA-256 digest per sample, which covers its position: the digests of
/// disjoint parts add up to that of the whole, in any order.
class DataDigest {
 public:
  /// Types, shapes and bytes of the inputs of the sample at this position of the whole data.
  void add(int64_t position, const Sample& sample);
  void add(const DataDigest& other);
  /// 64 lower-case hex digits.
  std::string hex() const;
  /// False where the text is not what hex() gives.
  bool parse(std::string_view text);

 private:
  std::array<uint64_t, 4> words_ = {};  // most significant first
};

/// Digests the samples of a shard while they are read for something else.
class DigestedSamples final : public SampleSource {
 public:
  DigestedSamples(const SampleSource& samples, Shard shard)
      : all_(samples), shard_(shard), seen_(static_cast<size_t>(samples.size()), false) {}
  int64_t size() const override { return all_.size(); }
  Result<Sample> read(int64_t index) const override;
  SourceDescription describe() const override { return all_.describe(); }
  const std::vector<std::string>& labels() const override { return all_.labels(); }
  bool has_labels() const override { return all_.has_labels(); }
  /// Of the samples read so far, each counted once.
  DataDigest digest() const {
    const std::lock_guard lock(mutex_);
    return total_;
  }

 private:
  const SampleSource& all_;
  Shard shard_;
  mutable std::mutex mutex_;
  mutable std::vector<bool> seen_;
  mutable DataDigest total_;
};

/// The digest of all samples, read in parallel.
Result<DataDigest> digest_samples(const SampleSource& source, int threads);

}  // namespace onnxtool
