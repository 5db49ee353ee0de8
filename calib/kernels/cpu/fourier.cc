// DFT-17, 20 and STFT-17. Tensors end in an axis of 1 (real) or 2 (real and imaginary part).
//
// DFT: along `axis` (17: an attribute, 20: an input), cut or padded with zeros to dft_length.
// `onesided` keeps the first half of a forward transform; an inverse one takes such a half and
// gives real values. STFT: transforms of frames, frame_step apart, each multiplied by the window.
// Computed in double and rounded once.

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/fft.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

using Complex = Fft::Complex;

// Lines of n elements of one transform, `parts` numbers each.
struct Lines {
  LineShape shape;  // inner: elements of `parts`
  int64_t parts;

  int64_t count() const { return shape.outer * shape.inner; }
  int64_t at(int64_t line, int64_t i) const {
    return ((line / shape.inner * shape.n + i) * shape.inner + line % shape.inner) * parts;
  }
};

struct Transform {
  Lines in, out;
  int64_t length;
  bool inverse, onesided;
};

// One line: in to buffer (padded, mirrored), transformed, to out.
void transform_line(const Transform& t, const Fft& fft, int64_t line, const double* x, double* y,
                    Complex* buffer) {
  const int64_t given = std::min(t.in.shape.n, t.length);
  for (int64_t i = 0; i < given; ++i) {
    const double* value = x + t.in.at(line, i);
    buffer[i] = {value[0], t.in.parts == 2 ? value[1] : 0};
  }
  std::fill(buffer + given, buffer + t.length, Complex{});
  if (t.inverse && t.onesided) {
    buffer[0] = buffer[0].real();  // of a real signal they have no imaginary part
    if (t.length % 2 == 0) buffer[t.length / 2] = buffer[t.length / 2].real();
    for (int64_t i = t.length / 2 + 1; i < t.length; ++i)
      buffer[i] = std::conj(buffer[t.length - i]);
  }
  fft.transform(buffer, t.inverse, buffer + t.length);
  for (int64_t i = 0; i < t.out.shape.n; ++i) {
    double* value = y + t.out.at(line, i);
    value[0] = buffer[i].real();
    if (t.out.parts == 2) value[1] = buffer[i].imag();
  }
}

Status run_transform(KernelContext& ctx, const Transform& t, const double* x, double* y) {
  const Fft fft(t.length);
  ctx.parallel(t.out.count(), grain_of(16 * t.length), [&](int64_t begin, int64_t end) {
    std::vector<Complex> buffer(static_cast<size_t>(t.length + fft.workspace()));
    for (int64_t line = begin; line < end; ++line)
      transform_line(t, fft, line, x, y, buffer.data());
  });
  return {};
}

// x, as double, is transformed to output 0 of shape `dims`.
Status finish(KernelContext& ctx, const Transform& t, const ConstView& x, const Dims& dims) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, dims));
  if (y.count == 0) return {};
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(y.count) * sizeof(double)));
  auto* out = static_cast<double*>(buffer);
  ONNXTOOL_TRY(run_transform(ctx, t, static_cast<const double*>(x.data), out));
  convert_elements(DataType::kDouble, out, type, y.data, 0, y.count);
  return {};
}

// Transforms of more elements take longer than anyone waits, and their tables would not fit.
constexpr int64_t kMaxLength = int64_t{1} << 28;

Status check_length(int64_t length, std::string_view what) {
  if (length >= 1 && length <= kMaxLength) return {};
  return mismatch(std::string(what) + " is " + std::to_string(length) + ", expected 1 to " +
                  std::to_string(kMaxLength));
}

Status check_parts(std::span<const int64_t> dims, std::string_view what) {
  if (dims.size() >= 2 && (dims.back() == 1 || dims.back() == 2)) return {};
  return mismatch(std::string(what) + " has shape " + format_dims(dims) +
                  ", expected a last extent of 1 (real) or 2 (complex)");
}

Result<int64_t> transform_axis(const KernelContext& ctx, int64_t rank) {
  int64_t axis = ctx.node().attr_int("axis", 1);
  if (ctx.node().opset() >= 20) {
    axis = -2;
    if (ctx.has_input(2)) {
      ONNXTOOL_ASSIGN(axis, integer_scalar(ctx.input(2), "axis"));
    }
  }
  ONNXTOOL_ASSIGN(axis, resolve_axis(axis, rank));
  if (axis == rank - 1) return bad_model("axis is the one of real and imaginary parts");
  return axis;
}

Status dft(KernelContext& ctx) {
  const std::span<const int64_t> x = ctx.input(0).dims;
  ONNXTOOL_TRY(check_parts(x, "input"));
  ONNXTOOL_ASSIGN(const int64_t axis, transform_axis(ctx, ctx.input(0).rank()));
  const auto a = static_cast<size_t>(axis);
  Transform t{};
  t.inverse = ctx.node().attr_int("inverse", 0) != 0;
  t.onesided = ctx.node().attr_int("onesided", 0) != 0;
  t.length = t.inverse && t.onesided ? 2 * (std::min(x[a], kMaxLength) - 1) : x[a];
  if (ctx.has_input(1)) {
    ONNXTOOL_ASSIGN(t.length, integer_scalar(ctx.input(1), "dft_length"));
  }
  ONNXTOOL_TRY(check_length(t.length, "dft_length"));
  Dims dims = to_dims(x);
  dims[a] = t.onesided && !t.inverse ? t.length / 2 + 1 : t.length;
  dims.back() = t.onesided && t.inverse ? 1 : 2;
  const std::span<const int64_t> in = x.subspan(0, x.size() - 1);
  t.in = {line_shape(in, axis), x.back()};
  t.out = {t.in.shape, dims.back()};
  t.out.shape.n = dims[a];
  ONNXTOOL_ASSIGN(const ConstView wide, converted(ctx, ctx.input(0), DataType::kDouble));
  return finish(ctx, t, wide, dims);
}

struct Frames {
  int64_t length = 0, step = 0, count = 0;
};

Result<Frames> read_frames(const KernelContext& ctx) {
  const std::span<const int64_t> signal = ctx.input(0).dims;
  Frames f;
  ONNXTOOL_ASSIGN(f.step, integer_scalar(ctx.input(1), "frame_step"));
  f.length = ctx.has_input(2) ? ctx.input(2).count : signal[1];
  if (ctx.has_input(3)) {
    ONNXTOOL_ASSIGN(f.length, integer_scalar(ctx.input(3), "frame_length"));
  }
  if (ctx.has_input(2) && (ctx.input(2).rank() != 1 || ctx.input(2).count != f.length))
    return mismatch("window has shape " + format_dims(ctx.input(2).dims) + ", expected [" +
                    std::to_string(f.length) + "]");
  ONNXTOOL_TRY(check_length(f.length, "frame_length"));
  if (f.step < 1 || f.length > signal[1])
    return mismatch("frames of " + std::to_string(f.length) + " elements, " +
                    std::to_string(f.step) + " apart, do not fit a signal of " +
                    std::to_string(signal[1]));
  f.count = (signal[1] - f.length) / f.step + 1;
  return f;
}

// The frames of every signal, multiplied by the window: [signals, frames, length, parts].
Result<ConstView> windowed_frames(KernelContext& ctx, const Frames& f, const Dims& dims) {
  ONNXTOOL_ASSIGN(const ConstView signal, converted(ctx, ctx.input(0), DataType::kDouble));
  const double* window = nullptr;
  if (ctx.has_input(2)) {
    ONNXTOOL_ASSIGN(const ConstView view, converted(ctx, ctx.input(2), DataType::kDouble));
    window = static_cast<const double*>(view.data);
  }
  const auto bytes = checked_product(dims);
  if (!bytes || *bytes > INT64_MAX / 8)
    return kernel_error(ErrorCode::kLimit, "the frames " + format_dims(dims) + " are too large");
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(*bytes) * sizeof(double)));
  auto* out = static_cast<double*>(buffer);
  const auto* x = static_cast<const double*>(signal.data);
  const int64_t parts = dims[3], per_signal = signal.dims[1] * parts;
  ctx.parallel(*bytes == 0 ? 0 : dims[0] * f.count, grain_of(f.length * parts),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const double* from = x + i / f.count * per_signal + i % f.count * f.step * parts;
                   double* to = out + i * f.length * parts;
                   for (int64_t j = 0; j < f.length * parts; ++j)
                     to[j] = window != nullptr ? from[j] * window[j / parts] : from[j];
                 }
               });
  ConstView frames;
  frames.dtype = DataType::kDouble;
  frames.data = out;
  frames.count = *bytes;
  return frames;
}

Status stft(KernelContext& ctx) {
  const std::span<const int64_t> signal = ctx.input(0).dims;
  if (signal.size() != 3)
    return mismatch("signal has shape " + format_dims(signal) +
                    ", expected [batch, length, parts]");
  ONNXTOOL_TRY(check_parts(signal, "signal"));
  ONNXTOOL_ASSIGN(const Frames f, read_frames(ctx));
  const bool onesided = ctx.node().attr_int("onesided", 1) != 0;
  const int64_t bins = onesided ? f.length / 2 + 1 : f.length;
  ONNXTOOL_ASSIGN(const ConstView frames,
                  windowed_frames(ctx, f, {signal[0], f.count, f.length, signal[2]}));
  Transform t{};
  t.length = f.length;
  t.in = {{signal[0] * f.count, f.length, 1}, signal[2]};
  t.out = {{signal[0] * f.count, bins, 1}, 2};
  return finish(ctx, t, frames, {signal[0], f.count, bins, 2});
}

}  // namespace

constinit const KernelInfo kDft{
    .op = "DFT", .types = kFloatDataTypes, .prepare = needs_inputs<1>, .run = dft};
constinit const KernelInfo kStft{
    .op = "STFT", .types = kFloatDataTypes, .prepare = needs_inputs<2>, .run = stft};

}  // namespace onnxtool
