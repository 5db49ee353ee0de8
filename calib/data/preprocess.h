// How an image file becomes a model input: the flags, the presets, and the resolved pipeline.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

enum class ImageLayout : uint8_t { kNchw, kNhwc };
enum class ImageChannels : uint8_t { kRgb, kBgr, kGrey };

/// `N` (width 0: the short side of a resize, a square crop) or `HxW`.
struct ImageSize {
  int64_t height = 0;
  int64_t width = 0;
  bool operator==(const ImageSize&) const = default;
};

/// A factor kept as written, so that 1/255 divides by 255 as torchvision does.
struct Scale {
  double numerator = 1;
  double denominator = 255;
  bool operator==(const Scale&) const = default;
};

/// What the command line says; what is absent comes from the preset, then from the input, then from
/// the defaults. mean and std hold nothing, one value for all channels, or one value a channel.
struct PreprocessOptions {
  std::string preset;  // empty: none named
  std::optional<ImageSize> resize;
  std::optional<ImageSize> crop;
  std::optional<ImageLayout> layout;
  std::optional<ImageChannels> channels;
  std::optional<Scale> scale;
  std::vector<double> mean;
  std::vector<double> std;
};

/// A named pipeline of `--preprocess`.
struct PreprocessPreset {
  std::string_view name;
  std::string_view summary;
  std::optional<ImageSize> resize;
  std::optional<ImageSize> crop;
  std::optional<ImageChannels> channels;
  Scale scale;
  std::array<double, 3> mean;  // channels in the order in which they are stored
  std::array<double, 3> std;
};
/// Every preset, for help texts and docs.
const std::vector<PreprocessPreset>& preprocess_presets();

/// Parsers of the flags; errors are kUsage and name the flag.
/// `size` is "256" or "224x192" (height first).
Result<ImageSize> parse_image_size(std::string_view flag, std::string_view text);
/// A number or a fraction: "1/255", "0.0039", "1".
Result<Scale> parse_scale(std::string_view text);
/// One to three comma-separated numbers or fractions.
Result<std::vector<double>> parse_channel_values(std::string_view flag, std::string_view text);
Result<ImageLayout> parse_layout(std::string_view text);
Result<ImageChannels> parse_channels(std::string_view text);

}  // namespace onnxtool
