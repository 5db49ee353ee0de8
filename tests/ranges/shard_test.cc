// Shards: they cover the data once, and their digests add up.

#include "calib/ranges/shard.h"

#include <doctest/doctest.h>

#include <set>

namespace onnxtool {
namespace {

// Sample i holds the number i.
class Numbers final : public SampleSource {
 public:
  explicit Numbers(int64_t count) : count_(count) {}
  int64_t size() const override { return count_; }
  Result<Sample> read(int64_t index) const override {
    return Sample{std::to_string(index),
                  {Tensor::vector(std::vector<float>{static_cast<float>(index)})}};
  }
  SourceDescription describe() const override { return {.format = "numbers", .count = count_}; }
  const std::vector<std::string>& labels() const override { return none_; }
  bool has_labels() const override { return false; }

 private:
  int64_t count_;
  std::vector<std::string> none_;
};

TEST_CASE("shards: every sample is in exactly one, whatever their number") {
  for (const int64_t samples : {1, 2, 7, 100}) {
    const Numbers all(samples);
    const auto whole = digest_samples(all, 2);
    REQUIRE(whole.ok());
    for (const int count : {1, 2, 3, 7, 8}) {
      std::multiset<int64_t> seen;
      DataDigest sum;
      for (int i = count; i-- > 0;) {
        const ShardSamples part(all, {i, count});
        CHECK(part.describe().count == part.size());
        const DigestedSamples digested(part, {i, count});
        for (int64_t k = 0; k < part.size(); ++k) {
          const auto s = digested.read(k);
          REQUIRE(s.ok());
          seen.insert(static_cast<int64_t>(s->inputs[0].values<float>()[0]));
          CHECK(digested.read(k).ok());  // a second reading counts no more
        }
        sum.add(digested.digest());
      }
      CHECK(seen.size() == static_cast<size_t>(samples));
      CHECK(std::set(seen.begin(), seen.end()).size() == static_cast<size_t>(samples));
      CHECK(sum.hex() == whole->hex());
    }
  }
}

TEST_CASE("shards: the digest covers values, order and shape") {
  const auto of = [](std::vector<std::vector<float>> samples, std::vector<int64_t> dims) {
    DataDigest d;
    for (size_t i = 0; i < samples.size(); ++i)
      d.add(static_cast<int64_t>(i), {"", {Tensor::from(dims, samples[i])}});
    return d.hex();
  };
  const std::string base = of({{1, 2}, {3, 4}}, {2});
  CHECK(base.size() == 64);
  CHECK(of({{1, 2}, {3, 4}}, {2}) == base);
  CHECK(of({{3, 4}, {1, 2}}, {2}) != base);
  CHECK(of({{1, 2}, {3, 5}}, {2}) != base);
  CHECK(of({{1, 2}, {3, 4}}, {1, 2}) != base);
  DataDigest back, ones;
  CHECK(back.parse(base));
  CHECK(back.hex() == base);
  CHECK_FALSE(back.parse(base.substr(1)));
  CHECK_FALSE(back.parse(std::string(64, 'x')));
  // Sums carry from word to word, and wrap.
  CHECK(ones.parse(std::string(64, 'f')));
  DataDigest one;
  CHECK(one.parse(std::string(63, '0') + "1"));
  one.add(ones);
  CHECK(one.hex() == std::string(64, '0'));
}

TEST_CASE("shards: what i/n may be") {
  const auto s = parse_shard("3/8");
  REQUIRE(s.ok());
  CHECK(s->index == 3);
  CHECK(s->count == 8);
  CHECK(parse_shard("8/8").error().message ==
        "--shard: there is no shard 8 of 8: they count from 0 to 7");
  CHECK(parse_shard("-1/8").error().message ==
        "--shard: there is no shard -1 of 8: they count from 0 to 7");
  CHECK(parse_shard("0/0").error().message ==
        "--shard: there cannot be 0 shards, expected 1 to 1048576");
  for (const char* wrong : {"", "3", "/", "1/", "/2", "a/2", "1/2/3", "0/99999999999", "1 /2"})
    CHECK_FALSE(parse_shard(wrong).ok());
}

}  // namespace
}  // namespace onnxtool
