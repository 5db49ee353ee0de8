// Products of 8-bit matrices on tensor cores, which multiply signed codes along the innermost axis
// of both operands, of extents that are multiples of kUnit: operands are copied to that form, less
// 128 where they are unsigned, and zero points are corrected by the sums of rows:
//
//   sum (a - za) * (b - zb) = sum a'b' - zb' sum a' - za' sum b' + k za' zb',   x' = x - 128 or x
//
// All in 32 bits, which wrap as the host's do: results are equal.
#pragma once

#include "calib/kernels/cuda/lines.h"
#include "calib/kernels/cuda/product.h"

namespace onnxtool::device {

inline constexpr int64_t kUnit = 16;
constexpr int64_t to_units(int64_t n) { return (n + kUnit - 1) / kUnit; }

/// A scale or zero point, which may be one for each line of each matrix (LineParams).
template <class T>
struct LineParameter {
  DataType type = DataType::kUndefined;
  const void* data = nullptr;
  int64_t step = 0;  // from one matrix's to the next one's
  bool per_line = false;
  ONNXTOOL_HD T at(int64_t matrix, int64_t line) const {
    return load<T>(type, data, matrix * step + (per_line ? line : 0));
  }
};

/// 8-bit codes, and the zero points that they are less.
struct ByteOperand {
  DataType type = DataType::kUint8;
  const void* data = nullptr;
  LineParameter<int32_t> zero_point;  // without data: 0
  bool is_centered = false;           // every shifted_zero() is 0

  ONNXTOOL_HD int32_t zero(int64_t matrix, int64_t line) const {
    return zero_point.data ? zero_point.at(matrix, line) : 0;
  }
  ONNXTOOL_HD int32_t code(int64_t i) const { return load<int32_t>(type, data, i); }
  ONNXTOOL_HD int32_t shift() const { return type == DataType::kUint8 ? 128 : 0; }
  ONNXTOOL_HD int8_t shifted(int64_t i) const { return static_cast<int8_t>(code(i) - shift()); }
  ONNXTOOL_HD int32_t shifted_zero(int64_t matrix, int64_t line) const {
    return zero(matrix, line) - shift();
  }
};

/// kUnit codes, written at once.
struct alignas(kUnit) Codes {
  int8_t code[kUnit];
};

/// Rows of a packed operand, [matrices, rows, kUnit * units], with zeros behind `k`.
struct PackedCodes {
  Codes* codes = nullptr;
  int32_t* sums = nullptr;  // of each row; nullptr where nothing is corrected by them
  int64_t rows = 0, units = 0;
};

/// out[matrix, row, k] = x[matrix, row, k]
struct PackRows {
  ByteOperand x;
  Codes* out;
  Divider units, padded_rows;
  int64_t rows, k;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t matrix = i;
    const int64_t first = units.split(matrix) * kUnit, row = padded_rows.split(matrix);
    Codes c;
    for (int64_t j = 0; j < kUnit; ++j)
      c.code[j] = row < rows && first + j < k ? x.shifted((matrix * rows + row) * k + first + j)
                                              : int8_t{0};
    out[i] = c;
  }
};

/// out[matrix, column, k] = x[matrix, k, column]; neighbouring threads read neighbouring columns.
struct PackColumns {
  ByteOperand x;
  Codes* out;
  Divider units, padded_columns;
  int64_t columns, k;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t matrix = i;
    const int64_t column = padded_columns.split(matrix), unit = units.split(matrix),
                  first = unit * kUnit;
    Codes c;
    for (int64_t j = 0; j < kUnit; ++j)
      c.code[j] = column < columns && first + j < k
                      ? x.shifted((matrix * k + first + j) * columns + column)
                      : int8_t{0};
    out[(matrix * padded_columns.by() + column) * units.by() + unit] = c;
  }
};

/// Products [count, m, n] of packed operands whose zero points are not yet accounted for.
struct RawSums {
  const int32_t* sums = nullptr;  // [count, m, padded n]
  int64_t m = 0, padded_n = 0, k = 0;
  ByteOperand a, b;                                    // zero points of rows, and of columns
  const int32_t *a_sums = nullptr, *b_sums = nullptr;  // nullptr: the other side needs none
  int64_t a_step = 0, b_step = 0;                      // matrices from one product to the next

  ONNXTOOL_HD uint32_t at(int64_t product, int64_t row, int64_t column) const {
    const int64_t left = product * a_step, right = product * b_step;
    const auto za = static_cast<uint32_t>(a.shifted_zero(left, row)),
               zb = static_cast<uint32_t>(b.shifted_zero(right, column));
    auto sum = static_cast<uint32_t>(sums[(product * m + row) * padded_n + column]);
    if (a_sums) sum -= zb * static_cast<uint32_t>(a_sums[left * m + row]);
    if (b_sums) sum -= za * static_cast<uint32_t>(b_sums[right * padded_n + column]);
    return sum + static_cast<uint32_t>(k) * za * zb;
  }
};

/// Room for `matrices` of `rows` rows, and for their sums where wanted.
Result<PackedCodes> packed_codes(KernelContext& ctx, int64_t matrices, int64_t rows, int64_t k,
                                 bool has_sums);
/// Fills in the sums of rows, where there are.
void sum_codes(const PackedCodes& packed, int64_t matrices);

Result<PackedCodes> pack_rows(KernelContext& ctx, const ByteOperand& x, int64_t matrices,
                              int64_t rows, int64_t k, bool has_sums);
/// Of matrices [k, columns]; columns are padded to whole units.
Result<PackedCodes> pack_columns(KernelContext& ctx, const ByteOperand& x, int64_t matrices,
                                 int64_t columns, int64_t k, bool has_sums);

/// Products of matrices of a and b, `a_step` and `b_step` matrices apart (0: the same one), into
/// `sums` [count, rows of a, rows of b]. `raw` has its operands. false: tensor cores do not take
/// them.
Result<bool> multiply_codes(KernelContext& ctx, const PackedCodes& a, const PackedCodes& b,
                            int64_t count, int64_t a_step, int64_t b_step, int32_t* sums,
                            RawSums& raw);
/// Room for such sums.
Result<int32_t*> raw_sums(KernelContext& ctx, int64_t count, int64_t m, int64_t n);

}  // namespace onnxtool::device
