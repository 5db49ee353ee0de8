// ImageDecoder-20: y[height, width, channels] from the bytes of an image file, in uint8.
//
//   RGB, BGR: three channels, equal ones where the image is grey; alpha is dropped
//   Grayscale: one, as Pillow's convert("L")
//
// What cannot be decoded gives an empty matrix, as the standard says: [0, 0, channels]. Files of
// the standard's other forms (BMP, JPEG 2000, TIFF, WebP, PBM) are errors instead, since they may
// well be sound.

#include <algorithm>
#include <cstring>
#include <string_view>

#include "calib/images/decoder.h"
#include "calib/kernels/cpu/common.h"

namespace onnxtool {
namespace {

enum class PixelFormat : uint8_t { kRgb, kBgr, kGrayscale };

struct ImageDecoderState final : KernelState {
  PixelFormat format;
};

Result<PixelFormat> pixel_format_of(const NodeView& node) {
  const std::string_view given = node.attr_string("pixel_format", "RGB");
  if (given == "RGB") return PixelFormat::kRgb;
  if (given == "BGR") return PixelFormat::kBgr;
  if (given == "Grayscale") return PixelFormat::kGrayscale;
  return bad_model("pixel_format is '" + std::string(given) + "', expected RGB, BGR or Grayscale");
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto state = std::make_unique<ImageDecoderState>();
  ONNXTOOL_ASSIGN(state->format, pixel_format_of(node));
  return {std::move(state)};
}

// A form that the standard has and we have not; empty: none is seen.
std::string_view other_form(std::string_view bytes) {
  if (bytes.starts_with("BM")) return "BMP";
  if (bytes.starts_with(std::string_view("\0\0\0\x0cjP  ", 8)) ||
      bytes.starts_with("\xff\x4f\xff\x51"))
    return "JPEG 2000";
  if (bytes.starts_with(std::string_view("II*\0", 4)) ||
      bytes.starts_with(std::string_view("MM\0*", 4)))
    return "TIFF";
  if (bytes.starts_with("RIFF") && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") return "WebP";
  if (bytes.starts_with("P1") || bytes.starts_with("P4")) return "PBM";
  return {};
}

Status run(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const PixelFormat format = static_cast<const ImageDecoderState&>(*ctx.state()).format;
  if (x.rank() != 1)
    return mismatch("input 0 has shape " + format_dims(x.dims) + ", expected one dimension");
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(x.data),
                                         static_cast<size_t>(x.count));
  const std::string_view text(static_cast<const char*>(x.data), bytes.size());
  const int channels = format == PixelFormat::kGrayscale ? 1 : 3;
  Result<Image> decoded = decode_any_image(bytes);
  if (!decoded.ok()) {
    const std::string_view other = other_form(text.substr(0, std::min<size_t>(text.size(), 16)));
    if (!other.empty())
      return kernel_error(ErrorCode::kUnsupported, std::string(other) +
                                                       " images are not decoded, only JPEG, PNG "
                                                       "and PPM");
    ONNXTOOL_ASSIGN(const MutableView empty, ctx.output(0, DataType::kUint8, Dims{0, 0, channels}));
    ONNXTOOL_CHECK(empty.count == 0);
    return {};
  }
  const Image image = channels == 1 ? to_grey(*std::move(decoded)) : to_rgb(*std::move(decoded));
  ONNXTOOL_ASSIGN(const MutableView y,
                  ctx.output(0, DataType::kUint8, Dims{image.height, image.width, channels}));
  auto* out = static_cast<uint8_t*>(y.data);
  std::ranges::copy(image.pixels, out);
  if (format == PixelFormat::kBgr)
    for (int64_t i = 0; i < y.count; i += 3) std::swap(out[i], out[i + 2]);
  return {};
}

}  // namespace

constinit const KernelInfo kImageDecoder{
    .op = "ImageDecoder", .types = {DataType::kUint8}, .prepare = prepare, .run = run};

}  // namespace onnxtool
