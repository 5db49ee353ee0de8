#include "calib/ranges/shard.h"

#include <charconv>

#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

constexpr size_t kDigitsPerWord = 16;

bool parse_number(std::string_view text, int& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

}  // namespace

Result<Shard> parse_shard(const std::string& text) {
  const size_t slash = text.find('/');
  Shard s;
  if (slash == std::string::npos ||
      !parse_number(std::string_view(text).substr(0, slash), s.index) ||
      !parse_number(std::string_view(text).substr(slash + 1), s.count))
    return Error{
        ErrorCode::kUsage, "--shard: '" + text + "' is not of the form i/n, as in 0/4", {}};
  if (s.count < 1 || s.count > kMaxShards)
    return Error{ErrorCode::kUsage,
                 "--shard: there cannot be " + std::to_string(s.count) + " shards, expected 1 to " +
                     std::to_string(kMaxShards),
                 {}};
  if (s.index < 0 || s.index >= s.count)
    return Error{ErrorCode::kUsage,
                 "--shard: there is no shard " + std::to_string(s.index) + " of " +
                     std::to_string(s.count) + ": they count from 0 to " +
                     std::to_string(s.count - 1),
                 {}};
  return s;
}

SourceDescription ShardSamples::describe() const {
  SourceDescription d = all_.describe();
  d.count = size();
  return d;
}

void DataDigest::add(int64_t position, const Sample& sample) {
  Sha256 sha;
  std::string header = std::to_string(position);
  for (const Tensor& t : sample.inputs) {
    header += "|" + std::to_string(static_cast<int>(t.dtype()));
    for (const int64_t d : t.dims()) header += "," + std::to_string(d);
  }
  sha.add(header + "\n");
  for (const Tensor& t : sample.inputs) {
    sha.add(t.bytes());
    if (t.dtype() != DataType::kString) continue;
    for (const std::string& text : t.strings()) sha.add(std::to_string(text.size()) + ":" + text);
  }
  DataDigest one;
  one.words_ = sha.words();
  add(one);
}

void DataDigest::add(const DataDigest& other) {
  bool carry = false;
  for (size_t i = words_.size(); i-- > 0;) {
    const bool first = __builtin_add_overflow(words_[i], other.words_[i], &words_[i]);
    const bool second = __builtin_add_overflow(words_[i], uint64_t{carry}, &words_[i]);
    carry = first || second;
  }
}

std::string DataDigest::hex() const {
  std::string out;
  for (const uint64_t word : words_)
    for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[word >> shift & 15];
  return out;
}

bool DataDigest::parse(std::string_view text) {
  if (text.size() != words_.size() * kDigitsPerWord) return false;
  std::array<uint64_t, 4> words = {};
  for (size_t i = 0; i < words.size(); ++i) {
    const char* const begin = text.data() + i * kDigitsPerWord;
    const char* const end = begin + kDigitsPerWord;
    if (std::from_chars(begin, end, words[i], 16).ptr != end) return false;
  }
  words_ = words;
  return true;
}

Result<Sample> DigestedSamples::read(int64_t index) const {
  ONNXTOOL_ASSIGN(Sample sample, all_.read(index));
  DataDigest one;
  one.add(shard_.index + index * shard_.count, sample);
  const std::lock_guard lock(mutex_);
  if (!seen_[static_cast<size_t>(index)]) total_.add(one);
  seen_[static_cast<size_t>(index)] = true;
  return sample;
}

Result<DataDigest> digest_samples(const SampleSource& source, int threads) {
  const DigestedSamples digested(source, {});
  ONNXTOOL_TRY(
      for_each_sample(digested, threads, [](int, int64_t, Sample) -> Status { return {}; }));
  return digested.digest();
}

}  // namespace onnxtool
