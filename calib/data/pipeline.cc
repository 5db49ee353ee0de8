#include "calib/data/pipeline.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "calib/data/arrays.h"

namespace onnxtool {
namespace {

Error usage(std::string message, std::string hint = {}) {
  return Error{ErrorCode::kUsage, std::move(message), std::move(hint)};
}
Error mismatch(std::string message, std::string hint = {}) {
  return Error{ErrorCode::kMismatch, std::move(message), std::move(hint)};
}

// The shortest text that reads back as the same number.
std::string shortest(double v) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, v).ptr);
}

std::string list(const std::vector<double>& values) {
  std::string s;
  for (double v : values) s += (s.empty() ? "" : ", ") + shortest(v);
  return values.size() == 1 ? s : "[" + s + "]";
}

std::string format_size(ImageSize s) {
  return std::to_string(s.height) + "x" + std::to_string(s.width);
}
std::string format_extent(int64_t d) { return d < 0 ? "?" : std::to_string(d); }

ImageSize square(ImageSize s) { return s.width == 0 ? ImageSize{s.height, s.height} : s; }

bool is_channel_count(int64_t d) { return d == 1 || d == 3 || d == 4; }

const PreprocessPreset* find_preset(std::string_view name) {
  for (const PreprocessPreset& p : preprocess_presets())
    if (p.name == name) return &p;
  return nullptr;
}

bool is_integer_input(DataType t) {
  return t == DataType::kUint8 || t == DataType::kInt16 || t == DataType::kUint16 ||
         t == DataType::kInt32 || t == DataType::kUint32 || t == DataType::kInt64 ||
         t == DataType::kUint64;
}

Status check_channel_values(std::string_view flag, const std::vector<double>& values,
                            size_t channels) {
  if (values.size() > 1 && values.size() != channels)
    return usage(std::string(flag) + ": " + std::to_string(values.size()) + " values for " +
                     std::to_string(channels) + (channels == 1 ? " channel" : " channels"),
                 "give one value, or one a channel");
  for (double v : values)
    if (!std::isfinite(v)) return usage(std::string(flag) + ": values must be finite");
  return {};
}

}  // namespace

ImageSize short_side_size(int64_t height, int64_t width, int64_t short_side) {
  if (width <= height) return {short_side * height / width, short_side};
  return {short_side, short_side * width / height};
}

int64_t centre_crop_start(int64_t size, int64_t crop) {
  const int64_t twice = size - crop, half = twice / 2;
  return twice % 2 == 1 && half % 2 == 1 ? half + 1 : half;
}

Result<ImagePipeline> ImagePipeline::create(const PreprocessOptions& options,
                                            const InputSpec& spec) {
  ImagePipeline p;
  p.spec_ = spec;
  const PreprocessPreset* preset = nullptr;
  if (!options.preset.empty()) {
    preset = find_preset(options.preset);
    if (!preset) {
      std::string names;
      for (const PreprocessPreset& known : preprocess_presets())
        names += (names.empty() ? "" : ", ") + std::string(known.name);
      return usage("--preprocess: '" + options.preset + "' is not known, expected one of " + names);
    }
    p.preset_ = options.preset;
  }
  const bool integer = is_integer_input(spec.dtype);
  if (!integer && !is_float(spec.dtype))
    return mismatch("images cannot fill input " + format_spec(spec) +
                    ", expected float or integer elements of 0 to 255");

  // Layout and channels: what the flags leave open the input's dims must tell.
  const size_t rank = spec.dims.size();
  if (spec.known_rank && rank != 3 && rank != 4)
    return mismatch("images cannot fill input " + format_spec(spec) +
                    ", expected 4 dims (or 3 without batch)");
  int64_t channel_dim = -1;
  if (spec.known_rank) {
    const std::vector<int64_t>& d = spec.dims;
    if (rank == 4 && d[0] > 1)
      return mismatch("input " + format_spec(spec) + " takes " + std::to_string(d[0]) +
                          " images at once, data gives one at a time",
                      "make the batch dynamic or 1: --input-shape " + spec.name + "=1,...");
    const int64_t first = d[rank - 3], last = d[rank - 1];
    if (options.layout) {
      p.layout_ = *options.layout;
    } else if (is_channel_count(first) != is_channel_count(last)) {
      p.layout_ = is_channel_count(first) ? ImageLayout::kNchw : ImageLayout::kNhwc;
    } else {
      return usage("the layout of input " + format_spec(spec) + " cannot be told from its dims",
                   "pass --layout nchw or --layout nhwc");
    }
    const bool nchw = p.layout_ == ImageLayout::kNchw;
    channel_dim = nchw ? first : last;
    p.want_height_ = nchw ? d[rank - 2] : d[rank - 3];
    p.want_width_ = nchw ? d[rank - 1] : d[rank - 2];
  } else if (options.layout) {
    p.layout_ = *options.layout;
  } else {
    return usage(
        "the layout of input " + format_spec(spec) + " cannot be told, its rank is unknown",
        "pass --layout nchw or --layout nhwc");
  }
  if (options.channels) {
    p.channels_ = *options.channels;
  } else if (preset && preset->channels) {
    p.channels_ = *preset->channels;
  } else if (channel_dim == 1) {
    p.channels_ = ImageChannels::kGrey;
  }
  const int64_t channels = p.channels_ == ImageChannels::kGrey ? 1 : 3;
  if (channel_dim >= 0 && channel_dim != channels)
    return mismatch("input " + format_spec(spec) + " has " + std::to_string(channel_dim) +
                        " channels, " +
                        (channels == 1 ? "grey images give 1" : "colour images give 3"),
                    channel_dim == 1   ? "pass --channels grey"
                    : channel_dim == 3 ? "pass --channels rgb"
                                       : "pass --layout if the channels are another dim");

  p.resize_ = options.resize ? options.resize : preset ? preset->resize : std::nullopt;
  p.crop_ = options.crop ? options.crop : preset ? preset->crop : std::nullopt;
  if (p.crop_) p.crop_ = square(*p.crop_);
  std::optional<ImageSize> result = p.crop_;
  if (!result && p.resize_ && p.resize_->width > 0) result = p.resize_;
  if (result && ((p.want_height_ >= 0 && result->height != p.want_height_) ||
                 (p.want_width_ >= 0 && result->width != p.want_width_)))
    return mismatch(std::string(p.crop_ ? "--crop" : "--resize") + " gives " +
                        format_size(*result) + ", input " + format_spec(spec) + " takes " +
                        format_extent(p.want_height_) + "x" + format_extent(p.want_width_),
                    "change --resize or --crop");
  if (p.crop_ && p.resize_ && p.resize_->width > 0 &&
      (p.crop_->height > p.resize_->height || p.crop_->width > p.resize_->width))
    return usage("--crop " + format_size(*p.crop_) + " is larger than what --resize " +
                 format_size(*p.resize_) + " gives");

  p.scale_ = options.scale ? *options.scale
             : preset      ? preset->scale
             : integer     ? Scale{1, 1}
                           : Scale{1, 255};
  p.mean_ = options.mean;
  p.std_ = options.std;
  const auto preset_values = [&](const std::array<double, 3>& values, double neutral) {
    if (values == std::array{neutral, neutral, neutral}) return std::vector<double>{};
    if (values[0] == values[1] && values[1] == values[2]) return std::vector<double>{values[0]};
    return std::vector<double>(values.begin(), values.end());
  };
  if (p.mean_.empty() && preset) p.mean_ = preset_values(preset->mean, 0);
  if (p.std_.empty() && preset) p.std_ = preset_values(preset->std, 1);
  ONNXTOOL_TRY(check_channel_values("--mean", p.mean_, static_cast<size_t>(channels)));
  ONNXTOOL_TRY(check_channel_values("--std", p.std_, static_cast<size_t>(channels)));
  if (std::find(p.std_.begin(), p.std_.end(), 0.0) != p.std_.end())
    return usage("--std: 0 divides");
  if (integer &&
      (p.scale_.numerator != p.scale_.denominator || !p.mean_.empty() || !p.std_.empty()))
    return usage("input " + format_spec(spec) +
                     " takes whole pixels, but scale, mean or std would make fractions of them",
                 "leave --scale, --mean, --std and --preprocess away, or pass --preprocess none");

  p.table_.resize(static_cast<size_t>(channels));
  for (size_t c = 0; c < p.table_.size(); ++c) {
    const auto pick = [&](const std::vector<double>& v, double neutral) {
      return static_cast<float>(v.empty() ? neutral : v.size() == 1 ? v[0] : v[c]);
    };
    const float mean = pick(p.mean_, 0), std = pick(p.std_, 1);
    if (std == 0) return usage("--std: a value is 0 in float32");
    for (int v = 0; v < 256; ++v)
      p.table_[c][static_cast<size_t>(v)] =
          (static_cast<float>(v * p.scale_.numerator / p.scale_.denominator) - mean) / std;
  }
  return p;
}

Result<Image> ImagePipeline::fit_size(Image image) const {
  const ImageSize found{image.height, image.width};
  if (resize_) {
    const ImageSize size =
        resize_->width > 0 ? *resize_ : short_side_size(image.height, image.width, resize_->height);
    ONNXTOOL_TRY(check_image_size(size.height, size.width));
    image = resize_bilinear(std::move(image), size.height, size.width);
  }
  if (crop_) {
    if (image.height < crop_->height || image.width < crop_->width)
      return mismatch("image is " + format_size({image.height, image.width}) +
                          (resize_ ? " after --resize" : "") + ", too small for --crop " +
                          format_size(*crop_),
                      "pass a larger --resize");
    image = crop_image(image, centre_crop_start(image.height, crop_->height),
                       centre_crop_start(image.width, crop_->width), crop_->height, crop_->width);
  }
  if ((want_height_ < 0 || image.height == want_height_) &&
      (want_width_ < 0 || image.width == want_width_))
    return image;
  const std::string want = format_extent(want_height_) + "x" + format_extent(want_width_);
  std::string message = "image is " + format_size(found);
  if (resize_) message += ", " + format_size({image.height, image.width}) + " after --resize";
  message += ", input " + format_spec(spec_) + " takes " + want;
  const bool fixed = want_height_ >= 0 && want_width_ >= 0;
  const std::string size = fixed ? want : "HxW";
  return mismatch(message, resize_ ? "add --crop " + size
                                   : "pass --resize " + size +
                                         ", or --resize N for the short side with --crop " + size);
}

Result<Tensor> ImagePipeline::apply(Image image) const {
  image = channels_ == ImageChannels::kGrey ? to_grey(std::move(image)) : to_rgb(std::move(image));
  ONNXTOOL_ASSIGN(image, fit_size(std::move(image)));
  const size_t channels = table_.size(), count = static_cast<size_t>(image.height * image.width);
  const bool nchw = layout_ == ImageLayout::kNchw;
  std::vector<float> values(count * channels);
  for (size_t c = 0; c < channels; ++c) {
    const std::array<float, 256>& table = table_[c];
    const uint8_t* from = image.pixels.data() + (channels_ == ImageChannels::kBgr ? 2 - c : c);
    float* to = values.data() + (nchw ? c * count : c);
    const size_t step = nchw ? 1 : channels;
    for (size_t i = 0; i < count; ++i) to[i * step] = table[from[i * channels]];
  }
  std::vector<int64_t> dims =
      nchw ? std::vector<int64_t>{static_cast<int64_t>(channels), image.height, image.width}
           : std::vector<int64_t>{image.height, image.width, static_cast<int64_t>(channels)};
  if (!spec_.known_rank || spec_.dims.size() == 4) dims.insert(dims.begin(), 1);
  if (is_float(spec_.dtype))
    return convert_tensor(Tensor::from(std::move(dims), values), spec_.dtype);
  std::vector<uint8_t> pixels(values.begin(), values.end());
  return convert_tensor(Tensor::from(std::move(dims), pixels), spec_.dtype);
}

std::string ImagePipeline::describe() const {
  std::string s = preset_.empty() ? "" : "preset " + preset_ + ": ";
  s += channels_ == ImageChannels::kGrey ? "to grey" : "to rgb";
  if (resize_)
    s += (resize_->width > 0 ? "; resize to " + format_size(*resize_)
                             : "; resize the short side to " + std::to_string(resize_->height)) +
         " (bilinear, as Pillow)";
  if (crop_) s += "; crop " + format_size(*crop_) + " from the centre";
  std::string formula = "pixel";
  if (scale_.numerator != scale_.denominator)
    formula += " * " + shortest(scale_.numerator) +
               (scale_.denominator == 1 ? "" : "/" + shortest(scale_.denominator));
  if (!mean_.empty())
    formula = (std_.empty() ? "" : "(") + formula + " - " + list(mean_) + (std_.empty() ? "" : ")");
  if (!std_.empty()) formula += " / " + list(std_);
  s += "; " + formula;
  if (channels_ == ImageChannels::kBgr) s += "; channels in the order bgr";
  s += layout_ == ImageLayout::kNchw ? "; nchw" : "; nhwc";
  return s;
}

}  // namespace onnxtool
