// Einsum on a device: the host's source, products as the device has them.

#include <cctype>

#include "calib/kernels/cpu/cells.h"
#include "calib/kernels/cuda/gemm_isa.h"

namespace onnxtool {
namespace {

template <class T>
struct MultiplyIntegers {
  const T *a, *b;
  T* y;
  int64_t m, n, k;
  struct Row {
    const T *a, *b;
    T* y;
    int64_t n, k;
    ONNXTOOL_HD void operator()(int64_t column) const {
      T sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += a[i] * b[i * n + column];
      y[column] = sum;
    }
  };
  ONNXTOOL_HD Row row(int64_t r) const { return {a + r * k, b + r / m * k * n, y + r * n, n, k}; }
};

// y[batch, m, n] = a[batch, m, k] * b[batch, k, n]
template <class T>
Status multiply_matrices(KernelContext& ctx, const GemmIsa& isa, int64_t batch, int64_t m,
                         int64_t n, int64_t k, const T* a, const T* b, T* y) {
  if constexpr (std::is_floating_point_v<T>) {
    device::Product p;
    p.type = device::operand_type(dtype_of<T>, isa.precision);
    p.result = dtype_of<T>;
    p.tf32 = isa.precision == device::Precision::kTf32 && dtype_of<T> == DataType::kFloat;
    p.count = batch, p.m = m, p.n = n, p.k = k;
    p.a_step = m * k, p.b_step = k * n, p.c_step = m * n;
    const Dims left{batch, m, k}, right{batch, k, n};
    ONNXTOOL_ASSIGN(const ConstView a_operand,
                    converted(ctx, {dtype_of<T>, left, a, product(left)}, p.type));
    ONNXTOOL_ASSIGN(const ConstView b_operand,
                    converted(ctx, {dtype_of<T>, right, b, product(right)}, p.type));
    p.a = a_operand.data, p.b = b_operand.data, p.c = y;
    return device::multiply(ctx, p);
  } else {
    for_each_cell(ctx, batch * m, n, MultiplyIntegers<T>{a, b, y, m, n, k});
    return {};
  }
}

// Intermediates have no more axes than a device walks.
bool accepts(const NodeView& node) {
  const std::string_view equation = node.attr_string("equation", "");
  bool seen[256] = {};
  size_t axes = 0, ellipsis = 0;
  for (const char c : equation) {
    const auto letter = static_cast<unsigned char>(c);
    if (std::isalpha(letter) == 0 || seen[letter]) continue;
    seen[letter] = true;
    ++axes;
  }
  if (equation.find('.') != std::string_view::npos)
    for (int i = 0; i < node.num_inputs(); ++i) {
      if (node.input_dims(i).empty()) return false;  // of unknown rank
      ellipsis = std::max(ellipsis, node.input_dims(i).size());
    }
  return axes + ellipsis <= device::kMostAxes;
}

}  // namespace
}  // namespace onnxtool

#include "calib/kernels/cpu/einsum.cc"

namespace onnxtool {
constinit const device::ReducedKernels kReducedEinsum = ONNXTOOL_REDUCED_BY_ISA(info, prepare);
}  // namespace onnxtool
