// Blocked matrix products over the micro-kernels of gemm_kernel.h: packing and the loops around
// tiles.
//
// c[m, n] = a[m, k] * b[k, n]. Either operand comes as panels: runs of rows of a (columns of b), k
// outermost, as a tile reads them. A PanelSource makes them from a matrix, from an image (im2col)
// or finds them packed. T is float, double, or int16_t for exact integer products into int32.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

#include "calib/exec/kernel.h"
#include "calib/kernels/cpu/gemm_kernel.h"

namespace onnxtool {

/// Result element of a product of T.
template <class T>
struct GemmSum {
  using type = T;
};
template <>
struct GemmSum<int16_t> {
  using type = int32_t;
};

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/// Rows and columns of a tile for T.
template <class T>
int tile_rows_of(const GemmIsa& isa);
template <class T>
int tile_cols_of(const GemmIsa& isa);

/// Depth of a packed block: integers come in pairs along k.
template <class T>
constexpr int64_t packed_depth(int64_t k) {
  return sizeof(T) == 2 ? round_up(k, 2) : k;
}

/// Memory aligned for vectors; contents undefined.
template <class T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(int64_t count)
      : data_(static_cast<T*>(
            ::operator new[](static_cast<size_t>(count) * sizeof(T) + 64, std::align_val_t{64}))) {}
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<T[], Free> data_;
};

/// One panel: elements (k, i) for k in [k0, k0 + depth), i in [first, first + count), count <=
/// width.
struct PanelRequest {
  int64_t k0, depth;
  int64_t first;
  int count, width;
};

/// An operand, read panel by panel. Stateless: threads share one.
template <class T>
class PanelSource {
 public:
  virtual ~PanelSource() = default;
  /// Writes the panel to out: [depth][width], for integers [ceil(depth/2)][width][2]; elements past
  /// count and the odd end of k are zero.
  virtual void pack(const PanelRequest& request, T* out) const = 0;
  /// Where the panel already lies in memory, its rows *stride apart; nullptr: it must be packed.
  /// Elements past count may then be anything readable.
  virtual const T* find(const PanelRequest& request, int64_t* stride) const = 0;
  /// Of a left side: where the rows of the panel lie that tiles may read as they are, *stride
  /// apart; nullptr: they are packed.
  virtual const T* rows(const PanelRequest& /*request*/, int64_t* /*stride*/) const {
    return nullptr;
  }
  /// Whether all panels lie packed, those of one block of k one after the other.
  virtual bool packed() const { return false; }
};

/// A matrix in memory, element (k, i) at data[k * k_stride + i * stride]. For a product's left side
/// that is (row_stride as stride, col_stride as k_stride), for the right one the other way round.
template <class T>
class MatrixPanels final : public PanelSource<T> {
 public:
  /// reuse: how many tiles will read a panel; with few of them packing does not pay.
  MatrixPanels(const T* data, int64_t k_stride, int64_t stride, int64_t reuse = 1000)
      : data_(data), k_stride_(k_stride), stride_(stride), reuse_(reuse) {}
  void pack(const PanelRequest& request, T* out) const override;
  const T* find(const PanelRequest& request, int64_t* stride) const override;

 private:
  const T* data_;
  int64_t k_stride_, stride_, reuse_;
};

/// A left side whose rows, each without gaps, are read where they lie: of few columns, packing them
/// would take a good part of the product's time. Doubles are packed all the same.
template <class T>
class RowPanels final : public PanelSource<T> {
 public:
  RowPanels(const T* data, int64_t row_stride) : data_(data), row_stride_(row_stride) {}
  void pack(const PanelRequest& request, T* out) const override {
    MatrixPanels<T>(data_, 1, row_stride_).pack(request, out);
  }
  const T* find(const PanelRequest&, int64_t*) const override { return nullptr; }
  const T* rows(const PanelRequest& request, int64_t* stride) const override {
    *stride = row_stride_;
    return sizeof(T) == sizeof(float) ? data_ + request.first * row_stride_ + request.k0 : nullptr;
  }

 private:
  const T* data_;
  int64_t row_stride_;
};

/// 8-bit elements of either sign with one zero point, or one for each row (column) of the product.
struct IntMatrix {
  const void* data = nullptr;
  bool is_signed = false;
  const void* zero_points = nullptr;  // of the elements' type; nullptr: 0
  bool zero_point_per_line = false;
};

/// An 8-bit matrix as in MatrixPanels, zero points subtracted.
class IntPanels final : public PanelSource<int16_t> {
 public:
  /// offset: elements before the first one.
  IntPanels(const IntMatrix& matrix, int64_t offset, int64_t k_stride, int64_t stride)
      : matrix_(matrix), offset_(offset), k_stride_(k_stride), stride_(stride) {}
  void pack(const PanelRequest& request, int16_t* out) const override;
  const int16_t* find(const PanelRequest&, int64_t*) const override { return nullptr; }

 private:
  template <class From>
  void pack_from(const PanelRequest& request, int16_t* out) const;
  IntMatrix matrix_;
  int64_t offset_, k_stride_, stride_;
};

/// All panels of an operand of `extent` rows (columns) and depth k, as pack_all() lays them out.
template <class T>
class PackedPanels final : public PanelSource<T> {
 public:
  PackedPanels() = default;
  PackedPanels(const T* data, int64_t extent, int width)
      : data_(data), padded_(round_up(extent, width)) {}
  void pack(const PanelRequest& request, T* out) const override;
  const T* find(const PanelRequest& request, int64_t* stride) const override {
    *stride = request.width;
    return data_ + request.k0 * padded_ + request.first * packed_depth<T>(request.depth);
  }
  bool packed() const override { return true; }

 private:
  const T* data_ = nullptr;
  int64_t padded_ = 0;
};

/// Elements that pack_all() writes.
template <class T>
constexpr int64_t packed_count(int64_t extent, int64_t k, int width) {
  return round_up(extent, width) * packed_depth<T>(k);
}
/// Packs panels [first_panel, last_panel) of every block of k.
template <class T>
void pack_panels(const PanelSource<T>& source, int64_t extent, int64_t k, int width,
                 int64_t first_panel, int64_t last_panel, T* out);
/// Packs everything.
template <class T>
AlignedArray<T> pack_all(const PanelSource<T>& source, int64_t extent, int64_t k, int width);

/// A part of the result: rows [m0, m1), columns [n0, n1). m0 and n0 are multiples of the tile's.
struct GemmRange {
  int64_t m0, m1, n0, n1;
};

/// Elements of T that gemm_range() needs to work on ranges of up to `rows` rows.
template <class T>
int64_t gemm_workspace(const GemmIsa& isa, const PanelSource<T>& a, int64_t rows, int64_t k);

/// Computes one range of a * b; c points at its first element, rows are ldc apart.
template <class T>
void gemm_range(const GemmIsa& isa, const PanelSource<T>& a, const PanelSource<T>& b, int64_t k,
                const GemmRange& range, typename GemmSum<T>::type* c, int64_t ldc, T* workspace);

/// Where a task puts its sums: those of one range of product `batch`. finish() is called once all
/// of them are there.
template <class T>
class ProductSink {
 public:
  using Sum = typename GemmSum<T>::type;
  virtual ~ProductSink() = default;
  /// Elements of working memory that a task with `count` sums needs.
  virtual int64_t buffer_count(int64_t count) const = 0;
  /// Where the first sum of the range goes; rows are *stride apart.
  virtual Sum* target(int64_t batch, const GemmRange& range, Sum* buffer,
                      int64_t* stride) const = 0;
  virtual void finish(int64_t batch, const GemmRange& range, Sum* sums, int64_t stride) const = 0;
};

/// How `batches` products of m x n are cut into tasks. The cut never changes a result.
struct GemmGrid {
  int64_t m, n;
  int64_t rows, cols;  // of one task
  int64_t m_tasks, n_tasks, count;

  int64_t batch(int64_t task) const { return task / (m_tasks * n_tasks); }
  GemmRange range(int64_t task) const {
    const int64_t i = task / n_tasks % m_tasks * rows, j = task % n_tasks * cols;
    return {i, std::min(i + rows, m), j, std::min(j + cols, n)};
  }
};
constexpr GemmGrid make_grid(int64_t batches, int64_t m, int64_t n, int64_t rows, int64_t cols) {
  const int64_t m_tasks = ceil_div(m, rows), n_tasks = ceil_div(n, cols);
  return {m, n, rows, cols, m_tasks, n_tasks, batches * m_tasks * n_tasks};
}
/// Tasks big enough to be worth their packing and enough of them for the threads. a_packed: rows
/// cost no packing, so that a task takes all of them and packs its columns once.
template <class T>
GemmGrid make_grid(const GemmIsa& isa, int64_t batches, int64_t m, int64_t n, bool a_packed,
                   int threads);

/// Working memory for the tasks of one run: one buffer for each piece of the task list.
class TaskPool {
 public:
  /// buffer_bytes may be 0: bodies then get nullptr.
  static Result<TaskPool> make(KernelContext& ctx, int64_t buffer_bytes) {
    TaskPool pool;
    const int threads = std::max(1, ctx.node().threads());
    // More pieces than threads, so that a late thread does not hold up the rest.
    pool.pieces_ = threads == 1 ? 1 : int64_t{threads} * 4;
    pool.stride_ = round_up(buffer_bytes, 64);
    if (buffer_bytes > 0) {
      if (buffer_bytes > INT64_MAX / (8 * pool.pieces_))
        return kernel_error(ErrorCode::kLimit, "working memory overflows");
      ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(pool.pieces_ * pool.stride_)));
      pool.memory_ = static_cast<std::byte*>(scratch);
    }
    return pool;
  }
  /// Runs body(task, buffer) for each of `count` independent tasks.
  template <class Body>
  void run(KernelContext& ctx, int64_t count, Body&& body) const {
    const int64_t pieces = std::min(count, pieces_);
    ctx.parallel(pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece)
        for (int64_t task = count * piece / pieces; task < count * (piece + 1) / pieces; ++task)
          body(task, memory_ ? memory_ + piece * stride_ : nullptr);
    });
  }

 private:
  int64_t pieces_ = 1, stride_ = 0;
  std::byte* memory_ = nullptr;
};

/// Batches of m x n products of depth k. make_a(batch) and make_b(batch) return panel sources.
template <class T, class MakeA, class MakeB>
Status for_each_product(KernelContext& ctx, const GemmIsa& isa, int64_t batches, int64_t m,
                        int64_t n, int64_t k, const MakeA& make_a, const MakeB& make_b,
                        const ProductSink<T>& sink) {
  if (batches == 0 || m == 0 || n == 0) return {};
  const GemmGrid grid = make_grid<T>(isa, batches, m, n, make_a(0).packed(), ctx.node().threads());
  const int64_t workspace =
      round_up(gemm_workspace<T>(isa, make_a(0), grid.rows, k) * int64_t{sizeof(T)}, 64);
  using Sum = typename GemmSum<T>::type;
  ONNXTOOL_ASSIGN(const TaskPool pool,
                  TaskPool::make(ctx, workspace + sink.buffer_count(grid.rows * grid.cols) *
                                                      int64_t{sizeof(Sum)}));
  pool.run(ctx, grid.count, [&](int64_t task, std::byte* memory) {
    const int64_t batch = grid.batch(task);
    const GemmRange range = grid.range(task);
    int64_t stride = 0;
    Sum* sums = sink.target(batch, range, reinterpret_cast<Sum*>(memory + workspace), &stride);
    gemm_range<T>(isa, make_a(batch), make_b(batch), k, range, sums, stride,
                  reinterpret_cast<T*>(memory));
    sink.finish(batch, range, sums, stride);
  });
  return {};
}

}  // namespace onnxtool
