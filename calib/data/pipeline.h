// The preprocess that applies to one model input, settled once, applied to every image.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calib/data/image.h"
#include "calib/data/preprocess.h"
#include "calib/data/source.h"
#include "libopt/ir/tensor.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// What a short-side resize makes of an image, as torchvision's Resize(N):
/// the long side is floor(N * long / short).
ImageSize short_side_size(int64_t height, int64_t width, int64_t short_side);
/// Where torchvision's CenterCrop starts: (size - crop) / 2 rounded half to even.
int64_t centre_crop_start(int64_t size, int64_t crop);

/// In this order: decode; to grey or RGB; resize (bilinear); centre crop; (pixel * scale - mean) /
/// std in float32, where pixel * scale is rounded once; reorder channels; lay out; add the batch
/// dim.
class ImagePipeline {
 public:
  /// Flags over preset over what the input says: its layout (which dim is 1 or 3), its channels,
  /// and for integer inputs scale 1. Errors: kUsage for flags that contradict each other, kMismatch
  /// for an input that images cannot fill or whose static size the flags do not give.
  static Result<ImagePipeline> create(const PreprocessOptions& options, const InputSpec& spec);

  /// Errors carry no place. kMismatch: the image does not have the input's size.
  Result<Tensor> apply(Image image) const;
  /// "to rgb; resize the short side to 256 (bilinear); ...".
  std::string describe() const;

 private:
  ImagePipeline() = default;
  Result<Image> fit_size(Image image) const;

  InputSpec spec_;
  std::string preset_;
  std::optional<ImageSize> resize_;
  std::optional<ImageSize> crop_;
  ImageLayout layout_ = ImageLayout::kNchw;
  ImageChannels channels_ = ImageChannels::kRgb;
  Scale scale_;
  std::vector<double> mean_;  // empty: 0
  std::vector<double> std_;   // empty: 1
  int64_t want_height_ = -1;  // static extents of the input; -1: any
  int64_t want_width_ = -1;
  std::vector<std::array<float, 256>> table_;  // value of each pixel, per stored channel
};

}  // namespace onnxtool
