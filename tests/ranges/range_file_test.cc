// Range files: exact round trips, refusals that name the culprit, sharded equal to whole.

#include "calib/ranges/range_file.h"

#include <doctest/doctest.h>

#include <limits>
#include <random>

#include "calib/ranges/shard.h"

namespace onnxtool {
namespace {

std::vector<float> normal(size_t n, uint32_t seed) {
  std::mt19937 g(seed);
  std::normal_distribution<float> d;
  std::vector<float> v(n);
  for (float& x : v) x = d(g);
  return v;
}

// A digest with this last digit.
std::string digest(char last) { return std::string(63, '0') + last; }

RangeFile sample(std::span<const float> values) {
  RangeFile f;
  f.key = {"sha256:m", digest('d'), "sha256:o", "cpu", "avx2"};
  f.samples = f.all_samples = 3;
  f.extremes["only extrema"] = {{-1.5f, 2}, {0, 0.1f}, {-1e-45f, 3.4028235e38f}};
  Summary s;
  s.add(values);
  f.tensors["x \"quoted\" \xc3\xa9"] = s;
  Summary extrema(Summary::Mode::kMinMax);
  extrema.add(values);
  f.tensors["only extrema"] = extrema;
  f.tensors["nothing"] = Summary();
  const float odd[] = {0.1f, -1e-45f, 3.4028235e38f, std::numeric_limits<float>::quiet_NaN(), 0};
  Summary o;
  o.add(odd);
  f.tensors["odd"] = o;
  return f;
}

TEST_CASE("range file: reads back exactly, and writes the same bytes again") {
  const RangeFile f = sample(normal(5000, 1));
  const std::string text = save_ranges(f);
  const auto back = load_ranges(text);
  REQUIRE(back.ok());
  CHECK(back->key == f.key);
  CHECK(back->samples == 3);
  CHECK(back->all_samples == 3);
  CHECK(back->extremes == f.extremes);
  CHECK(back->tensors == f.tensors);
  CHECK(save_ranges(*back) == text);
  for (const auto& [name, s] : f.tensors) {
    if (!s.all_finite() || s.mode() != Summary::Mode::kHistogram || s.count() == 0) continue;
    CHECK(*calibrate(Calibrator::kMse, back->tensors.at(name), {}) ==
          *calibrate(Calibrator::kMse, s, {}));
  }
}

TEST_CASE("range file: a small one, as it stands on disk") {
  RangeFile f;
  f.key = {"m", digest('d'), "o", "cpu", "sse2"};
  f.samples = f.all_samples = 2;
  const float values[] = {1.0f, 1.0f, 1.00390625f, 4.0f, 0.0f};
  f.tensors["x"].add(values);
  f.extremes["x"] = {{0, 1}, {1, 4}};
  CHECK(save_ranges(f) ==
        "{\n\"format\": \"onnxtool-ranges\",\n\"version\": 2,\n\"model\": \"m\",\n\"data\": \"" +
            digest('d') +
            "\",\n\"options\": \"o\",\n"
            "\"kernel_set\": \"cpu\",\n\"isa\": \"sse2\",\n\"shard_count\": 1,\n\"shards\": "
            "[0],\n\"samples\": 2,\n\"all_samples\": 2,\n\"tensors\": {\n"
            "\"x\": {\"min\": 0, \"max\": 4, \"finite\": 5, \"zeros\": 1, \"nan\": 0, "
            "\"positive_infinity\": 0, "
            "\"negative_infinity\": 0, \"histogram\": \"32512:2,1;33024:1\", \"extremes\": [0, 1, "
            "1, 4]}\n}\n}\n");
}

TEST_CASE("range file: what it refuses") {
  const std::string good = save_ranges(sample(normal(50, 2)));
  const auto message = [&](std::string from, std::string to) {
    std::string text = good;
    const size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
    const auto r = load_ranges(text);
    REQUIRE_FALSE(r.ok());
    CHECK(r.error().code == ErrorCode::kBadData);
    return r.error().message;
  };
  CHECK(message("{\n\"format\"", "[\n\"format\"") == "is not JSON");
  CHECK(message("onnxtool-ranges", "else") ==
        "is no range file: 'format' is not \"onnxtool-ranges\"");
  CHECK(message("\"version\": 2", "\"version\": 1") == "range file has version 1, expected 2");
  CHECK(message("\"data\": \"0", "\"data\": \"g") ==
        "'data' is not a digest of 64 hexadecimal digits");
  CHECK(message("\"all_samples\": 3", "\"all_samples\": 4") ==
        "'samples' is 3, but these shards of 4 samples have 4");
  CHECK(message("-1.5, 2, ", "-1.5, ") ==
        "tensor 'only extrema': 'extremes' does not hold a lowest and a highest value for each of "
        "3 samples");
  CHECK(message("[-1.5, 2, ", "[2, -1.5, ").find("'extremes' does not hold") != std::string::npos);
  CHECK(message("\"model\": \"sha256:m\",\n", "") == "'model' is missing");
  CHECK(message("\"samples\": 3,", "\"samples\": -3,") == "'samples' is not a count");
  CHECK(message("\"shards\": [0]", "\"shards\": [1]") ==
        "'shards' is not an ascending list of shards below 1");
  CHECK(message("\"finite\": 4,", "\"finite\": 5,").find("but 5 are counted as finite") !=
        std::string::npos);
  CHECK(message("\"histogram\": \"", "\"histogram\": \"9:\"") == "is not JSON");
  CHECK(message("\"nothing\": {\"min\": 0", "\"nothing\": {\"min\": 0.1") ==
        "tensor 'nothing': 'min' is not a float");
  CHECK(message("\"histogram\": \"", "\"histogram\": \"x")
            .find("'histogram' is not a list of runs") != std::string::npos);
  CHECK(message("\"histogram\": \"", "\"histogram\": \";")
            .find("'histogram' is not a list of runs") != std::string::npos);
  CHECK_FALSE(load_ranges("").ok());
  CHECK_FALSE(load_ranges("null").ok());
  CHECK_FALSE(load_ranges(std::string(100000, '[')).ok());
  for (size_t n = 0; n < good.size() - 2; n += 7) CHECK_FALSE(load_ranges(good.substr(0, n)).ok());
}

TEST_CASE("range file: a mismatch names each key that differs") {
  const RangeFile f = sample(normal(10, 3));
  CHECK(check_ranges(f, f.key).ok());
  CHECK(check_ranges(f, {"sha256:m", "", "", "", ""}).ok());
  const Status s = check_ranges(f, {"sha256:m", digest('e'), "sha256:o", "cpu", "avx512"});
  REQUIRE_FALSE(s.ok());
  CHECK(s.error().code == ErrorCode::kMismatch);
  CHECK(s.error().message == "ranges were made for something else: data digest is " + digest('d') +
                                 ", expected " + digest('e') + "; ISA is avx2, expected avx512");
  RangeFile part = f;
  part.shard_count = 4;
  part.shards = {1, 2};
  CHECK(check_ranges(part, f.key).error().message == "ranges hold 2 of 4 shards");
}

TEST_CASE("range file: shards merge to the bytes of one run, in any order") {
  const std::vector<float> values = normal(60000, 4);
  constexpr int kSamples = 7, kShards = 3;
  // Sample i is a stretch of the values; a shard has every third.
  const auto sample_of = [&](int i) {
    return std::span<const float>(values).subspan(static_cast<size_t>(i) * 8000,
                                                  100 + static_cast<size_t>(i) * 1000);
  };
  const auto file_of = [&](std::vector<int> shards, int count) {
    RangeFile f;
    DataDigest data;
    f.key = {"m", "", "o", "cpu", "avx2"};
    f.shard_count = count;
    f.shards = shards;
    f.all_samples = kSamples;
    for (int i = 0; i < kSamples; ++i) {
      if (std::find(shards.begin(), shards.end(), i % count) == shards.end()) continue;
      ++f.samples;
      f.tensors["x"].add(sample_of(i));
      f.extremes["x"].push_back({static_cast<float>(-i), static_cast<float>(i)});
      const auto v = sample_of(i);
      data.add(i, {"",
                   {Tensor::from({static_cast<int64_t>(v.size())},
                                 std::vector<float>(v.begin(), v.end()))}});
    }
    f.key.data = data.hex();
    return f;
  };
  const RangeFile whole = file_of({0}, 1);
  const RangeFile a = file_of({0}, kShards), b = file_of({1}, kShards), c = file_of({2}, kShards);
  for (const auto& order : {std::vector{a, b, c}, {c, a, b}, {b, c, a}}) {
    const auto merged = merge_ranges(order);
    REQUIRE(merged.ok());
    CHECK(save_ranges(*merged) == save_ranges(whole));
    CHECK(merged->complete());
    CHECK(load_ranges(save_ranges(*merged)).ok());
  }
  const auto two = merge_ranges({c, a});
  REQUIRE(two.ok());
  CHECK_FALSE(two->complete());
  CHECK(save_ranges(*merge_ranges({b, *two})) == save_ranges(whole));
  RangeFile without = b;
  without.extremes.clear();
  CHECK(merge_ranges({a, without, c})->extremes.empty());

  const auto refused = [](std::vector<RangeFile> parts) {
    const auto r = merge_ranges(std::move(parts));
    REQUIRE_FALSE(r.ok());
    return r.error().message;
  };
  CHECK(refused({a, a}) == "part 2: shard 0 is already in");
  RangeFile other = b;
  other.key.model = "m2";
  CHECK(refused({a, other}) == "part 2: model digest is m2, but m in the first part");
  other = b;
  other.key.options = "o2";
  CHECK(refused({a, other}) == "part 2: options are o2, but o in the first part");
  other = b;
  other.all_samples = 8;
  CHECK(refused({a, other}) == "part 2: the number of all samples is 8, but 7 in the first part");
  other = b;
  other.tensors["y"];
  CHECK(refused({a, other}) == "part 2: holds other tensors than the first part");
  other = b;
  other.shard_count = 4;
  CHECK(refused({a, other}) == "part 2: shard count is 4, but 3 in the first part");
  other = b;
  other.key.isa = "avx512";
  CHECK(refused({a, other}) ==
        "part 2: kernel set and ISA is cpu avx512, but cpu avx2 in the first part");
  const auto mixed = merge_ranges({a, other, c}, /*mix_isa=*/true);
  REQUIRE(mixed.ok());
  CHECK(mixed->key.isa == "mixed");
  CHECK(refused({}) == "no range files to merge");
}

}  // namespace
}  // namespace onnxtool
