#include "calib/data/preprocess.h"

#include <charconv>
#include <cmath>

namespace onnxtool {
namespace {

constexpr int64_t kMaxSide = 1 << 20;

Error usage(std::string_view flag, std::string_view text, const std::string& expected) {
  return Error{ErrorCode::kUsage,
               std::string(flag) + ": '" + std::string(text) + "' is not " + expected,
               {}};
}

template <class T>
std::optional<T> parse_whole(std::string_view text) {
  T v{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return v;
}

std::optional<Scale> parse_fraction(std::string_view text) {
  const size_t slash = text.find('/');
  const auto numerator = parse_whole<double>(text.substr(0, slash));
  const auto denominator = slash == std::string_view::npos
                               ? std::optional(1.0)
                               : parse_whole<double>(text.substr(slash + 1));
  if (!numerator || !denominator || *denominator == 0 || !std::isfinite(*numerator) ||
      !std::isfinite(*denominator))
    return std::nullopt;
  return Scale{*numerator, *denominator};
}

}  // namespace

const std::vector<PreprocessPreset>& preprocess_presets() {
  constexpr ImageSize kShort256{256, 0}, kSquare224{224, 0};
  // Sources: torchvision's classification references; the usual CIFAR-10 and MNIST statistics of
  // their training sets; tf.keras.applications.imagenet_utils (modes tf and caffe); OpenAI's CLIP.
  static const std::vector<PreprocessPreset> kPresets = {
      {"none", "pixels as they are, 0 to 255", {}, {}, {}, {1, 1}, {0, 0, 0}, {1, 1, 1}},
      {"unit",
       "pixels / 255 (the default for float inputs)",
       {},
       {},
       {},
       {1, 255},
       {0, 0, 0},
       {1, 1, 1}},
      {"imagenet",
       "short side to 256, centre 224x224, ImageNet mean and std",
       kShort256,
       kSquare224,
       ImageChannels::kRgb,
       {1, 255},
       {0.485, 0.456, 0.406},
       {0.229, 0.224, 0.225}},
      {"cifar10",
       "CIFAR-10 mean and std, no resize",
       {},
       {},
       ImageChannels::kRgb,
       {1, 255},
       {0.4914, 0.4822, 0.4465},
       {0.2470, 0.2435, 0.2616}},
      {"mnist",
       "grey, MNIST mean and std, no resize",
       {},
       {},
       ImageChannels::kGrey,
       {1, 255},
       {0.1307, 0.1307, 0.1307},
       {0.3081, 0.3081, 0.3081}},
      {"tf",
       "pixels from -1 to 1, no resize",
       {},
       {},
       {},
       {1, 255},
       {0.5, 0.5, 0.5},
       {0.5, 0.5, 0.5}},
      {"caffe",
       "blue first, mean of 0 to 255 subtracted, no resize",
       {},
       {},
       ImageChannels::kBgr,
       {1, 1},
       {103.939, 116.779, 123.68},
       {1, 1, 1}},
      {"clip",
       "224x224 stretched, CLIP mean and std",
       ImageSize{224, 224},
       {},
       ImageChannels::kRgb,
       {1, 255},
       {0.48145466, 0.4578275, 0.40821073},
       {0.26862954, 0.26130258, 0.27577711}},
  };
  return kPresets;
}

Result<ImageSize> parse_image_size(std::string_view flag, std::string_view text) {
  const size_t x = text.find('x');
  const auto height = parse_whole<int64_t>(text.substr(0, x));
  const auto width = x == std::string_view::npos ? std::optional<int64_t>(0)
                                                 : parse_whole<int64_t>(text.substr(x + 1));
  const bool square = x == std::string_view::npos;
  if (!height || !width || *height < 1 || *height > kMaxSide ||
      (!square && (*width < 1 || *width > kMaxSide)))
    return usage(flag, text, "N or HxW with sides of 1 to " + std::to_string(kMaxSide));
  return ImageSize{*height, *width};
}

Result<Scale> parse_scale(std::string_view text) {
  const auto scale = parse_fraction(text);
  if (!scale || scale->numerator == 0)
    return usage("--scale", text, "a number or a fraction such as 1/255, other than 0");
  return *scale;
}

Result<std::vector<double>> parse_channel_values(std::string_view flag, std::string_view text) {
  std::vector<double> values;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const auto v = parse_fraction(text.substr(begin, end - begin));
    if (!v || values.size() == 3)
      return usage(flag, text, "one to three numbers with commas between");
    values.push_back(v->numerator / v->denominator);
    begin = end + 1;
  }
  return values;
}

Result<ImageLayout> parse_layout(std::string_view text) {
  if (text == "nchw") return ImageLayout::kNchw;
  if (text == "nhwc") return ImageLayout::kNhwc;
  return usage("--layout", text, "nchw or nhwc");
}

Result<ImageChannels> parse_channels(std::string_view text) {
  if (text == "rgb") return ImageChannels::kRgb;
  if (text == "bgr") return ImageChannels::kBgr;
  if (text == "grey") return ImageChannels::kGrey;
  return usage("--channels", text, "rgb, bgr or grey");
}

}  // namespace onnxtool
