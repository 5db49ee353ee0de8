#include "calib/data/image.h"

#include <cstring>

#include "calib/data/files.h"

namespace onnxtool {

Result<Image> decode_image(std::span<const std::byte> bytes) {
  if (image_form(bytes) == ImageForm::kNone)
    return bad_data("not a JPEG, PNG or PPM: " + describe_start(bytes),
                    "convert the image, or move the file elsewhere");
  return decode_any_image(bytes);
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
