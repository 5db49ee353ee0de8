// Operands of tensor cores, and products of them (see the header).

#include "calib/kernels/cuda/integer_product.h"

namespace onnxtool::device {
namespace {

struct SumCodes {
  using Part = int32_t;
  const Codes* codes;
  int64_t units;
  int32_t* sums;
  ONNXTOOL_HD int64_t length() const { return units; }
  ONNXTOOL_HD Part start() const { return 0; }
  ONNXTOOL_HD void add(Part& part, int64_t row, int64_t i) const {
    const Codes c = codes[row * units + i];
    for (const int8_t code : c.code) part += code;
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { a += b; }
  ONNXTOOL_HD void finish(int64_t row, const Part& part) const { sums[row] = part; }
};

}  // namespace

Result<PackedCodes> packed_codes(KernelContext& ctx, int64_t matrices, int64_t rows, int64_t k,
                                 bool has_sums) {
  PackedCodes packed{nullptr, nullptr, rows, to_units(k)};
  const auto size = checked_product(Dims{matrices, rows, packed.units, kUnit});
  if (!size) return kernel_error(ErrorCode::kLimit, "an operand is too large");
  ONNXTOOL_ASSIGN(void* codes, ctx.scratch(static_cast<size_t>(*size)));
  packed.codes = static_cast<Codes*>(codes);
  if (!has_sums) return packed;
  ONNXTOOL_ASSIGN(void* sums, ctx.scratch(static_cast<size_t>(matrices * rows) * sizeof(int32_t)));
  packed.sums = static_cast<int32_t*>(sums);
  return packed;
}

void sum_codes(const PackedCodes& packed, int64_t matrices) {
  if (packed.sums)
    reduce_lines(matrices * packed.rows, SumCodes{packed.codes, packed.units, packed.sums}, false);
}

Result<PackedCodes> pack_rows(KernelContext& ctx, const ByteOperand& x, int64_t matrices,
                              int64_t rows, int64_t k, bool has_sums) {
  ONNXTOOL_ASSIGN(const PackedCodes packed, packed_codes(ctx, matrices, rows, k, has_sums));
  for_each_index(matrices * rows * packed.units,
                 PackRows{x, packed.codes, Divider(packed.units), Divider(rows), rows, k});
  sum_codes(packed, matrices);
  return packed;
}

Result<PackedCodes> pack_columns(KernelContext& ctx, const ByteOperand& x, int64_t matrices,
                                 int64_t columns, int64_t k, bool has_sums) {
  const int64_t rows = to_units(columns) * kUnit;
  ONNXTOOL_ASSIGN(const PackedCodes packed, packed_codes(ctx, matrices, rows, k, has_sums));
  for_each_index(matrices * rows * packed.units,
                 PackColumns{x, packed.codes, Divider(packed.units), Divider(rows), columns, k});
  sum_codes(packed, matrices);
  return packed;
}

Result<int32_t*> raw_sums(KernelContext& ctx, int64_t count, int64_t m, int64_t n) {
  const auto size = checked_product(Dims{count, m, n, int64_t{sizeof(int32_t)}});
  if (!size) return kernel_error(ErrorCode::kLimit, "a product is too large");
  ONNXTOOL_ASSIGN(void* sums, ctx.scratch(static_cast<size_t>(*size)));
  return static_cast<int32_t*>(sums);
}

Result<bool> multiply_codes(KernelContext& ctx, const PackedCodes& a, const PackedCodes& b,
                            int64_t count, int64_t a_step, int64_t b_step, int32_t* sums,
                            RawSums& raw) {
  Product p;
  p.type = DataType::kInt8;
  p.result = DataType::kInt32;
  p.transpose_b = true;
  p.m = a.rows, p.n = b.rows, p.k = a.units * kUnit, p.count = count;
  p.a = a.codes, p.b = b.codes, p.c = sums;
  p.a_step = a_step * p.m * p.k, p.b_step = b_step * p.n * p.k, p.c_step = p.m * p.n;
  raw.sums = sums;
  raw.m = a.rows, raw.padded_n = b.rows;
  raw.a_sums = a.sums, raw.b_sums = b.sums;
  raw.a_step = a_step, raw.b_step = b_step;
  return multiply_integers(ctx, p);
}

}  // namespace onnxtool::device
