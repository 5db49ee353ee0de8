// Trilu: the triangle of each matrix above (`upper`) or below its k-th diagonal, zeros elsewhere.

#include <algorithm>

#include "calib/kernels/cpu/cells.h"

namespace onnxtool {
namespace {

template <class E>
struct TriangleCells {
  const E* x;
  E* y;
  int64_t rows, columns, k;
  bool upper;
  struct Row {
    const E* x;
    E* y;
    int64_t first, last;
    ONNXTOOL_HD void operator()(int64_t i) const { y[i] = i >= first && i < last ? x[i] : E{}; }
  };
  ONNXTOOL_HD Row row(int64_t i) const {
    const int64_t diagonal = i % rows + k;
    return {x + i * columns, y + i * columns, upper ? diagonal : 0, upper ? columns : diagonal + 1};
  }
};

Status trilu(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  const bool upper = ctx.node().attr_int("upper", 1) != 0;
  if (x.rank() < 2)
    return mismatch("input has shape " + format_dims(x.dims) + ", expected at least rank 2");
  const int64_t rows = x.dims[x.dims.size() - 2], columns = x.dims.back();
  int64_t k = 0;
  if (ctx.has_input(1)) {
    ONNXTOOL_ASSIGN(k, integer_scalar(ctx.input(1), "k"));
    k = std::clamp(k, -rows, columns);  // further out nothing changes
  }
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, x.dims));
  if (y.count() == 0) return {};
  dispatch_movement(x.dtype, [&]<class E>() {
    if constexpr (!kDeviceKernels || std::is_trivially_copyable_v<E>)
      for_each_cell(ctx, x.count / columns, columns,
                    TriangleCells<E>{static_cast<const E*>(x.data), static_cast<E*>(y.data()), rows,
                                     columns, k, upper});
  });
  y.finish();
  return {};
}

}  // namespace

constinit const KernelInfo kTrilu{
    .op = "Trilu", .prepare = needs_inputs<1>, .run = trilu, .use = parameters_on_host};

}  // namespace onnxtool
