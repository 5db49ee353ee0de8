// Range files of other tools: both directions, and what is refused.

#include "calib/ranges/foreign.h"

#include <doctest/doctest.h>

namespace onnxtool {
namespace {

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
  const auto bare =
      load_onnxruntime_ranges(R"({"x": {"lowest": -1.5, "highest": 3, "CLS": "TensorData"}})");
  REQUIRE(bare.ok());
  CHECK(bare->at("x") == Range{-1.5, 3});
  const auto again = load_onnxruntime_ranges(save_onnxruntime_ranges(*r));
  REQUIRE(again.ok());
  CHECK(*again == *r);
  for (const char* wrong :
       {"[]", R"({"CLS": "Other", "data": {}})", R"({"x": 1})", R"({"x": {"lowest": 1}})",
        R"({"x": {"lowest": 2, "highest": 1}})", R"({"x": {"lowest": [1, 2], "highest": 3}})",
        R"({"x": {"avg": 1, "std": 2, "CLS": "TensorData"}})"})
    CHECK_FALSE(load_onnxruntime_ranges(wrong).ok());
  CHECK(load_onnxruntime_ranges(R"({"x": {"avg": 1}})").error().message ==
        "tensor 'x': has no single 'lowest' and 'highest'");
}

TEST_CASE("TensorRT's calibration cache: round trip to float accuracy") {
  const auto text = save_tensorrt_ranges({{"a: b", {-1, 127}}, {"z", {0, 0}}});
  REQUIRE(text.ok());
  CHECK(*text == "TRT-8000-EntropyCalibration2\na: b: 3f800000\nz: 00000000\n");
  const auto back = load_tensorrt_ranges(*text);
  REQUIRE(back.ok());
  CHECK(back->at("a: b") == Range{-127, 127});
  // The larger magnitude counts, on whichever side of zero it lies.
  CHECK(load_tensorrt_ranges(*save_tensorrt_ranges({{"n", {-254, 1}}}))->at("n") ==
        Range{-254, 254});
  CHECK(back->at("z") == Range{0, 0});
  CHECK(load_tensorrt_ranges("TRT-8503-MinMaxCalibration\r\nx: 3c010a14\r\n")->at("x").max ==
        doctest::Approx(1.0).epsilon(0.01));
  CHECK_FALSE(save_tensorrt_ranges({{"a\nb", {0, 1}}}).ok());
  for (const char* wrong : {"", "x: 3f800000\n", "TRT-1\nx 3f800000\n", "TRT-1\nx: 3f8\n",
                            "TRT-1\nx: 7f800000\n", "TRT-1\nx: bf800000\n"})
    CHECK_FALSE(load_tensorrt_ranges(wrong).ok());
}

TEST_CASE("foreign range files: told apart by content") {
  CHECK(detect_ranges("TRT-8503-MinMaxCalibration\nx: 3c010a14\n") == RangeForm::kTrt);
  CHECK(detect_ranges("{\n\"format\": \"onnxtool-ranges\",") == RangeForm::kOnnxtool);
  CHECK(detect_ranges("{\"CLS\": \"TensorsData\"") == RangeForm::kOrt);
  const auto ort = load_foreign_ranges(R"({"x": {"lowest": -1, "highest": 2}})");
  REQUIRE(ort.ok());
  CHECK(ort->form == RangeForm::kOrt);
  CHECK(ort->ranges.at("x") == Range{-1, 2});
  CHECK(load_foreign_ranges("TRT-1\nx: 3f800000\n")->form == RangeForm::kTrt);
  CHECK(load_foreign_ranges("x").error().message ==
        "is no range file: neither onnxtool's, nor onnxruntime's calibration JSON, nor a TensorRT "
        "calibration cache");
  CHECK(load_foreign_ranges("{}").error().message == "holds the range of no tensor");
  CHECK(load_foreign_ranges("TRT-1\n").error().message == "holds the range of no tensor");
}

}  // namespace
}  // namespace onnxtool
