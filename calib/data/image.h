// Images as samples: read from files, and what is done to them before they become numbers.
#pragma once

#include <cstdint>
#include <span>

#include "calib/images/decoder.h"

namespace onnxtool {

/// decode_any_image(), with an error that says what the bytes start with where that is no image.
Result<Image> decode_image(std::span<const std::byte> bytes);

/// Pillow 13's resize(BILINEAR) on 8-bit channels, bit for bit: a triangle filter that widens when
/// it shrinks, one pass along rows and one along columns, both in fixed point. Older Pillows
/// differ, by rounding, where the height loses over twice as many pixels as the width. The target
/// must pass check_image_size.
Image resize_bilinear(Image image, int64_t height, int64_t width);

/// The part of height x width at (top, left), which lies within the image.
Image crop_image(const Image& image, int64_t top, int64_t left, int64_t height, int64_t width);

}  // namespace onnxtool
