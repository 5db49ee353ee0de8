// Every form of data as it should be: what is detected, and what samples it gives.

#include "calib/data/source.h"

#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <iostream>

#include "calib/data/arrays.h"
#include "calib/data/files.h"
#include "calib/data/npz.h"
#include "tests/data/files.h"

namespace onnxtool {
namespace {

using namespace data_test;  // NOLINT: helpers of these tests

std::string first_line(const std::vector<std::string>& lines) {
  return lines.empty() ? "" : lines[0];
}

std::string safetensors(const std::string& header, std::string_view data) {
  const uint64_t length = header.size();
  return bytes_of(std::vector<uint64_t>{length}) + header + std::string(data);
}

// A 1x2 colour image.
constexpr std::string_view kPpm = "P6 2 1 255\n\x0a\x14\x1e\x28\x32\x3c";

}  // namespace

TEST_CASE("file names sort as people count") {
  CHECK(natural_less("img2", "img10"));
  CHECK(!natural_less("img10", "img2"));
  CHECK(natural_less("img01", "img1"));
  CHECK(!natural_less("img1", "img01"));
  CHECK(natural_less("a", "a1"));
  CHECK(natural_less("a9b", "a10a"));
  CHECK(natural_less("99999999999999999999998", "99999999999999999999999"));
  CHECK(natural_less("B", "a"));
  CHECK(!natural_less("same1", "same1"));
}

TEST_CASE("a directory of .npy is a sample a file, in natural order, hidden files left out") {
  TempDir dir;
  dir.write("img10.npy", npy_f32({2}, {10, 10}));
  dir.write("img2.npy", npy_f32({2}, {2, 2}));
  dir.write(".hidden", "anything");
  const auto source = open_ok(dir.path(), {}, {float_spec("x", {-1, 2})});
  CHECK(source->size() == 2);
  const SourceDescription d = source->describe();
  CHECK(d.format == "directory of .npy");
  CHECK(d.count == 2);
  CHECK(first_line(d.inputs) == "float[2] with a batch dim in front");
  CHECK(!source->has_labels());
  const Sample first = read_ok(*source, 0);
  CHECK(first.id == "img2.npy");
  CHECK(first.inputs[0].dims() == Dims{1, 2});
  CHECK(floats(first.inputs[0]) == Floats{2, 2});
  CHECK(first.label == -1);
  CHECK(floats(read_ok(*source, 1).inputs[0]) == Floats{10, 10});
}

TEST_CASE("arrays as NumPy writes them") {
  const Floats expected = [] {
    Floats v;
    for (int i = 0; i < 24; ++i) v.push_back(static_cast<float>(i) / 8);
    return v;
  }();
  const InputSpec x = float_spec("x", {2, 3, 4});
  for (const char* name : {"c_order.npy", "fortran.npy", "big_endian.npy", "version2.npy"}) {
    const Sample s = read_ok(*open_ok(fixture("arrays/") + name, {}, {x}), 0);
    CHECK_MESSAGE(floats(s.inputs[0]) == expected, name);
    CHECK(s.inputs[0].dims() == Dims{2, 3, 4});
  }
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    // By name, in the order of the inputs, not of the archive.
    const auto source =
        open_ok(fixture("arrays/") + name, {}, {spec("ids", DataType::kInt64, {-1, 3}), x});
    CHECK(source->describe().format == ".npz file");
    const Sample s = read_ok(*source, 0);
    CHECK(s.inputs[0].values<int64_t>() == std::vector<int64_t>{0, 1, 2, 3, 4, 5});
    CHECK(floats(s.inputs[1]) == expected);
    // An array that no input wants is told.
    const auto partial = open_ok(fixture("arrays/") + name, {}, {x});
    CHECK(partial->describe().inputs.size() == 1);
    CHECK(partial->describe().unused == std::vector<std::string>{"'ids' int64[2, 3]"});
  }
  const Sample text =
      read_ok(*open_ok(fixture("arrays/text.npy"), {}, {spec("s", DataType::kString, {3})}), 0);
  CHECK(text.inputs[0].strings() ==
        std::vector<std::string>{"ab", "", "h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"});
  const Sample bytes =
      read_ok(*open_ok(fixture("arrays/bytes.npy"), {}, {spec("s", DataType::kString, {3})}), 0);
  CHECK(bytes.inputs[0].strings() == std::vector<std::string>{"ab", "", "xyz"});
}

TEST_CASE("stacked samples, along any axis, in any order of bytes") {
  const InputSpec x = float_spec("x", {-1, 3, 4});
  const auto at = [](int64_t i, int64_t j, int64_t k) {
    return static_cast<float>(i * 12 + j * 4 + k) / 8;
  };
  for (const char* name : {"c_order.npy", "fortran.npy", "big_endian.npy"}) {
    const std::string path = fixture("arrays/") + name;
    const auto source = open_ok(path, stacked(), {x});
    CHECK(source->size() == 2);
    const Sample s = read_ok(*source, 1);
    CHECK(s.id == std::string(name) + "[1]");
    CHECK(s.inputs[0].dims() == Dims{1, 3, 4});
    CHECK(floats(s.inputs[0])[5] == at(1, 1, 1));
    // The axis goes where the input has one dim fewer.
    CHECK(read_ok(*open_ok(path, stacked(), {float_spec("x", {3, 4})}), 1).inputs[0].dims() ==
          Dims{3, 4});
    // The middle and the last axis.
    const Sample middle = read_ok(*open_ok(path, stacked(1), {float_spec("x", {2, 4})}), 2);
    CHECK(floats(middle.inputs[0]) == Floats{at(0, 2, 0), at(0, 2, 1), at(0, 2, 2), at(0, 2, 3),
                                             at(1, 2, 0), at(1, 2, 1), at(1, 2, 2), at(1, 2, 3)});
    const auto last = open_ok(path, stacked(-1), {float_spec("x", {2, 3})});
    CHECK(last->size() == 4);
    CHECK(floats(read_ok(*last, 3).inputs[0]) ==
          Floats{at(0, 0, 3), at(0, 1, 3), at(0, 2, 3), at(1, 0, 3), at(1, 1, 3), at(1, 2, 3)});
  }
  SUBCASE("a static batch is filled") {
    const auto source =
        open_ok(fixture("arrays/c_order.npy"), stacked(), {float_spec("x", {2, 3, 4})});
    CHECK(source->size() == 1);
    CHECK(read_ok(*source, 0).inputs[0].dims() == Dims{2, 3, 4});
    CHECK_ERROR(error_of(fixture("arrays/c_order.npy"), stacked(), {float_spec("x", {3, 3, 4})}),
                ErrorCode::kMismatch, "axis 0 has extent 2, expected a multiple of 3",
                "'x' float[3, 3, 4]");
  }
  SUBCASE("archives") {
    for (const char* name : {"stored.npz", "deflated.npz"}) {
      const auto source = open_ok(fixture("arrays/") + name, stacked(),
                                  {spec("ids", DataType::kInt64, {-1, 3}), x});
      CHECK(source->size() == 2);
      for (int64_t i : {1, 0, 1}) {
        const Sample s = read_ok(*source, i);
        CHECK(s.inputs[0].values<int64_t>() == std::vector<int64_t>{i * 3, i * 3 + 1, i * 3 + 2});
        CHECK(floats(s.inputs[1])[0] == at(i, 0, 0));
      }
    }
    DataOptions limited = stacked();
    limited.max_memory_bytes = 50;
    CHECK_ERROR(error_of(fixture("arrays/deflated.npz"), limited, {x}), ErrorCode::kLimit,
                "array 'x'", "--max-memory", "uncompressed");
    CHECK(read_ok(*open_ok(fixture("arrays/stored.npz"), limited, {x}), 0).inputs.size() == 1);
  }
  SUBCASE("several files") {
    TempDir dir;
    dir.write("b.npy", npy_f32({3, 1}, {1, 2, 3}));
    dir.write("a.npy", npy_f32({1, 1}, {0}));
    const auto source = open_ok(dir.path(), stacked(), {float_spec("x", {-1, 1})});
    CHECK(source->size() == 4);
    CHECK(source->describe().format == "directory of .npy, stacked along axis 0");
    for (int64_t i = 0; i < 4; ++i)
      CHECK(floats(read_ok(*source, i).inputs[0]) == Floats{static_cast<float>(i)});
    CHECK(read_ok(*source, 0).id == "a.npy[0]");
    CHECK(read_ok(*source, 3).id == "b.npy[2]");
  }
  SUBCASE("no such axis, no samples, counts that differ") {
    CHECK_ERROR(error_of(fixture("arrays/c_order.npy"), stacked(3), {x}), ErrorCode::kMismatch,
                "has no axis 3", "--batch-axis");
    TempDir dir;
    CHECK_ERROR(
        error_of(dir.write("e.npy", npy_f32({0, 1}, {})), stacked(), {float_spec("x", {-1, 1})}),
        ErrorCode::kBadData, "no samples");
    const std::string npz =
        dir.write("x.npz", zip_of({{"a.npy", npy_f32({2, 1}, {1, 2})},
                                   {"b.npy", npy_f32({3, 2}, {1, 2, 3, 4, 5, 6})}}));
    CHECK_ERROR(error_of(npz, stacked(), {float_spec("a", {-1, 1}), float_spec("b", {-1, 2})}),
                ErrorCode::kMismatch, "array 'b'", "stacks 3 samples", "'a' stacks 2");
  }
}

TEST_CASE("a directory of .npy per input") {
  TempDir dir;
  for (int i = 0; i < 12; ++i) {
    dir.write("ids/" + std::to_string(i) + ".npy", npy("<i8", {2}, std::vector<int64_t>{i, i}));
    dir.write("mask/" + std::to_string(i) + ".npy", npy("|b1", {2}, std::vector<uint8_t>{1, 0}));
  }
  const std::vector<InputSpec> specs = {spec("mask", DataType::kBool, {1, 2}),
                                        spec("ids", DataType::kInt64, {1, 2})};
  const auto source = open_ok(dir.path(), {}, specs);
  CHECK(source->size() == 12);
  CHECK(source->describe().format == "directory of .npy per input");
  const Sample s = read_ok(*source, 11);
  CHECK(s.id == "11.npy");
  CHECK(s.inputs[0].values<uint8_t>() == std::vector<uint8_t>{1, 0});
  CHECK(s.inputs[1].values<int64_t>() == std::vector<int64_t>{11, 11});
  dir.write("mask/12.npy", npy("|b1", {2}, std::vector<uint8_t>{1, 0}));
  CHECK_ERROR(error_of(dir.path(), {}, specs), ErrorCode::kBadData,
              "'mask' holds 13 files, but 'ids' 12");
}

TEST_CASE("files named as the inputs are one sample") {
  TempDir dir;
  dir.write("b.npy", npy_f32({1}, {2}));
  dir.write("a.npy", npy_f32({1}, {1}));
  const auto source = open_ok(dir.path(), {}, {float_spec("a", {1}), float_spec("b", {1})});
  CHECK(source->size() == 1);
  CHECK(source->describe().format == "directory of .npy, one per input");
  CHECK(floats(read_ok(*source, 0).inputs[1]) == Floats{2});
}

TEST_CASE("a directory of .npz") {
  TempDir dir;
  for (int i = 0; i < 3; ++i)
    dir.write("s" + std::to_string(i) + ".npz",
              zip_of({{"x.npy", npy_f32({1}, {static_cast<float>(i)})}}));
  const auto source = open_ok(dir.path(), {}, {float_spec("x", {-1})});
  CHECK(source->size() == 3);
  for (int64_t i : {2, 0, 1})
    CHECK(floats(read_ok(*source, i).inputs[0]) == Floats{static_cast<float>(i)});
}

TEST_CASE("safetensors") {
  TempDir dir;
  const std::string data = bytes_of(Floats{1, 2}) + bytes_of(std::vector<int32_t>{7});
  const std::string good =
      R"({"__metadata__":{"a":"b"},"n":{"dtype":"I32","shape":[1],"data_offsets":[8,12]},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::vector<InputSpec> specs = {float_spec("x", {2}), spec("n", DataType::kInt64, {1})};
  const std::string path = dir.write("a.safetensors", safetensors(good, data));
  const auto source = open_ok(path, {}, specs);
  CHECK(source->describe().format == ".safetensors file");
  CHECK(source->describe().inputs[1] == "'n' int32[1] as int64");
  const Sample s = read_ok(*source, 0);
  CHECK(floats(s.inputs[0]) == Floats{1, 2});
  CHECK(s.inputs[1].values<int64_t>() == std::vector<int64_t>{7});

  const auto error = [&](const std::string& header, std::string_view payload) {
    return error_of(dir.write("bad.safetensors", safetensors(header, payload)),
                    forced(DataFormat::kSafetensors), {float_spec("x", {2})});
  };
  const std::string eight(8, '\0');
  CHECK_ERROR(error(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "1234567"),
              ErrorCode::kBadData, "tensor 'x'", "0 to 8 of 7");
  CHECK_ERROR(error(R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", eight),
              ErrorCode::kBadData, "8 bytes, expected 12");
  CHECK_ERROR(
      error(R"({"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", eight),
      ErrorCode::kBadData, "more than any file");
  CHECK_ERROR(error(R"({"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", eight),
              ErrorCode::kBadData, "shape");
  CHECK_ERROR(error(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", eight),
              ErrorCode::kBadData, "8 to 0");
  CHECK_ERROR(error(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8.5]}})", eight),
              ErrorCode::kBadData, "data_offsets");
  CHECK_ERROR(error(R"({"x":{"dtype":"F4","shape":[2],"data_offsets":[0,8]}})", eight),
              ErrorCode::kBadData, "'F4'");
  CHECK_ERROR(error(R"({"x":{"shape":[2],"data_offsets":[0,8]}})", eight), ErrorCode::kBadData,
              "lacks dtype");
  CHECK_ERROR(
      error(
          R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
          eight),
      ErrorCode::kBadData, "overlap");
  CHECK_ERROR(error(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", eight),
              ErrorCode::kBadData, "hole");
  CHECK_ERROR(error(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", eight),
              ErrorCode::kBadData, "4 bytes at the end");
  CHECK_ERROR(error(R"({"x":)", eight), ErrorCode::kBadData, "no JSON object");
  CHECK_ERROR(error("{" + std::string(100'000, '['), eight), ErrorCode::kBadData, "no JSON object");
  CHECK_ERROR(error("{}", ""), ErrorCode::kBadData, "no tensors");
  std::string huge = safetensors(good, data);
  huge[3] = '\x7f';
  CHECK_ERROR(
      error_of(dir.write("huge.safetensors", huge), forced(DataFormat::kSafetensors), specs),
      ErrorCode::kBadData, "header claims 2130706565 bytes", "100000000");
}

TEST_CASE("test_data_set directories") {
  TempDir dir;
  const auto put = [&](const std::string& name, const std::string& tensor_name, float v) {
    dir.write(name, tensor_proto(Tensor::from<float>({1}, Floats{v}), tensor_name));
  };
  for (int s : {0, 2, 10}) {
    const std::string set = "test_data_set_" + std::to_string(s) + "/";
    put(set + "input_0.pb", "a", static_cast<float>(s));
    put(set + "input_1.pb", "b", static_cast<float>(s) + 0.5f);
    put(set + "output_0.pb", "y", 9);
  }
  dir.write("model.onnx", "not looked at");
  const std::vector<InputSpec> specs = {float_spec("a", {1}), float_spec("b", {1})};
  SUBCASE("the parent") {
    const auto source = open_ok(dir.path(), {}, specs);
    CHECK(source->size() == 3);
    CHECK(source->describe().format == "test_data_set");
    const Sample s = read_ok(*source, 2);
    CHECK(s.id == "test_data_set_10");
    CHECK(floats(s.inputs[1]) == Floats{10.5});
  }
  SUBCASE("one of them") {
    const auto source = open_ok(dir.path("test_data_set_2"), {}, specs);
    CHECK(source->size() == 1);
    CHECK(floats(read_ok(*source, 0).inputs[0]) == Floats{2});
  }
  SUBCASE("names win over positions") {
    const Sample s = read_ok(*open_ok(dir.path(), {}, {specs[1], specs[0]}), 0);
    CHECK(floats(s.inputs[0]) == Floats{0.5});
  }
  SUBCASE("positions serve where names do not") {
    put("t/test_data_set_0/input_0.pb", "", 1);
    put("t/test_data_set_0/input_1.pb", "other", 2);
    const Sample s = read_ok(*open_ok(dir.path("t"), {}, specs), 0);
    CHECK(floats(s.inputs[0]) == Floats{1});
    CHECK(floats(s.inputs[1]) == Floats{2});
  }
  SUBCASE("one file") {
    CHECK(floats(read_ok(*open_ok(dir.path("test_data_set_2/input_1.pb"), {}, {specs[0]}), 0)
                     .inputs[0]) == Floats{2.5});
  }
  SUBCASE("errors") {
    CHECK_ERROR(error_of(dir.path(), stacked(), specs), ErrorCode::kUsage,
                "--batch-axis does not go with .pb");
    CHECK_ERROR(error_of(dir.path(), {}, {specs[0], specs[1], float_spec("c", {1})}),
                ErrorCode::kMismatch, "'c' float[1]", "'a' float[1], 'b' float[1]");
    dir.write("bad/test_data_set_0/input_0.pb", "\xff\xff\xff");
    CHECK_ERROR(error_of(dir.path("bad"), {}, {specs[0]}), ErrorCode::kBadData,
                "input_0.pb: not a readable TensorProto");
    dir.write("none/test_data_set_0/output_0.pb", "");
    CHECK_ERROR(error_of(dir.path("none"), {}, {specs[0]}), ErrorCode::kBadData,
                "no input_I.pb files");
    dir.directory("empty/x");
    CHECK_ERROR(error_of(dir.path("empty"), forced(DataFormat::kPb), specs), ErrorCode::kBadData,
                "no samples", "test_data_set_N");
  }
}

TEST_CASE("raw bytes") {
  TempDir dir;
  const std::string six = dir.write("six.bin", bytes_of(Floats{1, 2, 3, 4, 5, 6}));
  const std::string ids = dir.write("ids.bin", bytes_of(std::vector<int64_t>{7, 8}));
  DataOptions options;
  options.raw = {{"ids", ids}, {"x", six}};
  const std::vector<InputSpec> specs = {float_spec("x", {2, 3}),
                                        spec("ids", DataType::kInt64, {-1})};
  const auto source = open_ok("", options, specs);
  CHECK(source->size() == 1);
  CHECK(source->describe().format == "raw files");
  const Sample s = read_ok(*source, 0);
  CHECK(s.inputs[0].dims() == Dims{2, 3});
  CHECK(floats(s.inputs[0])[5] == 6);
  CHECK(s.inputs[1].values<int64_t>() == std::vector<int64_t>{7, 8});

  SUBCASE("stacked") {
    options = stacked();
    options.raw = {{"x", six}};
    CHECK(open_ok("", options, {float_spec("x", {1, 2})})->size() == 3);
    CHECK(open_ok("", options, {float_spec("x", {3, 2})})->size() == 1);
    const auto open_batch = open_ok("", options, {float_spec("x", {-1, 3})});
    CHECK(open_batch->size() == 2);
    CHECK(floats(read_ok(*open_batch, 1).inputs[0]) == Floats{4, 5, 6});
    options.batch_axis = 1;
    CHECK_ERROR(error_of("", options, {float_spec("x", {1, 2})}), ErrorCode::kUsage, "axis 0 only");
  }
  SUBCASE("directories") {
    dir.write("xs/1.bin", bytes_of(Floats{1}));
    dir.write("xs/10.bin", bytes_of(Floats{10}));
    dir.write("xs/9.bin", bytes_of(Floats{9}));
    options.raw = {{"x", dir.path("xs")}};
    const auto many = open_ok("", options, {float_spec("x", {1})});
    CHECK(many->size() == 3);
    CHECK(floats(read_ok(*many, 2).inputs[0]) == Floats{10});
    options.raw.push_back({"ids", ids});
    CHECK_ERROR(error_of("", options, {float_spec("x", {1}), specs[1]}), ErrorCode::kBadData,
                "holds 1 files for input 'ids'", "'x' has 3");
    dir.directory("nothing");
    options.raw = {{"x", dir.path("nothing")}};
    CHECK_ERROR(error_of("", options, {float_spec("x", {1})}), ErrorCode::kBadData, "no samples");
  }
  SUBCASE("errors") {
    options.raw = {{"x", six}};
    CHECK_ERROR(error_of("", options, {float_spec("x", {7})}), ErrorCode::kMismatch,
                "six.bin: 24 bytes, expected 28 for input 'x' float[7]");
    CHECK_ERROR(error_of("", options, {float_spec("x", {-1, 4})}), ErrorCode::kMismatch,
                "24 bytes, expected a multiple of 16");
    CHECK_ERROR(error_of("", options, {float_spec("x", {-1, -1})}), ErrorCode::kMismatch,
                "do not tell the shape", "--input-shape");
    CHECK_ERROR(error_of("", options, {float_spec("x", {-1, 0})}), ErrorCode::kMismatch,
                "multiple of 0");
    CHECK_ERROR(error_of("", options, {spec("x", DataType::kInt4, {48})}), ErrorCode::kUnsupported,
                "int4");
    CHECK_ERROR(error_of("", options, {spec("x", DataType::kString, {48})}),
                ErrorCode::kUnsupported, "string");
    CHECK_ERROR(error_of("", options, specs), ErrorCode::kUsage, "no file for input 'ids'");
    CHECK_ERROR(error_of("", options, {specs[1]}), ErrorCode::kUsage,
                "'x' is no input, the model has 'ids'");
    options.raw.push_back({"x", six});
    CHECK_ERROR(error_of("", options, {specs[0]}), ErrorCode::kUsage, "'x' is given twice");
    options.raw = {{"x", dir.path("missing")}};
    CHECK_ERROR(error_of("", options, {specs[0]}), ErrorCode::kNotFound, "missing: cannot open");
    CHECK_ERROR(error_of("", forced(DataFormat::kRaw), {specs[0]}), ErrorCode::kUsage,
                "--raw NAME=FILE");
  }
}

TEST_CASE("images, flat and in class directories") {
  TempDir dir;
  const InputSpec x = float_spec("x", {-1, 3, 1, 2});
  DataOptions options;
  options.preprocess.preset = "none";
  SUBCASE("one file") {
    const auto source = open_ok(dir.write("a.ppm", kPpm), options, {x});
    CHECK(source->size() == 1);
    CHECK(source->describe().format == "image");
    CHECK(source->describe().preprocess == "preset none: to rgb; pixel; nchw");
    CHECK(floats(read_ok(*source, 0).inputs[0]) == Floats{10, 40, 20, 50, 30, 60});
  }
  SUBCASE("flat, kinds mixed, whatever the names say") {
    dir.write("2.jpg", kPpm);
    dir.write("10.ppm", kPpm);
    const auto source = open_ok(dir.path(), options, {x});
    CHECK(source->size() == 2);
    CHECK(source->describe().format == "directory of images");
    CHECK(read_ok(*source, 1).id == "10.ppm");
    CHECK(!source->has_labels());
  }
  SUBCASE("classes: labels in byte order, samples in natural order") {
    dir.write("c10/a.ppm", kPpm);
    dir.write("c2/b.ppm", kPpm);
    dir.directory("Empty");
    const auto source = open_ok(dir.path(), options, {x});
    CHECK(source->describe().format == "images in class directories");
    CHECK(source->labels() == std::vector<std::string>{"Empty", "c10", "c2"});
    CHECK(source->describe().labels == std::vector<std::string>{"0 = Empty", "1 = c10", "2 = c2"});
    CHECK(source->has_labels());
    const Sample first = read_ok(*source, 0);
    CHECK(first.id == "c2/b.ppm");
    CHECK(first.label == 2);
    CHECK(read_ok(*source, 1).label == 1);

    options.labels_file =
        dir.write("labels.txt", "c10 7\nc2,3\n");  // beside the classes, and not one of the samples
    const auto mapped = open_ok(dir.path(), options, {x});
    CHECK(read_ok(*mapped, 0).label == 3);
    CHECK(read_ok(*mapped, 1).label == 7);
    CHECK(mapped->labels().size() == 8);
    CHECK(mapped->labels()[7] == "c10");
    CHECK(mapped->describe().labels ==
          std::vector<std::string>{"from " + options.labels_file, "3 = c2", "7 = c10"});
  }
  SUBCASE("errors") {
    dir.write("a.ppm", kPpm);
    dir.write("b.gif", "GIF89a--");
    CHECK_ERROR(error_of(dir.path(), options, {x}), ErrorCode::kBadData,
                "b.gif: not a JPEG, PNG or PPM: starts with \"GIF89a--\"");
    // Named formats leave files of other names alone.
    CHECK(open_ok(dir.path(),
                  [&] {
                    DataOptions o = options;
                    o.format = DataFormat::kImages;
                    return o;
                  }(),
                  {x})
              ->size() == 1);
    const std::string one = dir.path("a.ppm");
    CHECK_ERROR(error_of(one, options, {x, x}), ErrorCode::kMismatch,
                "images fill one input, the model has 2");
    CHECK_ERROR(error_of(one, stacked(), {x}), ErrorCode::kUsage,
                "--batch-axis does not go with images");
    CHECK_ERROR(error_of(one, options, {float_spec("x", {-1, 3, 32, 32})}), ErrorCode::kMismatch,
                "a.ppm: image is 1x2", "takes 32x32", "--resize 32x32");
    CHECK_ERROR(error_of(dir.write("cut/c.ppm", kPpm.substr(0, 13)), options, {x}),
                ErrorCode::kBadData, "c.ppm: PPM ends early");
  }
}

}  // namespace onnxtool
