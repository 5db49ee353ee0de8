#include "calib/data/image.h"

#include <algorithm>
#include <cstring>

#include "calib/data/files.h"

namespace onnxtool {

Result<Image> decode_image(std::span<const std::byte> bytes) {
  switch (sniff(bytes.first(std::min(bytes.size(), kSniffBytes)), bytes.size())) {
    case FileKind::kJpeg: return decode_jpeg(bytes);
    case FileKind::kPng: return decode_png(bytes);
    case FileKind::kPpm: return decode_ppm(bytes);
    default:
      return bad_data("not a JPEG, PNG or PPM: " + describe_start(bytes),
                      "convert the image, or move the file elsewhere");
  }
}

Status check_image_size(int64_t height, int64_t width) {
  if (height <= 0 || width <= 0 || height > kMaxPixels / width)
    return bad_data("image is " + std::to_string(height) + "x" + std::to_string(width) +
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

Image crop_image(const Image& image, int64_t top, int64_t left, int64_t height, int64_t width) {
  ONNXTOOL_CHECK(top >= 0 && left >= 0 && top + height <= image.height &&
                 left + width <= image.width);
  Image out{height, width, image.channels, {}};
  const auto row = static_cast<size_t>(width * image.channels);
  out.pixels.resize(static_cast<size_t>(height) * row);
  for (int64_t y = 0; y < height; ++y)
    std::memcpy(out.pixels.data() + static_cast<size_t>(y) * row,
                image.pixels.data() +
                    static_cast<size_t>(((top + y) * image.width + left) * image.channels),
                row);
  return out;
}

}  // namespace onnxtool
