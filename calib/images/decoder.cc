#include "calib/images/decoder.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace onnxtool {

ImageForm image_form(std::span<const std::byte> head) {
  const auto starts_with = [head](std::string_view prefix) {
    return head.size() >= prefix.size() &&
           std::memcmp(head.data(), prefix.data(), prefix.size()) == 0;
  };
  if (starts_with("\xff\xd8\xff")) return ImageForm::kJpeg;
  if (starts_with("\x89PNG\r\n\x1a\n")) return ImageForm::kPng;
  if (head.size() >= 3 && head[0] == std::byte{'P'}) {
    const char kind = static_cast<char>(head[1]), after = static_cast<char>(head[2]);
    const bool separated =
        after == ' ' || after == '\t' || after == '\r' || after == '\n' || after == '#';
    if (separated && (kind == '2' || kind == '3' || kind == '5' || kind == '6'))
      return ImageForm::kPpm;
  }
  return ImageForm::kNone;
}

Result<Image> decode_any_image(std::span<const std::byte> bytes) {
  switch (image_form(bytes)) {
    case ImageForm::kJpeg: return decode_jpeg(bytes);
    case ImageForm::kPng: return decode_png(bytes);
    case ImageForm::kPpm: return decode_ppm(bytes);
    case ImageForm::kNone: break;
  }
  return bad_image("not a JPEG, PNG or PPM");
}

Status check_image_size(int64_t height, int64_t width) {
  if (height <= 0 || width <= 0 || height > kMaxPixels / width)
    return bad_image("image is " + std::to_string(height) + "x" + std::to_string(width) +
                    ", expected 1 to " + std::to_string(kMaxPixels) + " pixels");
  return {};
}

Image to_grey(Image image) {
  if (image.channels == 1) return image;
  std::vector<uint8_t> grey(image.pixels.size() / 3);
  for (size_t i = 0; i < grey.size(); ++i) {
    const uint8_t* p = image.pixels.data() + i * 3;
    grey[i] = static_cast<uint8_t>((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
  }
  return Image{image.height, image.width, 1, std::move(grey)};
}

Image to_rgb(Image image) {
  if (image.channels == 3) return image;
  std::vector<uint8_t> rgb(image.pixels.size() * 3);
  for (size_t i = 0; i < image.pixels.size(); ++i)
    std::memset(rgb.data() + i * 3, image.pixels[i], 3);
  return Image{image.height, image.width, 3, std::move(rgb)};
}

}  // namespace onnxtool
