// Tables for signal processing: HannWindow, HammingWindow and BlackmanWindow-17,
// MelWeightMatrix-17. Computed in double and converted as Cast does.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

// No signal is longer; a table of more elements is a mistake in the model.
constexpr int64_t kMaxLength = int64_t{1} << 28;

Result<DataType> output_type(const NodeView& node) {
  const auto type = static_cast<DataType>(
      node.attr_int("output_datatype", static_cast<int64_t>(DataType::kFloat)));
  if (wide_type(type) == DataType::kUndefined || is_packed(type))
    return unsupported_type(type, "the output");
  return type;
}

// y[i] = f(angle) with angle = 2 pi i / n, n being the size, or one less where it is not periodic.
// A symmetric window of one element is 1.
template <class F>
Status window(KernelContext& ctx, const F& f) {
  ONNXTOOL_ASSIGN(const DataType type, output_type(ctx.node()));
  ONNXTOOL_ASSIGN(const int64_t size, integer_scalar(ctx.input(0), "size"));
  if (size < 0 || size > kMaxLength)
    return mismatch("size is " + std::to_string(size) + ", expected 0 to " +
                    std::to_string(kMaxLength));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, std::span(&size, 1)));
  const bool periodic = ctx.node().attr_int("periodic", 1) != 0;
  const double n = static_cast<double>(periodic ? size : size - 1);
  double block[kBlock];
  for (int64_t i = 0; i < size; i += kBlock) {
    const int64_t count = std::min(kBlock, size - i);
    for (int64_t j = 0; j < count; ++j)
      block[j] = n == 0 ? 1.0 : f(2 * std::numbers::pi * static_cast<double>(i + j) / n);
    std::byte* to = static_cast<std::byte*>(y.data) + i * (bits_of(type) / 8);
    convert_elements(DataType::kDouble, block, type, to, 0, count);
  }
  return {};
}

Status hann(KernelContext& ctx) {
  return window(ctx, [](double a) { return std::sin(a / 2) * std::sin(a / 2); });
}
Status hamming(KernelContext& ctx) {
  return window(ctx, [](double a) { return 25.0 / 46 - 21.0 / 46 * std::cos(a); });
}
Status blackman(KernelContext& ctx) {
  return window(ctx, [](double a) { return 0.42 - 0.5 * std::cos(a) + 0.08 * std::cos(2 * a); });
}

struct MelShape {
  int64_t bands = 0, length = 0, rate = 0;
  double low = 0, high = 0;

  int64_t bins() const { return length / 2 + 1; }
};

Result<double> frequency(KernelContext& ctx, int i, std::string_view what) {
  if (ctx.input(i).count != 1)
    return mismatch(std::string(what) + " has shape " + format_dims(ctx.input(i).dims) +
                    ", expected one element");
  double value = 0;
  convert_elements(ctx.input(i).dtype, ctx.input(i).data, DataType::kDouble, &value, 0, 1);
  return value;
}

Result<MelShape> read_mel(KernelContext& ctx) {
  MelShape mel;
  ONNXTOOL_ASSIGN(mel.bands, integer_scalar(ctx.input(0), "num_mel_bins"));
  ONNXTOOL_ASSIGN(mel.length, integer_scalar(ctx.input(1), "dft_length"));
  ONNXTOOL_ASSIGN(mel.rate, integer_scalar(ctx.input(2), "sample_rate"));
  ONNXTOOL_ASSIGN(mel.low, frequency(ctx, 3, "lower_edge_hertz"));
  ONNXTOOL_ASSIGN(mel.high, frequency(ctx, 4, "upper_edge_hertz"));
  if (mel.bands < 0 || mel.length < 0 || mel.rate < 1 ||
      std::max(mel.bands, mel.length) > kMaxLength)
    return mismatch("num_mel_bins, dft_length and sample_rate are " + std::to_string(mel.bands) +
                    ", " + std::to_string(mel.length) + " and " + std::to_string(mel.rate) +
                    ", expected a rate above 0 and the others 0 to " + std::to_string(kMaxLength));
  return mel;
}

// The frequency bin at edge `i` of the triangles, which lie evenly on the mel scale.
Result<int64_t> edge_bin(const MelShape& mel, int64_t i) {
  const auto to_mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double step = (to_mel(mel.high) - to_mel(mel.low)) / static_cast<double>(mel.bands + 2);
  const double hertz =
      700 * (std::pow(10, (static_cast<double>(i) * step + to_mel(mel.low)) / 2595) - 1);
  const double bin =
      std::floor(static_cast<double>(mel.length + 1) * hertz / static_cast<double>(mel.rate));
  if (!(bin >= 0 && bin < static_cast<double>(mel.bins())))
    return mismatch("the edge of band " + std::to_string(i) +
                    " lies outside of the spectrogram's " + std::to_string(mel.bins()) + " bins");
  return static_cast<int64_t>(bin);
}

// Column `band` of the [bins, bands] matrix.
void fill_band(const MelShape& mel, int64_t band, int64_t left, int64_t centre, int64_t right,
               double* out) {
  const auto at = [&](int64_t bin) -> double& { return out[bin * mel.bands + band]; };
  const auto share = [](int64_t part, int64_t whole) {
    return static_cast<double>(part) / static_cast<double>(whole);
  };
  if (centre == left) at(centre) = 1;
  for (int64_t bin = left; centre != left && bin <= centre; ++bin)
    at(bin) = share(bin - left, centre - left);
  for (int64_t bin = centre; bin < right; ++bin) at(bin) = share(right - bin, right - centre);
}

Status mel_weight_matrix(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const DataType type, output_type(ctx.node()));
  ONNXTOOL_ASSIGN(const MelShape mel, read_mel(ctx));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, Dims{mel.bins(), mel.bands}));
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(y.count) * sizeof(double)));
  auto* out = static_cast<double*>(buffer);
  std::fill_n(out, y.count, 0.0);
  for (int64_t band = 0; band < mel.bands; ++band) {
    ONNXTOOL_ASSIGN(const int64_t left, edge_bin(mel, band));
    ONNXTOOL_ASSIGN(const int64_t centre, edge_bin(mel, band + 1));
    ONNXTOOL_ASSIGN(const int64_t right, edge_bin(mel, band + 2));
    fill_band(mel, band, left, centre, right, out);
  }
  if (y.count > 0) convert_elements(DataType::kDouble, out, type, y.data, 0, y.count);
  return {};
}

}  // namespace

constinit const KernelInfo kHannWindow{.op = "HannWindow", .prepare = needs_inputs<1>, .run = hann};
constinit const KernelInfo kHammingWindow{
    .op = "HammingWindow", .prepare = needs_inputs<1>, .run = hamming};
constinit const KernelInfo kBlackmanWindow{
    .op = "BlackmanWindow", .prepare = needs_inputs<1>, .run = blackman};
constinit const KernelInfo kMelWeightMatrix{
    .op = "MelWeightMatrix", .prepare = needs_inputs<5>, .run = mel_weight_matrix};

}  // namespace onnxtool
