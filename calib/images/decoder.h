// Images of 8-bit channels, decoded from files of a few forms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

/// [height, width, channels], one byte each; channels is 1 (grey) or 3 (red, green, blue).
struct Image {
  int64_t height = 0;
  int64_t width = 0;
  int channels = 0;
  std::vector<uint8_t> pixels;
};

/// Most pixels of an image: Pillow's decompression bomb limit.
inline constexpr int64_t kMaxPixels = 178'956'970;

enum class ImageForm : uint8_t { kNone, kJpeg, kPng, kPpm };

/// What the first bytes, 8 or more where there are, say.
ImageForm image_form(std::span<const std::byte> head);

/// Decodes a JPEG, PNG or PPM (P2, P3, P5, P6) to the pixels that Pillow gives after convert("L")
/// of grey and convert("RGB") of other images:
///   palettes are expanded; alpha and transparent colours are dropped, not blended; EXIF
///   orientation, gamma and colour profiles are ignored; CMYK JPEGs are taken as Adobe stores them
///   (inverted). 16-bit PNG channels keep their high byte (Pillow saturates 16-bit grey at 255
///   instead); PPM samples of another maximum than 255 become round(v * 255 / maximum).
/// A file that ends early is an error, as is one that is none of these. Errors (kBadData) carry no
/// place.
Result<Image> decode_any_image(std::span<const std::byte> bytes);

Result<Image> decode_jpeg(std::span<const std::byte> bytes);
Result<Image> decode_png(std::span<const std::byte> bytes);
Result<Image> decode_ppm(std::span<const std::byte> bytes);

/// An error when either is 0 or the product is over kMaxPixels.
Status check_image_size(int64_t height, int64_t width);

/// Grey as Pillow's convert("L"): (19595 R + 38470 G + 7471 B + 32768) >> 16.
Image to_grey(Image image);
/// Grey becomes three equal channels.
Image to_rgb(Image image);

inline Error bad_image(std::string message) {
  return Error{ErrorCode::kBadData, std::move(message), {}};
}

}  // namespace onnxtool
