#include "calib/kernels/cpu/gemm.h"

#include <cstring>

#include "calib/kernels/cpu/vector_math.h"
#include "libopt/support/cpu_level.h"

namespace onnxtool {

const GemmIsa& gemm_isa_portable() { return kGemmBaseline; }

const GemmIsa& gemm_isa() {
#if defined(__x86_64__)
  return best_of(kGemmBaseline, kGemmAvx2, kGemmAvx512);
#else
  return kGemmBaseline;
#endif
}

template <>
int tile_rows_of<float>(const GemmIsa& isa) {
  return isa.mr;
}
template <>
int tile_cols_of<float>(const GemmIsa& isa) {
  return isa.nr;
}
template <>
int tile_rows_of<double>(const GemmIsa& isa) {
  return isa.mr64;
}
template <>
int tile_cols_of<double>(const GemmIsa& isa) {
  return isa.nr64;
}
template <>
int tile_rows_of<int16_t>(const GemmIsa& isa) {
  return isa.mr_int;
}
template <>
int tile_cols_of<int16_t>(const GemmIsa& isa) {
  return isa.nr_int;
}

template <class T>
void MatrixPanels<T>::pack(const PanelRequest& r, T* out) const {
  const T* from = data_ + r.k0 * k_stride_ + r.first * stride_;
  if (stride_ == 1) {
    for (int64_t k = 0; k < r.depth; ++k, out += r.width) {
      std::memcpy(out, from + k * k_stride_, static_cast<size_t>(r.count) * sizeof(T));
      std::fill(out + r.count, out + r.width, T{});
    }
    return;
  }
  const bool turned = k_stride_ == 1 && sizeof(T) == sizeof(uint32_t);
  if (turned)
    vector_math().transpose32(reinterpret_cast<const uint32_t*>(from), stride_,
                              reinterpret_cast<uint32_t*>(out), r.width, r.count, r.depth);
  for (int i = turned ? r.count : 0; i < r.width; ++i) {
    if (i < r.count)
      for (int64_t k = 0; k < r.depth; ++k)
        out[k * r.width + i] = from[k * k_stride_ + i * stride_];
    else
      for (int64_t k = 0; k < r.depth; ++k) out[k * r.width + i] = T{};
  }
}

template <class T>
const T* MatrixPanels<T>::find(const PanelRequest& r, int64_t* stride) const {
  // Past a narrow panel may lie the end of the matrix: those are packed.
  if (stride_ != 1 || r.count != r.width || reuse_ > 2) return nullptr;
  *stride = k_stride_;
  return data_ + r.k0 * k_stride_ + r.first;
}

template <class From>
void IntPanels::pack_from(const PanelRequest& r, int16_t* out) const {
  const From* from =
      static_cast<const From*>(matrix_.data) + offset_ + r.k0 * k_stride_ + r.first * stride_;
  const From* zero_points = static_cast<const From*>(matrix_.zero_points);
  for (int i = 0; i < r.width; ++i) {
    const From* line = from + i * stride_;
    const int zero =
        i < r.count && zero_points ? zero_points[matrix_.zero_point_per_line ? r.first + i : 0] : 0;
    for (int64_t k = 0; k < r.depth; k += 2) {
      int16_t* to = out + k * r.width + 2 * i;
      to[0] = i < r.count ? static_cast<int16_t>(line[k * k_stride_] - zero) : int16_t{0};
      to[1] = i < r.count && k + 1 < r.depth
                  ? static_cast<int16_t>(line[(k + 1) * k_stride_] - zero)
                  : int16_t{0};
    }
  }
}

void IntPanels::pack(const PanelRequest& r, int16_t* out) const {
  if (matrix_.is_signed)
    pack_from<int8_t>(r, out);
  else
    pack_from<uint8_t>(r, out);
}

template <class T>
void PackedPanels<T>::pack(const PanelRequest& r, T* out) const {
  int64_t stride;
  std::memcpy(out, find(r, &stride),
              static_cast<size_t>(packed_depth<T>(r.depth) * r.width) * sizeof(T));
}

template <class T>
void pack_panels(const PanelSource<T>& source, int64_t extent, int64_t k, int width,
                 int64_t first_panel, int64_t last_panel, T* out) {
  const int64_t padded = round_up(extent, width);
  for (int64_t k0 = 0; k0 < k; k0 += kDepthBlock) {
    const int64_t depth = std::min(kDepthBlock, k - k0);
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      const int64_t first = panel * width;
      source.pack(
          {k0, depth, first, static_cast<int>(std::min<int64_t>(width, extent - first)), width},
          out + k0 * padded + first * packed_depth<T>(depth));
    }
  }
}

template <class T>
AlignedArray<T> pack_all(const PanelSource<T>& source, int64_t extent, int64_t k, int width) {
  AlignedArray<T> packed(packed_count<T>(extent, k, width));
  pack_panels(source, extent, k, width, 0, ceil_div(extent, width), packed.data());
  return packed;
}

template <class T>
int64_t gemm_workspace(const GemmIsa& isa, const PanelSource<T>& a, int64_t rows, int64_t k) {
  const int64_t depth = packed_depth<T>(std::min(k, kDepthBlock));
  const int64_t a_count = a.packed() ? 0 : round_up(rows, tile_rows_of<T>(isa)) * depth;
  // The strides of both parts keep panels on cache lines.
  return round_up(a_count, 64) + depth * tile_cols_of<T>(isa);
}

namespace {

void run_tile(const GemmIsa& isa, int64_t k, const float* a, int64_t lda, const float* b,
              int64_t ldb, float* c, int64_t ldc, int rows, int cols, bool accumulate) {
  isa.tile({k, a, b, ldb, c, ldc, rows, cols, accumulate, lda});
}
void run_tile(const GemmIsa& isa, int64_t k, const double* a, int64_t, const double* b, int64_t ldb,
              double* c, int64_t ldc, int rows, int cols, bool accumulate) {
  isa.tile64({k, a, b, ldb, c, ldc, rows, cols, accumulate});
}
void run_tile(const GemmIsa& isa, int64_t k, const int16_t* a, int64_t, const int16_t* b, int64_t,
              int32_t* c, int64_t ldc, int rows, int cols, bool accumulate) {
  isa.tile_int({ceil_div(k, 2), a, b, c, ldc, rows, cols, accumulate});
}

}  // namespace

template <class T>
void gemm_range(const GemmIsa& isa, const PanelSource<T>& a, const PanelSource<T>& b, int64_t k,
                const GemmRange& range, typename GemmSum<T>::type* c, int64_t ldc, T* workspace) {
  const int mr = tile_rows_of<T>(isa), nr = tile_cols_of<T>(isa);
  if (k == 0) {
    for (int64_t i = range.m0; i < range.m1; ++i)
      std::fill_n(c + (i - range.m0) * ldc, range.n1 - range.n0, typename GemmSum<T>::type{});
    return;
  }
  const int64_t block = packed_depth<T>(std::min(k, kDepthBlock));
  T* a_buffer = workspace;
  T* b_buffer =
      workspace + (a.packed() ? 0 : round_up(round_up(range.m1 - range.m0, mr) * block, 64));
  for (int64_t k0 = 0; k0 < k; k0 += kDepthBlock) {
    const int64_t depth = std::min(kDepthBlock, k - k0);
    const int64_t a_panel = packed_depth<T>(depth) * mr;
    const auto rows_at = [&](int64_t i) {
      return static_cast<int>(std::min<int64_t>(mr, range.m1 - i));
    };
    const PanelRequest first{k0, depth, range.m0, rows_at(range.m0), mr};
    int64_t lda = 0, stride;
    const T* a_block = a.rows(first, &lda);
    if (!a_block) lda = 0;
    if (!a_block && a.packed()) {
      a_block = a.find(first, &stride);
    } else if (!a_block) {
      a_block = a_buffer;
      for (int64_t i = range.m0; i < range.m1; i += mr)
        a.pack({k0, depth, i, rows_at(i), mr}, a_buffer + (i - range.m0) / mr * a_panel);
    }
    const int64_t a_step = lda ? mr * lda : a_panel;  // from one tile's rows to the next one's
    for (int64_t j = range.n0; j < range.n1; j += nr) {
      const int cols = static_cast<int>(std::min<int64_t>(nr, range.n1 - j));
      const PanelRequest request{k0, depth, j, cols, nr};
      int64_t ldb = nr;
      const T* panel = b.find(request, &ldb);
      if (!panel) {
        b.pack(request, b_buffer);
        panel = b_buffer;
        ldb = nr;
      }
      for (int64_t i = range.m0; i < range.m1; i += mr)
        run_tile(isa, depth, a_block + (i - range.m0) / mr * a_step, lda, panel, ldb,
                 c + (i - range.m0) * ldc + (j - range.n0), ldc, rows_at(i), cols, k0 > 0);
    }
  }
}

template <class T>
GemmGrid make_grid(const GemmIsa& isa, int64_t batches, int64_t m, int64_t n, bool a_packed,
                   int threads) {
  const int64_t mr = tile_rows_of<T>(isa), nr = tile_cols_of<T>(isa);
  const int64_t all_rows = std::max(mr, round_up(m, mr)), all_cols = std::max(nr, round_up(n, nr));
  // Unpacked rows: 8 panels stay in a core's own cache for a block of k, and 16 panels of columns
  // spread the cost of packing them. Packed rows: few columns, whose results stay in cache.
  int64_t rows = a_packed ? all_rows : std::min(8 * mr, all_rows);
  int64_t cols = std::min((a_packed ? 4 : 16) * nr, all_cols);
  // Fewer columns a task, then fewer rows, until each thread has a few.
  const int64_t wanted = threads > 1 ? int64_t{threads} * 3 : 1;
  const auto tasks = [&] { return batches * ceil_div(m, rows) * ceil_div(n, cols); };
  while (tasks() < wanted && cols > nr) cols = round_up(cols / 2, nr);
  while (tasks() < wanted && rows > mr) rows = round_up(rows / 2, mr);
  return make_grid(batches, m, n, rows, cols);
}

#define INSTANTIATE(T)                                                                            \
  template class MatrixPanels<T>;                                                                 \
  template class PackedPanels<T>;                                                                 \
  template void pack_panels(const PanelSource<T>&, int64_t, int64_t, int, int64_t, int64_t, T*);  \
  template AlignedArray<T> pack_all(const PanelSource<T>&, int64_t, int64_t, int);                \
  template int64_t gemm_workspace(const GemmIsa&, const PanelSource<T>&, int64_t, int64_t);       \
  template void gemm_range(const GemmIsa&, const PanelSource<T>&, const PanelSource<T>&, int64_t, \
                           const GemmRange&, typename GemmSum<T>::type*, int64_t, T*);            \
  template GemmGrid make_grid<T>(const GemmIsa&, int64_t, int64_t, int64_t, bool, int)
INSTANTIATE(float);
INSTANTIATE(double);
INSTANTIATE(int16_t);
#undef INSTANTIATE

}  // namespace onnxtool
