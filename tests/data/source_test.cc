// How data is matched and converted, and every way it can be wrong.

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

using namespace data_test;  // NOLINT: helpers of these tests

TEST_CASE("label files") {
  TempDir dir;
  dir.write("d/a.npy", npy_f32({1}, {1}));
  dir.write("d/b c.npy", npy_f32({1}, {2}));
  const std::vector<InputSpec> specs = {float_spec("x", {1})};
  DataOptions options;
  const auto labels_of = [&](const std::string& file) {
    options.labels_file = file;
    const auto source = open_ok(dir.path("d"), options, specs);
    CHECK(source->has_labels());
    CHECK(source->labels().empty());
    return std::vector<int>{read_ok(*source, 0).label, read_ok(*source, 1).label};
  };
  const auto error = [&](std::string_view text) {
    options.labels_file = dir.write("bad.txt", text);
    return error_of(dir.path("d"), options, specs);
  };
  CHECK(labels_of(dir.write("names.txt", "b c.npy 1\r\n\na\t4\nunused 9")) ==
        std::vector<int>{4, 1});
  CHECK(labels_of(dir.write("order.txt", "3\n5\n")) == std::vector<int>{3, 5});
  CHECK(labels_of(dir.write("order.npy", npy("<i4", {2}, std::vector<int32_t>{6, 8}))) ==
        std::vector<int>{6, 8});
  CHECK_ERROR(error("a 1\n"), ErrorCode::kBadData, "no label for sample 'b c.npy'");
  CHECK_ERROR(error("a cat\n"), ErrorCode::kBadData, "line 1: 'cat' is no label");
  CHECK_ERROR(error("a -1\n"), ErrorCode::kBadData, "'-1' is no label");
  CHECK_ERROR(error("a 99999999999\n"), ErrorCode::kBadData, "is no label");
  CHECK_ERROR(error("a 1\n2\n"), ErrorCode::kBadData, "line 2: has no name");
  CHECK_ERROR(error("a 1\na 2\n"), ErrorCode::kBadData, "line 2: 'a' has label 2, but 1");
  CHECK_ERROR(error("1\n2\n3\n"), ErrorCode::kBadData, "3 labels, expected 2");
  CHECK_ERROR(error("\n"), ErrorCode::kBadData, "no labels");
  options.labels_file = dir.write("bad.npy", npy_f32({2}, {1, 2}));
  CHECK_ERROR(error_of(dir.path("d"), options, specs), ErrorCode::kBadData,
              "float[2], expected a list of integers");
  options.labels_file = dir.write("minus.npy", npy("<i4", {2}, std::vector<int32_t>{6, -8}));
  CHECK_ERROR(error_of(dir.path("d"), options, specs), ErrorCode::kBadData, "label -8 at 1");
  options.labels_file = dir.path("missing.txt");
  CHECK_ERROR(error_of(dir.path("d"), options, specs), ErrorCode::kNotFound,
              "missing.txt: cannot open");
}

TEST_CASE("inputs match by name, else by unique shape and type") {
  TempDir dir;
  const std::string npz = dir.write(
      "s.npz", zip_of({{"arr_0.npy", npy_f32({1, 4}, {1, 2, 3, 4})},
                       {"arr_1.npy", npy("<i8", {1, 4}, std::vector<int64_t>{1, 2, 3, 4})},
                       {"arr_2.npy", npy_f32({1, 5}, {1, 2, 3, 4, 5})}}));
  const Sample s = read_ok(*open_ok(npz, {},
                                    {spec("ids", DataType::kInt32, {-1, 4}),
                                     float_spec("y", {-1, 5}), float_spec("x", {-1, 4})}),
                           0);
  CHECK(s.inputs[0].values<int32_t>() == std::vector<int32_t>{1, 2, 3, 4});
  CHECK(s.inputs[1].count() == 5);
  CHECK(s.inputs[2].count() == 4);
  // One name may be known, the rest follows.
  const Sample named =
      read_ok(*open_ok(npz, {}, {float_spec("arr_2", {-1, -1}), float_spec("other", {-1, -1})}), 0);
  CHECK(named.inputs[1].count() == 4);
  // Two inputs for which two arrays would do.
  CHECK_ERROR(error_of(npz, {}, {float_spec("x", {1, -1}), float_spec("y", {1, -1})}),
              ErrorCode::kMismatch, "does not tell which array is input 'x' float[1, ?]",
              "'arr_0' float[1, 4], 'arr_1' int64[1, 4], 'arr_2' float[1, 5]",
              "inputs: 'x' float[1, ?], 'y' float[1, ?]");
  // None fits.
  CHECK_ERROR(error_of(npz, {}, {float_spec("x", {1, 9})}), ErrorCode::kMismatch,
              "s.npz: the data does not tell", "'x' float[1, 9]");
  // A single array for a single input needs no name, but must fit.
  const std::string one = dir.write("one.npy", npy_f32({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}));
  CHECK_ERROR(error_of(one, {}, {float_spec("x", {1, 4})}), ErrorCode::kMismatch,
              "one.npy: array is float[2, 4], expected 'x' float[1, 4]", "--batch-axis 0");
  CHECK_ERROR(error_of(one, {}, {float_spec("x", {3})}), ErrorCode::kMismatch,
              "float[2, 4], expected 'x' float[3]");
  CHECK_ERROR(error_of(one, {}, {spec("x", DataType::kInt64, {2, 4})}), ErrorCode::kMismatch,
              "array is float[2, 4], expected 'x' int64[2, 4]", "convert the data");
  CHECK(read_ok(*open_ok(one, {}, {{"x", DataType::kFloat, {}, false}}), 0).inputs[0].dims() ==
        Dims{2, 4});
  // A batch dim is added to a dynamic or unit first dim only.
  CHECK(read_ok(*open_ok(one, {}, {float_spec("x", {1, 2, 4})}), 0).inputs[0].dims() ==
        Dims{1, 2, 4});
  CHECK(read_ok(*open_ok(one, {}, {float_spec("x", {-1, -1, 4})}), 0).inputs[0].dims() ==
        Dims{1, 2, 4});
  CHECK_ERROR(error_of(one, {}, {float_spec("x", {2, 2, 4})}), ErrorCode::kMismatch,
              "expected 'x' float[2, 2, 4]");
  CHECK_ERROR(error_of(one, {}, {}), ErrorCode::kMismatch, "no inputs");
}

TEST_CASE("element types convert where nothing but rounding is lost") {
  const auto convert = [](const Tensor& t, DataType to) { return convert_tensor(t, to); };
  const Tensor doubles = Tensor::from<double>({3}, std::vector<double>{0.1, -1e30, std::nan("")});
  Result<Tensor> f = convert(doubles, DataType::kFloat);
  REQUIRE(f.ok());
  CHECK(floats(*f)[0] == 0.1f);
  CHECK(floats(*f)[1] == -1e30f);
  CHECK(std::isnan(floats(*f)[2]));
  CHECK_ERROR(convert(doubles, DataType::kFloat16).error(), ErrorCode::kMismatch,
              "passes the range of float16");
  CHECK_ERROR(convert(Tensor::scalar(1e300), DataType::kFloat).error(), ErrorCode::kMismatch,
              "passes the range of float");
  CHECK(convert(Tensor::scalar(1.0f), DataType::kBfloat16).ok());
  CHECK(convert(Tensor::scalar(INFINITY), DataType::kFloat16).ok());
  CHECK(convert(Tensor::scalar(1.5f), DataType::kDouble)->values<double>()[0] == 1.5);

  const Tensor ints = Tensor::from<int64_t>({2}, std::vector<int64_t>{-128, 127});
  CHECK(convert(ints, DataType::kInt8)->values<int8_t>() == std::vector<int8_t>{-128, 127});
  CHECK(convert(ints, DataType::kInt32)->values<int32_t>()[1] == 127);
  CHECK_ERROR(convert(ints, DataType::kUint8).error(), ErrorCode::kMismatch,
              "value -128 of int64 elements does not fit uint8");
  CHECK_ERROR(convert(ints, DataType::kBool).error(), ErrorCode::kMismatch, "does not fit bool");
  CHECK(convert(Tensor::from<uint8_t>({2}, std::vector<uint8_t>{0, 1}), DataType::kBool)->dtype() ==
        DataType::kBool);
  CHECK_ERROR(convert(Tensor::scalar(UINT64_MAX), DataType::kInt64).error(), ErrorCode::kMismatch,
              "18446744073709551615");
  CHECK_ERROR(convert(ints, DataType::kFloat).error(), ErrorCode::kMismatch,
              "elements are int64, expected float");
  CHECK_ERROR(convert(doubles, DataType::kInt32).error(), ErrorCode::kMismatch,
              "elements are double, expected int32");
  CHECK(!may_convert(DataType::kString, DataType::kFloat));
  CHECK(may_convert(DataType::kString, DataType::kString));

  TempDir dir;
  const std::string path = dir.write("d.npy", npy("<f8", {1}, std::vector<double>{1e300}));
  CHECK_ERROR(error_of(path, {}, {float_spec("x", {1})}), ErrorCode::kMismatch, "d.npy: value 1",
              "passes the range");
  const auto source = open_ok(path, {}, {spec("x", DataType::kDouble, {1})});
  CHECK(read_ok(*source, 0).inputs[0].values<double>()[0] == 1e300);
}

TEST_CASE("hostile .npy files") {
  TempDir dir;
  const std::string payload(8, '\0');
  const auto error = [&](const std::string& bytes) {
    return error_of(dir.write("h.npy", bytes), forced(DataFormat::kNpy), {float_spec("x", {2})});
  };
  const auto header = [&](const std::string& text) {
    return error(npy_with_header(text, payload));
  };
  CHECK_ERROR(error(""), ErrorCode::kBadData, "not a .npy array: is empty");
  CHECK_ERROR(error("\x93NUM"), ErrorCode::kBadData, "not a .npy array: starts with \"\\x93NUM\"");
  CHECK_ERROR(error("\x93NUMPY\x01"), ErrorCode::kBadData, "ends within the .npy header");
  CHECK_ERROR(error(std::string("\x93NUMPY\x04\x00\x10\x00\x00\x00", 12)), ErrorCode::kBadData,
              "format version 4");
  CHECK_ERROR(error(std::string("\x93NUMPY\x01\x00\xff\xff{}", 12)), ErrorCode::kBadData,
              "header claims 65535 bytes, the file has 12");
  CHECK_ERROR(error(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14)), ErrorCode::kBadData,
              "header claims 4294967295 bytes");
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  const std::string whole = npy_with_header(good, payload);
  CHECK(open_ok(dir.write("good.npy", whole), {}, {float_spec("x", {2})})->size() == 1);
  CHECK_ERROR(error(whole.substr(0, whole.size() - 1)), ErrorCode::kBadData,
              "7 bytes follow the header, expected 8 for <f4[2]", "truncated");
  CHECK_ERROR(error(whole + "x"), ErrorCode::kBadData, "9 bytes follow the header, expected 8");
  for (const char* text :
       {"", "{", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2.5,)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 2}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': [[, 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}", "{'descr': '<f4}"})
    CHECK_ERROR(header(text), ErrorCode::kBadData, "no dict of descr, fortran_order and shape");
  std::string deep = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
  for (int i = 0; i < 65; ++i) deep += "1,";
  CHECK_ERROR(header(deep + ")}"), ErrorCode::kBadData, "no dict");
  CHECK_ERROR(header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}"),
              ErrorCode::kBadData, "more than any file has");
  CHECK_ERROR(header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}"),
              ErrorCode::kBadData, "more than any file has");
  for (const char* descr :
       {"<f3", "<V2", "<M8", "f4", "", "<f", "<f4x", "<U0", "<S99999999999", "?f4"})
    CHECK_ERROR(
        header("{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (2,)}"),
        ErrorCode::kBadData, "elements are '" + std::string(descr) + "'");
  CHECK_ERROR(error_of(fixture("arrays/objects.npy"), {}, {float_spec("x", {1})}),
              ErrorCode::kBadData, "elements are '|O'", "pickled");
  CHECK_ERROR(error_of(fixture("arrays/structured.npy"), {}, {float_spec("x", {2})}),
              ErrorCode::kBadData, "elements are '[('a', '<f4'), ('b', '<i4')]'");
  // Python 2 wrote long integers; other quotes, order and spaces are as good.
  CHECK(open_ok(dir.write("py2.npy",
                          npy_with_header(
                              "{ \"shape\" : ( 2L , ) ,\"fortran_order\":False , 'descr':'<f4'}",
                              payload)),
                {}, {float_spec("x", {2})})
            ->size() == 1);
  CHECK(open_ok(dir.write("scalar.npy",
                          npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': ()}",
                                          payload)),
                {}, {float_spec("x", {})})
            ->size() == 1);
  CHECK_ERROR(error_of(dir.write("bool.npy", npy("|b1", {2}, std::vector<uint8_t>{1, 2})), {},
                       {spec("x", DataType::kBool, {2})}),
              ErrorCode::kBadData, "stored as 2");
  CHECK_ERROR(error_of(dir.write("u.npy", npy("<U1", {1}, std::vector<uint32_t>{0xd800})), {},
                       {spec("x", DataType::kString, {1})}),
              ErrorCode::kBadData, "no Unicode text");
}

TEST_CASE("hostile .npz files") {
  TempDir dir;
  const std::string array = npy_f32({2}, {1, 2});
  const auto error = [&](const std::string& bytes, DataFormat format = DataFormat::kNpz) {
    return error_of(dir.write("h.npz", bytes), forced(format), {float_spec("x", {2})});
  };
  CHECK_ERROR(error("nothing"), ErrorCode::kBadData, "not a readable .npz archive",
              "starts with \"nothing\"");
  CHECK_ERROR(error(zip_of({})), ErrorCode::kBadData, "holds no .npy array");
  CHECK_ERROR(error(zip_of({{"readme.txt", "x"}})), ErrorCode::kBadData, "holds no .npy array");
  CHECK_ERROR(error(zip_of({{"x.npy", "x"}})), ErrorCode::kBadData, "array 'x': not a .npy array");
  CHECK_ERROR(error(zip_of({{"x.npy", array}, {"x.npy", array}})), ErrorCode::kBadData,
              "array 'x' is there twice");
  CHECK_ERROR(error(zip_of({{"x.npy", array, 12}})), ErrorCode::kBadData,
              "compression method 12, expected stored or deflate");
  // More is claimed than a stored entry, or any deflated one, can hold.
  CHECK_ERROR(error(zip_of({{"x.npy", array, 0, 4'000'000'000u}})), ErrorCode::kBadData,
              "136 bytes cannot unpack to 4000000000");
  CHECK_ERROR(error(zip_of({{"x.npy", array, 8, 4'000'000'000u}})), ErrorCode::kBadData,
              "cannot unpack to 4000000000");
  // No deflate stream at all, and an honest one cut short.
  CHECK_ERROR(error(zip_of({{"x.npy", array, 8}})), ErrorCode::kBadData, "cannot unpack");
  std::string flipped = zip_of({{"x.npy", array}});
  const size_t value = flipped.find(array) + array.size() - 1;
  flipped[value] = static_cast<char>(flipped[value] ^ 1);
  CHECK_ERROR(error(flipped), ErrorCode::kBadData, "array 'x'", "CRC");
  const std::string whole = zip_of({{"x.npy", array}});
  CHECK_ERROR(error(whole.substr(0, whole.size() - 30)), ErrorCode::kBadData,
              "not a readable .npz archive");
  CHECK_ERROR(error(zip_of({{"x.npy", array + "more"}})), ErrorCode::kBadData,
              "12 bytes follow the header, expected 8");
  // A deflated entry whose header promises less or more than comes out.
  const std::string deflated = read_text(fixture("arrays/deflated.npz"));
  for (size_t cut = 40; cut < deflated.size(); cut += 41) {
    std::string damaged = deflated;
    damaged[cut] = static_cast<char>(damaged[cut] ^ 0x55);
    Result<std::vector<StoredArray>> arrays = open_npz(dir.write("d.npz", damaged), true, 0);
    if (arrays.ok())
      for (const StoredArray& a : *arrays)
        (void)load_array(a, std::nullopt).ok();  // any answer but a crash
  }
}

TEST_CASE("paths that hold no data") {
  TempDir dir;
  const std::vector<InputSpec> specs = {float_spec("x", {1})};
  CHECK_ERROR(error_of(dir.path("missing"), {}, specs), ErrorCode::kNotFound,
              "missing: cannot open: No such file");
  CHECK_ERROR(error_of(dir.path(), {}, specs), ErrorCode::kBadData,
              "no samples, the directory is empty");
  dir.write(".hidden", "x");
  CHECK_ERROR(error_of(dir.path(), {}, specs), ErrorCode::kBadData, "no samples");
  dir.directory("d/e");
  CHECK_ERROR(error_of(dir.path("d"), {}, specs), ErrorCode::kBadData,
              "no samples, its directories hold no files");
  dir.directory("d/e/f");
  CHECK_ERROR(error_of(dir.path("d"), {}, specs), ErrorCode::kBadData, "is a directory within 'e'");
  CHECK_ERROR(error_of(dir.path("d"), forced(DataFormat::kNpz), specs), ErrorCode::kBadData,
              "no samples");
  CHECK_ERROR(error_of(dir.write("x.txt", "hello"), {}, specs), ErrorCode::kBadData,
              "x.txt: starts with \"hello\", expected .npy", "--raw");
  CHECK_ERROR(error_of(dir.path(), {}, specs), ErrorCode::kBadData,
              "holds files ('x.txt') and directories ('d')", "--data-format");
  dir.write("mixed/a.npy", npy_f32({1}, {1}));
  dir.write("mixed/b.npz", zip_of({{"x.npy", npy_f32({1}, {1})}}));
  CHECK_ERROR(error_of(dir.path("mixed"), {}, specs), ErrorCode::kBadData,
              "b.npz: format is npz, but 'a.npy' is npy");
  CHECK(open_ok(dir.path("mixed"), forced(DataFormat::kNpz), specs)->describe().format ==
        "directory of .npz");
  CHECK(open_ok(dir.path("mixed"), forced(DataFormat::kNpy), specs)->size() == 1);
  dir.write("zips/z/a.npz", zip_of({{"x.npy", npy_f32({1}, {1})}}));
  CHECK_ERROR(error_of(dir.path("zips"), {}, specs), ErrorCode::kBadData,
              "its directories hold npz files", "give the directory that holds the files");
  dir.directory("links");
  std::filesystem::create_symlink("nowhere", dir.path("links/a.npy"));
  CHECK_ERROR(error_of(dir.path("links"), {}, specs), ErrorCode::kNotFound, "a.npy: cannot open");
  dir.directory("fifo");
  REQUIRE(::mkfifo(dir.path("fifo/a.npy").c_str(), 0600) == 0);
  CHECK_ERROR(error_of(dir.path("fifo"), {}, specs), ErrorCode::kBadData, "is not a regular file");
  CHECK_ERROR(parse_data_format("numpy").error(), ErrorCode::kUsage, "'numpy' is not known",
              "npy, npz, safetensors, pb, images, raw");
  CHECK(*parse_data_format("images") == DataFormat::kImages);
}

TEST_CASE("a file that is there at opening and gone or changed at reading") {
  TempDir dir;
  dir.write("0.npy", npy_f32({1}, {1}));
  const std::string later = dir.write("1.npy", npy_f32({1}, {1}));
  const auto source = open_ok(dir.path(), {}, {float_spec("x", {1})});
  dir.write("1.npy", npy_f32({2}, {1, 2}));
  CHECK_ERROR(source->read(1).error(), ErrorCode::kMismatch,
              "1.npy: array is float[2], expected 'x' float[1]");
  std::filesystem::remove(later);
  CHECK_ERROR(source->read(1).error(), ErrorCode::kNotFound, "1.npy");
  CHECK(source->read(0).ok());
  // A stacked file stays open, so only its size can change.
  const std::string stack = dir.write("s.npy", npy_f32({2, 1}, {1, 2}));
  const auto two = open_ok(stack, stacked(), {float_spec("x", {-1, 1})});
  std::filesystem::resize_file(stack, 130);
  CHECK_ERROR(two->read(1).error(), ErrorCode::kBadData, "s.npy: ends at byte");
}

TEST_CASE("summaries for printing back") {
  Sample sample;
  sample.inputs = {Tensor::from<float>({3}, Floats{-1, NAN, 4}), Tensor::from_strings({1}, {"a"})};
  const auto summaries = summarize(
      std::vector<InputSpec>{float_spec("x", {3}), spec("s", DataType::kString, {1})}, sample);
  REQUIRE(summaries.size() == 2);
  CHECK(summaries[0].min == -1);
  CHECK(summaries[0].max == 4);
  CHECK(summaries[0].non_finite == 1);
  CHECK(summaries[1].dims == Dims{1});
  CHECK(format_spec(float_spec("x", {-1, 3})) == "'x' float[?, 3]");
}

TEST_CASE("real data sets") {
  const auto shared = std::filesystem::path(ONNXTOOL_SOURCE_DIR) / "../shared/data";
  if (!std::filesystem::exists(shared)) {
    std::cout << "SKIP: no ../shared/data\n";
    return;
  }
  DataOptions cifar;
  cifar.preprocess.preset = "cifar10";
  const auto images = open_ok((shared / "cifar10net/calib").string(), cifar,
                              {float_spec("input", {-1, 3, 32, 32})});
  CHECK(images->size() == 500);
  CHECK(images->labels()[3] == "cat");
  CHECK(read_ok(*images, 499).label == 9);
  DataOptions digits;
  digits.preprocess.resize = ImageSize{32, 32};
  digits.preprocess.mean = {0.3};
  digits.preprocess.std = {0.35};
  const auto grey =
      open_ok((shared / "digits/calib").string(), digits, {float_spec("image", {-1, 1, 32, 32})});
  CHECK(grey->size() == 200);
  CHECK(read_ok(*grey, 0).inputs[0].dims() == Dims{1, 1, 32, 32});
  CHECK(open_ok((shared / "models/mnist_cntk").string(), {}, {float_spec("Input3", {1, 1, 28, 28})})
            ->size() == 5);
}

}  // namespace onnxtool
