#include "calib/kernels/cpu/matmul_shape.h"

#include "calib/kernels/cpu/walk.h"

namespace onnxtool {

Result<MatMulShape> resolve_matmul(std::span<const int64_t> a, std::span<const int64_t> b,
                                   bool transpose_a, bool transpose_b) {
  const auto shapes = [&] {
    return "a has shape " + format_dims(a) + " and b has shape " + format_dims(b);
  };
  if (a.empty() || b.empty()) return mismatch(shapes() + ", expected a rank of at least 1");
  MatMulShape s;
  const bool a_vector = a.size() == 1, b_vector = b.size() == 1;
  int64_t b_depth = b[0];
  s.m = 1;
  s.n = 1;
  s.k = a[0];
  if (!a_vector) {
    s.a_batch = to_dims(a.first(a.size() - 2));
    s.m = a[a.size() - 2];
    s.k = a[a.size() - 1];
    if (transpose_a) std::swap(s.m, s.k);
  }
  if (!b_vector) {
    s.b_batch = to_dims(b.first(b.size() - 2));
    b_depth = b[b.size() - 2];
    s.n = b[b.size() - 1];
    if (transpose_b) std::swap(b_depth, s.n);
  }
  if (b_depth != s.k)
    return mismatch(shapes() + ": the products are over " + std::to_string(s.k) + " and " +
                    std::to_string(b_depth) + " elements");
  auto broadcast = broadcast_dims({s.a_batch, s.b_batch});
  if (!broadcast.ok()) return mismatch(shapes() + ", whose leading dimensions do not broadcast");
  s.batch = *std::move(broadcast);
  s.out = s.batch;
  if (!a_vector) s.out.push_back(s.m);
  if (!b_vector) s.out.push_back(s.n);
  return s;
}

void MatMulShape::collapse(bool rows_follow) {
  if (!rows_follow || product(b_batch) != 1 || product(a_batch) != batches()) return;
  m *= batches();
  a_batch.clear();
  b_batch.clear();
  batch.clear();
}

Dims MatMulShape::indices(const Dims& from) const {
  const int64_t count = batches();
  Walk<1> walk{batch, {broadcast_strides(from, batch)}};
  Dims index(static_cast<size_t>(count));
  int64_t done = 0;
  for (RowWalker<1> rows(walk, 0); done < count; rows.next())
    for (int64_t i = 0; i < walk.inner(); ++i, ++done)
      index[static_cast<size_t>(done)] = rows.offsets[0] + i * walk.inner_stride(0);
  return index;
}

}  // namespace onnxtool
