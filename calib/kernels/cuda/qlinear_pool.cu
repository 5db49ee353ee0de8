// com.microsoft's pools and softmax of 8-bit codes on a device; attributes, checks and quantization
// are cpu/qlinear_pool.cc's. Sums are exact or in the host's order: codes equal the host's.

#include <array>

#include "calib/kernels/cpu/qlinear_average.h"
#include "calib/kernels/cuda/lines.h"
#include "calib/kernels/cuda/window.h"

namespace onnxtool {
namespace {

struct AverageWindows {
  device::DeviceWindow w;
  DataType type;
  const void* x;
  uint8_t* y;
  bool count_pads;
  Quantization from, to;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t plane = i;
    const int64_t p = w.pixels.split(plane);
    float sum = 0;
    for (int64_t t = 0; t < w.taps(); ++t)
      if (const int64_t at = w.at(p, t); at >= 0)
        sum += averaged_value(from, device::load<int32_t>(type, x, plane * w.in_size() + at));
    y[i] = average_code(sum, w.count(p, count_pads), to);
  }
};

void average_windows(KernelContext&, const ConstView& x, const Window& w, bool count_pads,
                     const Quantization& x_quant, const Quantization& y_quant, uint8_t* y) {
  const device::DeviceWindow window(w);
  device::for_each_index(x.dims[0] * x.dims[1] * window.out_size(),
                         AverageWindows{window, x.dtype, x.data, y, count_pads, x_quant, y_quant});
}

template <class T>
struct AverageLine {
  using Part = int64_t;
  device::Lines lines;
  const T* x;
  uint8_t* y;
  int32_t zero_point;
  float ratio;
  Quantization to;
  ONNXTOOL_HD int64_t length() const { return lines.n; }
  ONNXTOOL_HD Part start() const { return 0; }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    part += x[lines.start(line) + i * lines.inner];
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { a += b; }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const {
    y[line] = global_average_code(part - lines.n * zero_point, ratio, to);
  }
};

template <class T>
void average_images(KernelContext&, const T* x, int64_t images, int64_t pixels, int64_t channels,
                    bool last, const Quantization& x_quant, const Quantization& y_quant,
                    uint8_t* y) {
  const device::Lines lines(pixels, last ? channels : 1);
  const float ratio = x_quant.scale / (y_quant.scale * static_cast<float>(pixels));
  device::reduce_lines(images * channels,
                       AverageLine<T>{lines, x, y, x_quant.zero_point, ratio, y_quant}, last);
}

struct SoftmaxCodes {
  device::Lines lines;
  DataType type;
  const void* x;
  uint8_t* y;
  std::array<float, 256> powers;
  Quantization to;
  ONNXTOOL_HD int32_t code(int64_t i) const { return device::load<int32_t>(type, x, i); }
  ONNXTOOL_HD void operator()(int64_t line) const {
    const int64_t base = lines.start(line);
    int32_t greatest = lowest_of(type);
    for (int64_t i = 0; i < lines.n; ++i) {
      const int32_t c = code(base + i * lines.inner);
      greatest = c > greatest ? c : greatest;
    }
    float sum = 0;
    for (int64_t i = 0; i < lines.n; ++i)
      sum += powers[static_cast<size_t>(greatest - code(base + i * lines.inner))];
    for (int64_t i = 0; i < lines.n; ++i) {
      const int64_t at = base + i * lines.inner;
      y[at] = to.code(powers[static_cast<size_t>(greatest - code(at))] / sum);
    }
  }
};

void softmax_lines(KernelContext&, const ConstView& x, const LineShape& s,
                   const std::array<float, 256>& powers, const Quantization& y_quant, uint8_t* y) {
  device::for_each_index(s.outer * s.inner, SoftmaxCodes{device::Lines(s.n, s.inner), x.dtype,
                                                         x.data, y, powers, y_quant});
}

}  // namespace
}  // namespace onnxtool

#include "calib/kernels/cpu/qlinear_pool.cc"
