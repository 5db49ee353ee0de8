// Pillow's bilinear resize. The fixed-point weights decide the last bit, so they are computed with
// the same operations on doubles, in the same order, as Pillow's ImagingResample does (Resample.c,
// checked against tensors from Pillow 13 in tests/data/image_test.cc).

#include <algorithm>
#include <utility>

#include "calib/data/image.h"

namespace onnxtool {
namespace {

// 8 bits of pixel, 2 of headroom for sums of weights, the rest for the weight.
constexpr int kWeightBits = 32 - 8 - 2;

// For each output position: the first input position, how many follow, and their weights.
struct Taps {
  struct Window {
    int64_t first, count;
  };
  std::vector<Window> windows;
  std::vector<int32_t> weights;  // `width` a window
  size_t width = 0;
};

Taps make_taps(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double filter_scale =
      std::max(scale, 1.0);             // shrinking averages over what falls into a pixel
  const double support = filter_scale;  // the triangle reaches 1 to either side
  const double step = 1.0 / filter_scale;
  Taps taps;
  taps.width = static_cast<size_t>(support) * 2 + 3;
  taps.windows.resize(static_cast<size_t>(out));
  taps.weights.assign(static_cast<size_t>(out) * taps.width, 0);
  std::vector<double> weights(taps.width);
  for (int64_t o = 0; o < out; ++o) {
    const double centre = (static_cast<double>(o) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const int64_t count =
        std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), in) - first;
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      double distance = (static_cast<double>(i + first) - centre + 0.5) * step;
      if (distance < 0) distance = -distance;
      const double w = distance < 1.0 ? 1.0 - distance : 0.0;
      weights[static_cast<size_t>(i)] = w;
      sum += w;
    }
    taps.windows[static_cast<size_t>(o)] = {first, count};
    int32_t* fixed = taps.weights.data() + static_cast<size_t>(o) * taps.width;
    for (int64_t i = 0; i < count; ++i) {
      double w = weights[static_cast<size_t>(i)];
      if (sum != 0) w /= sum;
      fixed[i] = static_cast<int32_t>(0.5 + w * (1 << kWeightBits));
    }
  }
  return taps;
}

// A triangle has no negative weights, so the sum cannot pass 8 bits by more than rounding.
uint8_t to_pixel(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

template <int kChannels>
Image resize_rows(const Image& image, int64_t width) {
  const Taps taps = make_taps(image.width, width);
  Image out{image.height, width, kChannels,
            std::vector<uint8_t>(static_cast<size_t>(image.height * width * kChannels))};
  uint8_t* to = out.pixels.data();
  for (int64_t y = 0; y < image.height; ++y) {
    const uint8_t* row = image.pixels.data() + y * image.width * kChannels;
    for (int64_t x = 0; x < width; ++x) {
      const auto [first, count] = taps.windows[static_cast<size_t>(x)];
      const int32_t* weights = taps.weights.data() + static_cast<size_t>(x) * taps.width;
      const uint8_t* from = row + first * kChannels;
      // Written out: as an array the three sums would live in memory.
      int32_t a = 1 << (kWeightBits - 1), b = a, c = a;
      for (int64_t i = 0; i < count; ++i, from += kChannels) {
        a += from[0] * weights[i];
        if constexpr (kChannels == 3) {
          b += from[1] * weights[i];
          c += from[2] * weights[i];
        }
      }
      *to++ = to_pixel(a);
      if constexpr (kChannels == 3) {
        *to++ = to_pixel(b);
        *to++ = to_pixel(c);
      }
    }
  }
  return out;
}

Image resize_columns(const Image& image, int64_t height) {
  const Taps taps = make_taps(image.height, height);
  const auto row_bytes = static_cast<size_t>(image.width * image.channels);
  Image out{height, image.width, image.channels,
            std::vector<uint8_t>(static_cast<size_t>(height) * row_bytes)};
  std::vector<int32_t> sums(row_bytes);
  for (int64_t y = 0; y < height; ++y) {
    const auto [first, count] = taps.windows[static_cast<size_t>(y)];
    const int32_t* weights = taps.weights.data() + static_cast<size_t>(y) * taps.width;
    std::fill(sums.begin(), sums.end(), 1 << (kWeightBits - 1));
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t* row = image.pixels.data() + static_cast<size_t>(first + i) * row_bytes;
      const int32_t w = weights[i];
      for (size_t x = 0; x < row_bytes; ++x) sums[x] += row[x] * w;
    }
    uint8_t* to = out.pixels.data() + static_cast<size_t>(y) * row_bytes;
    for (size_t x = 0; x < row_bytes; ++x) to[x] = to_pixel(sums[x]);
  }
  return out;
}

}  // namespace

Image resize_bilinear(Image image, int64_t height, int64_t width) {
  const auto rows = [&](Image i) {
    if (width == i.width) return i;
    return i.channels == 1 ? resize_rows<1>(i, width) : resize_rows<3>(i, width);
  };
  const auto columns = [&](Image i) {
    if (height == i.height) return i;
    return resize_columns(i, height);
  };
  // Each pass rounds to 8 bits, so their order shows. This is Pillow 13's choice (its pull request
  // 9549); up to version 12 rows always came first.
  const int64_t lost_height = image.height - height, lost_width = image.width - width;
  return lost_height > 0 && lost_height > 2 * lost_width ? rows(columns(std::move(image)))
                                                         : columns(rows(std::move(image)));
}

}  // namespace onnxtool
