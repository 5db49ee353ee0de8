// Range files: exact round trips, refusals that name the culprit, sharded equal to whole, other tools' files.

#include "calib/ranges/range_file.h"

#include <doctest/doctest.h>

#include <limits>
#include <random>

namespace onnxtool {
namespace {

std::vector<float> normal(size_t n, uint32_t seed) {
  std::mt19937 g(seed);
  std::normal_distribution<float> d;
  std::vector<float> v(n);
  for (float& x : v) x = d(g);
  return v;
}

RangeFile sample(std::span<const float> values) {
  RangeFile f;
  f.key = {"sha256:m", "sha256:d", "sha256:o", "cpu", "avx2"};
  f.samples = 3;
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
  CHECK(back->tensors == f.tensors);
  CHECK(save_ranges(*back) == text);
  for (const auto& [name, s] : f.tensors) {
    if (!s.all_finite() || s.mode() != Summary::Mode::kHistogram || s.count() == 0) continue;
    CHECK(*calibrate(Calibrator::kMse, back->tensors.at(name), {}) == *calibrate(Calibrator::kMse, s, {}));
  }
}

TEST_CASE("range file: a small one, as it stands on disk") {
  RangeFile f;
  f.key = {"m", "d", "o", "cpu", "sse2"};
  f.samples = 1;
  const float values[] = {1.0f, 1.0f, 1.00390625f, 4.0f, 0.0f};
  f.tensors["x"].add(values);
  CHECK(save_ranges(f) ==
        "{\n\"format\": \"onnxtool-ranges\",\n\"version\": 1,\n\"model\": \"m\",\n\"data\": \"d\",\n\"options\": \"o\",\n"
        "\"kernel_set\": \"cpu\",\n\"isa\": \"sse2\",\n\"shard_count\": 1,\n\"shards\": [0],\n\"samples\": 1,\n\"tensors\": {\n"
        "\"x\": {\"min\": 0, \"max\": 4, \"finite\": 5, \"zeros\": 1, \"nan\": 0, \"positive_infinity\": 0, "
        "\"negative_infinity\": 0, \"histogram\": \"32512:2,1;33024:1\"}\n}\n}\n");
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
  CHECK(message("onnxtool-ranges", "else") == "is no range file: 'format' is not \"onnxtool-ranges\"");
  CHECK(message("\"version\": 1", "\"version\": 2") == "range file has version 2, expected 1");
  CHECK(message("\"model\": \"sha256:m\",\n", "") == "'model' is missing");
  CHECK(message("\"samples\": 3", "\"samples\": -3") == "'samples' is not a count");
  CHECK(message("\"shards\": [0]", "\"shards\": [1]") == "'shards' is not an ascending list of shards below 1");
  CHECK(message("\"finite\": 4,", "\"finite\": 5,").find("but 5 are counted as finite") != std::string::npos);
  CHECK(message("\"histogram\": \"", "\"histogram\": \"9:\"") == "is not JSON");
  CHECK(message("\"nothing\": {\"min\": 0", "\"nothing\": {\"min\": 0.1") == "tensor 'nothing': 'min' is not a float");
  CHECK(message("\"histogram\": \"", "\"histogram\": \"x").find("'histogram' is not a list of runs") != std::string::npos);
  CHECK(message("\"histogram\": \"", "\"histogram\": \";").find("'histogram' is not a list of runs") != std::string::npos);
  CHECK_FALSE(load_ranges("").ok());
  CHECK_FALSE(load_ranges("null").ok());
  CHECK_FALSE(load_ranges(std::string(100000, '[')).ok());
  for (size_t n = 0; n < good.size() - 2; n += 7) CHECK_FALSE(load_ranges(good.substr(0, n)).ok());
}

TEST_CASE("range file: a mismatch names each key that differs") {
  const RangeFile f = sample(normal(10, 3));
  CHECK(check_ranges(f, f.key).ok());
  CHECK(check_ranges(f, {"sha256:m", "", "", "", ""}).ok());
  const Status s = check_ranges(f, {"sha256:m", "sha256:d2", "sha256:o", "cpu", "avx512"});
  REQUIRE_FALSE(s.ok());
  CHECK(s.error().code == ErrorCode::kMismatch);
  CHECK(s.error().message ==
        "ranges were made for something else: data digest is sha256:d, expected sha256:d2; ISA is avx2, expected avx512");
  RangeFile part = f;
  part.shard_count = 4;
  part.shards = {1, 2};
  CHECK(check_ranges(part, f.key).error().message == "ranges hold 2 of 4 shards");
}

TEST_CASE("range file: shards merge to the bytes of one run, in any order") {
  const std::vector<float> values = normal(60000, 4);
  const std::span<const float> v(values);
  const auto shard = [&](int i, std::span<const float> part) {
    RangeFile f;
    f.key = {"m", "d", "o", "cpu", "avx2"};
    f.shard_count = 3;
    f.shards = {i};
    f.samples = part.size();
    f.tensors["x"].add(part);
    return f;
  };
  RangeFile whole = shard(0, v);
  whole.shards = {0, 1, 2};
  const RangeFile a = shard(0, v.subspan(0, 100)), b = shard(1, v.subspan(100, 40000)), c = shard(2, v.subspan(40100));
  for (const auto& order : {std::vector{a, b, c}, {c, a, b}, {b, c, a}}) {
    const auto merged = merge_ranges(order);
    REQUIRE(merged.ok());
    CHECK(save_ranges(*merged) == save_ranges(whole));
    CHECK(merged->complete());
  }
  const auto refused = [](std::vector<RangeFile> parts) {
    const auto r = merge_ranges(std::move(parts));
    REQUIRE_FALSE(r.ok());
    return r.error().message;
  };
  CHECK(refused({a, a}) == "part 2: shard 0 is already in");
  RangeFile other = b;
  other.key.data = "d2";
  CHECK(refused({a, other}) == "part 2: data digest is d2, but d in the first part");
  other = b;
  other.tensors["y"];
  CHECK(refused({a, other}) == "part 2: holds other tensors than the first part");
  other = b;
  other.shard_count = 4;
  CHECK(refused({a, other}) == "part 2: shard count is 4, but 3 in the first part");
  other = b;
  other.key.isa = "avx512";
  CHECK(refused({a, other}) == "part 2: kernel set and ISA is cpu avx512, but cpu avx2 in the first part");
  const auto mixed = merge_ranges({a, other, c}, /*mix_isa=*/true);
  REQUIRE(mixed.ok());
  CHECK(mixed->key.isa == "mixed");
  CHECK(refused({}) == "no range files to merge");
}

TEST_CASE("onnxruntime's calibration cache: both of its forms, and ours") {
  // As its save_tensors_data and write_calibration_table write them (1.31).
  const char* const cache =
      R"({"CLS": "TensorsData", "data": {"x": {"lowest": -1.5, "highest": 3.0999999046325684, "CLS": "TensorData"},)"
      R"( "y": {"lowest": {"data": 0.0, "dtype": "float32", "CLS": "numpy.array"}, "highest": {"data": [6.0], "dtype": "float32",)"
      R"( "CLS": "numpy.array"}, "CLS": "TensorData"}}, "calibration_method": {"CLS": "CalibrationMethod", "value":)"
      R"( "CalibrationMethod.MinMax"}, "smooth_quant": false})";
  const auto r = load_onnxruntime_ranges(cache);
  REQUIRE(r.ok());
  CHECK(r->at("x") == Range{-1.5, 3.0999999046325684});
  CHECK(r->at("y") == Range{0, 6});
  const auto bare = load_onnxruntime_ranges(R"({"x": {"lowest": -1.5, "highest": 3, "CLS": "TensorData"}})");
  REQUIRE(bare.ok());
  CHECK(bare->at("x") == Range{-1.5, 3});
  const auto again = load_onnxruntime_ranges(save_onnxruntime_ranges(*r));
  REQUIRE(again.ok());
  CHECK(*again == *r);
  for (const char* wrong : {"[]", R"({"CLS": "Other", "data": {}})", R"({"x": 1})", R"({"x": {"lowest": 1}})",
                            R"({"x": {"lowest": 2, "highest": 1}})", R"({"x": {"lowest": [1, 2], "highest": 3}})",
                            R"({"x": {"avg": 1, "std": 2, "CLS": "TensorData"}})"})
    CHECK_FALSE(load_onnxruntime_ranges(wrong).ok());
  CHECK(load_onnxruntime_ranges(R"({"x": {"avg": 1}})").error().message == "tensor 'x': has no single 'lowest' and 'highest'");
}

TEST_CASE("TensorRT's calibration cache: round trip to float accuracy") {
  const auto text = save_tensorrt_ranges({{"a: b", {-1, 127}}, {"z", {0, 0}}});
  REQUIRE(text.ok());
  CHECK(*text == "TRT-8000-EntropyCalibration2\na: b: 3f800000\nz: 00000000\n");
  const auto back = load_tensorrt_ranges(*text);
  REQUIRE(back.ok());
  CHECK(back->at("a: b") == Range{-127, 127});
  CHECK(back->at("z") == Range{0, 0});
  CHECK(load_tensorrt_ranges("TRT-8503-MinMaxCalibration\r\nx: 3c010a14\r\n")->at("x").max == doctest::Approx(1.0).epsilon(0.01));
  CHECK_FALSE(save_tensorrt_ranges({{"a\nb", {0, 1}}}).ok());
  for (const char* wrong : {"", "x: 3f800000\n", "TRT-1\nx 3f800000\n", "TRT-1\nx: 3f8\n", "TRT-1\nx: 7f800000\n", "TRT-1\nx: bf800000\n"})
    CHECK_FALSE(load_tensorrt_ranges(wrong).ok());
}

}  // namespace
}  // namespace onnxtool
