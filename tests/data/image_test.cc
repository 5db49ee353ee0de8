// Decoding, resizing and the pipeline against what Pillow gives (scripts/make_data_fixtures.py).

#include "calib/data/image.h"

#include <filesystem>

#include "calib/data/npy.h"
#include "calib/data/pipeline.h"
#include "tests/data/files.h"

namespace onnxtool {
namespace {

using data_test::contains;
using data_test::fixture;
using data_test::float_spec;
using data_test::read_text;

std::span<const std::byte> as_bytes(const std::string& s) { return std::as_bytes(std::span(s)); }

Tensor load_npy(const std::string& path) {
  Result<StoredArray> array = open_npy(path, {});
  REQUIRE_MESSAGE(array.ok(), path);
  Result<Tensor> tensor = load_array(*array, std::nullopt);
  REQUIRE(tensor.ok());
  return *tensor;
}

Image load_image(const std::string& npy) {
  const Tensor t = load_npy(npy);
  const int channels = t.rank() == 3 ? static_cast<int>(t.dims()[2]) : 1;
  return {t.dims()[0], t.dims()[1], channels, t.values<uint8_t>()};
}

Image decode_ok(const std::string& path) {
  Result<Image> image = decode_image(as_bytes(read_text(path)));
  if (!image.ok()) FAIL(path << ": " << image.error().message);
  return *std::move(image);
}

void check_equal(const Image& found, const Image& expected, const std::string& what) {
  REQUIRE_MESSAGE(found.height == expected.height, what);
  REQUIRE_MESSAGE(found.width == expected.width, what);
  REQUIRE_MESSAGE(found.channels == expected.channels, what);
  size_t different = 0;
  for (size_t i = 0; i < found.pixels.size(); ++i)
    different += found.pixels[i] != expected.pixels[i];
  CHECK_MESSAGE(different == 0,
                what << ": " << different << " of " << found.pixels.size() << " values differ");
}

Error decode_error(const std::string& bytes) {
  Result<Image> image = decode_image(as_bytes(bytes));
  REQUIRE(!image.ok());
  return image.error();
}

}  // namespace

TEST_CASE("every image fixture decodes to Pillow's pixels") {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(fixture("images"))) {
    const std::string path = entry.path().string();
    if (path.ends_with(".npy")) continue;
    check_equal(decode_ok(path), load_image(path + ".npy"), path);
    ++count;
  }
  CHECK(count == 22);
}

TEST_CASE("grey of a colour image is Pillow's convert(L)") {
  check_equal(to_grey(decode_ok(fixture("images/420.jpg"))),
              load_image(fixture("images/420.jpg.grey.npy")), "420.jpg");
  const Image grey{1, 2, 1, {7, 200}};
  CHECK(to_rgb(grey).pixels == std::vector<uint8_t>{7, 7, 7, 200, 200, 200});
}

TEST_CASE("resize equals Pillow's bilinear bit for bit") {
  int count = 0;
  for (const std::string name : {"rgb", "grey", "checker"}) {
    const Image source = load_image(fixture("resize/" + name + ".npy"));
    for (const auto& entry : std::filesystem::directory_iterator(fixture("resize"))) {
      const std::string stem = entry.path().stem().string();
      if (!stem.starts_with(name + "_")) continue;
      const Image expected = load_image(entry.path().string());
      check_equal(resize_bilinear(source, expected.height, expected.width), expected, stem);
      ++count;
    }
    check_equal(resize_bilinear(source, source.height, source.width), source, name + " unchanged");
  }
  CHECK(count == 21);
}

TEST_CASE("sizes as torchvision computes them") {
  CHECK(short_side_size(480, 640, 256) == ImageSize{256, 341});
  CHECK(short_side_size(640, 480, 256) == ImageSize{341, 256});
  CHECK(short_side_size(100, 100, 7) == ImageSize{7, 7});
  CHECK(centre_crop_start(256, 224) == 16);
  CHECK(centre_crop_start(341, 224) == 58);  // 58.5 to even
  CHECK(centre_crop_start(227, 224) == 2);   // 1.5 to even
  CHECK(centre_crop_start(225, 224) == 0);   // 0.5 to even
}

TEST_CASE("the pipeline equals torchvision's resize, crop, scale and normalize bit for bit") {
  PreprocessOptions options;
  options.preset = "imagenet";
  options.resize = ImageSize{20, 0};
  options.crop = ImageSize{15, 0};
  Result<ImagePipeline> pipeline = ImagePipeline::create(options, float_spec("x", {-1, 3, 15, 15}));
  REQUIRE(pipeline.ok());
  Result<Tensor> tensor = pipeline->apply(decode_ok(fixture("images/420.jpg")));
  REQUIRE(tensor.ok());
  CHECK(tensor->same_content(load_npy(fixture("pipeline.npy"))));
  CHECK(pipeline->describe() ==
        "preset imagenet: to rgb; resize the short side to 20 (bilinear, as Pillow); crop 15x15 "
        "from the centre; "
        "(pixel * 1/255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]; nchw");
}

TEST_CASE("layout, channels, scale and type of the input") {
  const Image image{1, 2, 3, {10, 20, 30, 40, 50, 60}};
  const auto run = [&](const PreprocessOptions& options, const InputSpec& s) {
    Result<ImagePipeline> pipeline = ImagePipeline::create(options, s);
    if (!pipeline.ok()) FAIL(pipeline.error().message);
    Result<Tensor> tensor = pipeline->apply(image);
    if (!tensor.ok()) FAIL(tensor.error().message);
    return *tensor;
  };
  PreprocessOptions raw;
  raw.preset = "none";
  SUBCASE("nchw") {
    const Tensor t = run(raw, float_spec("x", {1, 3, 1, 2}));
    CHECK(t.dims() == std::vector<int64_t>{1, 3, 1, 2});
    CHECK(t.values<float>() == std::vector<float>{10, 40, 20, 50, 30, 60});
  }
  SUBCASE("nhwc from the dims") {
    const Tensor t = run(raw, float_spec("x", {-1, -1, -1, 3}));
    CHECK(t.dims() == std::vector<int64_t>{1, 1, 2, 3});
    CHECK(t.values<float>() == std::vector<float>{10, 20, 30, 40, 50, 60});
  }
  SUBCASE("without batch, bgr, mean in the order of the channels as stored") {
    raw.channels = ImageChannels::kBgr;
    raw.mean = {1, 2, 3};
    const Tensor t = run(raw, float_spec("x", {3, 1, 2}));
    CHECK(t.dims() == std::vector<int64_t>{3, 1, 2});
    CHECK(t.values<float>() == std::vector<float>{29, 59, 18, 48, 7, 37});
  }
  SUBCASE("grey because the input has one channel; scale 1/255 by default") {
    const Tensor t = run({}, float_spec("x", {-1, 1, -1, -1}));
    CHECK(t.values<float>() == std::vector<float>{18 / 255.0f, 48 / 255.0f});
  }
  SUBCASE("whole pixels for integer inputs") {
    CHECK(run({}, data_test::spec("x", DataType::kUint8, {1, -1, -1, 3})).values<uint8_t>() ==
          image.pixels);
    CHECK(run({}, data_test::spec("x", DataType::kInt32, {1, -1, -1, 3})).values<int32_t>() ==
          std::vector<int32_t>{10, 20, 30, 40, 50, 60});
  }
  SUBCASE("half") {
    const Tensor t = run(raw, data_test::spec("x", DataType::kFloat16, {1, 3, 1, 2}));
    CHECK(t.dtype() == DataType::kFloat16);
    CHECK(t.to_doubles() == std::vector<double>{10, 40, 20, 50, 30, 60});
  }
  SUBCASE("unknown rank") {
    raw.layout = ImageLayout::kNhwc;
    CHECK(run(raw, {"x", DataType::kFloat, {}, false}).dims() == std::vector<int64_t>{1, 1, 2, 3});
  }
}

TEST_CASE("images that do not give the input's size") {
  const Image image{37, 53, 3, std::vector<uint8_t>(37 * 53 * 3)};
  const auto error = [&](const PreprocessOptions& options, const InputSpec& s) {
    Result<ImagePipeline> pipeline = ImagePipeline::create(options, s);
    if (!pipeline.ok()) return pipeline.error();
    Result<Tensor> tensor = pipeline->apply(image);
    REQUIRE(!tensor.ok());
    return tensor.error();
  };
  const InputSpec s = float_spec("x", {1, 3, 224, 224});
  CHECK_ERROR(error({}, s), ErrorCode::kMismatch,
              "image is 37x53, input 'x' float[1, 3, 224, 224] takes 224x224", "--resize 224x224",
              "--crop");
  PreprocessOptions options;
  options.resize = ImageSize{224, 0};
  CHECK_ERROR(error(options, s), ErrorCode::kMismatch, "image is 37x53, 224x320 after --resize",
              "takes 224x224", "add --crop 224x224");
  options.resize = ImageSize{200, 0};
  options.crop = ImageSize{224, 0};
  CHECK_ERROR(error(options, s), ErrorCode::kMismatch,
              "image is 200x286 after --resize, too small for --crop 224x224");
  options.crop = ImageSize{100, 100};
  CHECK_ERROR(error(options, s), ErrorCode::kMismatch, "--crop gives 100x100", "224x224");
  options = {};
  options.resize = ImageSize{100, 90};
  CHECK_ERROR(error(options, s), ErrorCode::kMismatch, "--resize gives 100x90", "224x224");
  options.resize = ImageSize{100, 100};
  options.crop = ImageSize{224, 224};
  CHECK_ERROR(error(options, s), ErrorCode::kUsage,
              "--crop 224x224 is larger than what --resize 100x100 gives");
  options = {};
  options.resize = ImageSize{1 << 20, 0};
  CHECK_ERROR(error(options, float_spec("x", {1, 3, -1, -1})), ErrorCode::kBadData,
              "1048576x1502014");
}

TEST_CASE("flags that images cannot follow") {
  const auto error = [](const PreprocessOptions& options, const InputSpec& s) {
    Result<ImagePipeline> pipeline = ImagePipeline::create(options, s);
    REQUIRE(!pipeline.ok());
    return pipeline.error();
  };
  PreprocessOptions options;
  CHECK_ERROR(error({}, float_spec("x", {1, -1, 8, 9})), ErrorCode::kUsage,
              "layout of input 'x' float[1, ?, 8, 9]", "--layout nchw");
  CHECK_ERROR(error({}, float_spec("x", {1, 3, 8, 3})), ErrorCode::kUsage, "layout");
  CHECK_ERROR(error({}, {"x", DataType::kFloat, {}, false}), ErrorCode::kUsage,
              "its rank is unknown");
  CHECK_ERROR(error({}, float_spec("x", {1, 784})), ErrorCode::kMismatch, "float[1, 784]",
              "expected 4 dims");
  CHECK_ERROR(error({}, float_spec("x", {8, 3, 32, 32})), ErrorCode::kMismatch,
              "takes 8 images at once", "--input-shape");
  CHECK_ERROR(error({}, float_spec("x", {1, 4, 32, 32})), ErrorCode::kMismatch,
              "has 4 channels, colour images give 3");
  CHECK_ERROR(error({}, data_test::spec("x", DataType::kString, {1, 3, 32, 32})),
              ErrorCode::kMismatch, "string[1, 3, 32, 32]");
  CHECK_ERROR(error({}, data_test::spec("x", DataType::kInt8, {1, 3, 32, 32})),
              ErrorCode::kMismatch, "int8[1, 3, 32, 32]");
  options.preset = "imagnet";
  CHECK_ERROR(error(options, float_spec("x", {1, 3, 32, 32})), ErrorCode::kUsage,
              "'imagnet' is not known", "imagenet, cifar10");
  options.preset = "cifar10";
  CHECK_ERROR(error(options, float_spec("x", {1, 1, 32, 32})), ErrorCode::kMismatch,
              "has 1 channels, colour images give 3", "--channels grey");
  CHECK_ERROR(error(options, data_test::spec("x", DataType::kUint8, {1, 3, 32, 32})),
              ErrorCode::kUsage, "whole pixels");
  options = {};
  options.mean = {0.1, 0.2, 0.3};
  CHECK_ERROR(error(options, float_spec("x", {1, 1, 32, 32})), ErrorCode::kUsage,
              "--mean: 3 values for 1 channel");
  options = {};
  options.std = {0};
  CHECK_ERROR(error(options, float_spec("x", {1, 3, 32, 32})), ErrorCode::kUsage,
              "--std: 0 divides");
  options.std = {1e-60};
  CHECK_ERROR(error(options, float_spec("x", {1, 3, 32, 32})), ErrorCode::kUsage, "--std");
}

TEST_CASE("every preset makes a pipeline") {
  for (const PreprocessPreset& preset : preprocess_presets()) {
    PreprocessOptions options;
    options.preset = preset.name;
    const int64_t channels = preset.channels == ImageChannels::kGrey ? 1 : 3;
    CHECK_MESSAGE(ImagePipeline::create(options, float_spec("x", {-1, channels, -1, -1})).ok(),
                  preset.name);
  }
}

TEST_CASE("flags of the preprocess") {
  CHECK(*parse_image_size("--resize", "256") == ImageSize{256, 0});
  CHECK(*parse_image_size("--resize", "12x34") == ImageSize{12, 34});
  for (const char* bad : {"", "x", "0", "12x", "x12", "12x0", "-1", "1.5", "12x34x5", "9999999999"})
    CHECK_ERROR(parse_image_size("--crop", bad).error(), ErrorCode::kUsage, "--crop", "N or HxW");
  CHECK(*parse_scale("1/255") == Scale{1, 255});
  CHECK(*parse_scale("0.5") == Scale{0.5, 1});
  for (const char* bad : {"", "1/0", "0", "a", "1/", "/2", "1e999"})
    CHECK_ERROR(parse_scale(bad).error(), ErrorCode::kUsage, "--scale");
  CHECK(*parse_channel_values("--mean", "0.5") == std::vector<double>{0.5});
  CHECK(*parse_channel_values("--mean", "1,1/4,-3") == std::vector<double>{1, 0.25, -3});
  for (const char* bad : {"", "1,", "1,2,3,4", "x"})
    CHECK_ERROR(parse_channel_values("--mean", bad).error(), ErrorCode::kUsage, "--mean");
  CHECK(*parse_layout("nhwc") == ImageLayout::kNhwc);
  CHECK_ERROR(parse_layout("hwc").error(), ErrorCode::kUsage, "nchw or nhwc");
  CHECK(*parse_channels("bgr") == ImageChannels::kBgr);
  CHECK_ERROR(parse_channels("gray").error(), ErrorCode::kUsage, "rgb, bgr or grey");
}

TEST_CASE("damaged images are errors") {
  CHECK_ERROR(decode_error("GIF89a\x01\x02"), ErrorCode::kBadData,
              "not a JPEG, PNG or PPM: starts with \"GIF89a\\x01\\x02\"");
  CHECK_ERROR(decode_error(""), ErrorCode::kBadData, "is empty");
  // Cut anywhere, every kind of file says so.
  for (const std::string name : {"420.jpg", "progressive.jpg", "rgb.png", "palette.png", "rgb.ppm",
                                 "plain.ppm", "deep.ppm"}) {
    const std::string whole = read_text(fixture("images/" + name));
    for (size_t keep : {size_t{4}, size_t{20}, whole.size() / 2, whole.size() - 3}) {
      if (name == "plain.ppm" && keep > 40) continue;  // loses a digit, not a number
      const Error error = decode_error(whole.substr(0, keep));
      CHECK_MESSAGE(error.code == ErrorCode::kBadData, name);
    }
  }
  // A flipped bit in a PNG breaks its checksum.
  std::string png = read_text(fixture("images/rgb.png"));
  png[png.size() / 2] ^= 1;
  CHECK_ERROR(decode_error(png), ErrorCode::kBadData, "not a readable PNG: ");
  // Sizes that nobody wants to allocate.
  CHECK_ERROR(decode_error("P6 1000000 1000000 255\n"), ErrorCode::kBadData, "1000000x1000000",
              "178956970 pixels");
  CHECK_ERROR(decode_error("P6 0 1 255\n"), ErrorCode::kBadData, "1x0");
  CHECK_ERROR(decode_error("P6 1 1 70000\n"), ErrorCode::kBadData, "maximum 70000");
  CHECK_ERROR(decode_error("P6 12345678901 1 255\n"), ErrorCode::kBadData, "header");
  CHECK_ERROR(decode_error("P6 1 1 255"), ErrorCode::kBadData, "no space");
  std::string jpeg = read_text(fixture("images/420.jpg"));
  const size_t frame = jpeg.find("\xff\xc0");
  REQUIRE(frame != std::string::npos);
  jpeg.replace(frame + 5, 4, "\xff\xdc\xff\xdc");
  CHECK_ERROR(decode_error(jpeg), ErrorCode::kBadData, "65500x65500");
}

}  // namespace onnxtool
