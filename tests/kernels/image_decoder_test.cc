// ImageDecoder beyond onnx's own cases, which decode a JPEG, a PNG and a PPM of three channels.
#include <string_view>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

using Doubles = std::vector<double>;

OneNode decoder_of(std::string_view file, const std::string& pixel_format = "RGB") {
  const auto count = static_cast<int64_t>(file.size());
  return {.op = "ImageDecoder",
          .opset = 20,
          .inputs = {Tensor::from_bytes(DataType::kUint8, {count},
                                        {reinterpret_cast<const std::byte*>(file.data()),
                                         reinterpret_cast<const std::byte*>(file.data()) + count})},
          .attributes = {{"pixel_format", pixel_format}}};
}

constexpr std::string_view kColour = "P6 2 1 255\n\x0a\x14\x1e\x28\x32\x3c";
constexpr std::string_view kGrey = "P5 1 2 255\n\x05\x07";

}  // namespace

TEST_CASE("ImageDecoder orders channels, and gives as many as its format has") {
  const Tensor rgb = run_node(decoder_of(kColour))[0];
  CHECK(rgb.dims() == Dims{1, 2, 3});
  CHECK(doubles<uint8_t>(rgb) == Doubles{10, 20, 30, 40, 50, 60});
  CHECK(doubles<uint8_t>(run_node(decoder_of(kColour, "BGR"))[0]) ==
        Doubles{30, 20, 10, 60, 50, 40});
  const Tensor grey = run_node(decoder_of(kColour, "Grayscale"))[0];
  CHECK(grey.dims() == Dims{1, 2, 1});
  CHECK(doubles<uint8_t>(grey) == Doubles{18, 48});  // 0.299, 0.587 and 0.114 of them
  CHECK(run_node(decoder_of(kGrey, "Grayscale"))[0].dims() == Dims{2, 1, 1});
  CHECK(doubles<uint8_t>(run_node(decoder_of(kGrey))[0]) == Doubles{5, 5, 5, 7, 7, 7});
}

TEST_CASE("ImageDecoder gives nothing for what is no image, and refuses forms that it lacks") {
  CHECK(run_node(decoder_of("no image"))[0].dims() == Dims{0, 0, 3});
  CHECK(run_node(decoder_of(kColour.substr(0, 14), "Grayscale"))[0].dims() == Dims{0, 0, 1});
  CHECK(run_node(decoder_of("\xff\xd8\xff\xe0 cut off"))[0].dims() == Dims{0, 0, 3});
  CHECK(mentions(error_of(decoder_of("RIFF....WEBPVP8 ")), "WebP images are not decoded"));
  for (const char* cut : {"RIFF", "RIFF....WEB"})  // shorter than what tells WebP from other RIFF
    CHECK(run_node(decoder_of(cut))[0].dims() == Dims{0, 0, 3});
  CHECK(mentions(error_of(decoder_of("BM123456")), "BMP images are not decoded"));
  CHECK(mentions(error_of(decoder_of(kColour, "RGBA")), "pixel_format is 'RGBA'"));
}

}  // namespace onnxtool::testing
