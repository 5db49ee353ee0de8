// Whether two results of one computation are the same, and if not, where and how far they differ.
#pragma once

#include <string>
#include <vector>

#include "libopt/ir/tensor.h"

namespace onnxtool {

/// Tensors of equal type and dims. Empty: the same bits everywhere, but for NaN, whose payload is
/// free.
std::string difference_in_bits(const Tensor& before, const Tensor& after);

/// 2^-23 for float: the distance between neighbours around 1. Integers: 0; kQuantized: one of 256
/// steps.
double relative_unit(DataType dtype);
inline constexpr DataType kQuantized = DataType::kUint8;

/// What a difference is judged by.
struct Rounding {
  double unit;           // the coarsest relative_unit() of the types that the model computes in
  const Tensor* oracle;  // the result in double, where there is one
  bool tight;            // no more than a few roundings, whatever the oracle says
};
/// The bounds that verifier.h states. Empty: within them.
std::string difference_beyond_rounding(const Tensor& before, const Tensor& after,
                                       const Rounding& rounding);

/// For results that may be integer steps apart, which later layers spread: floats may differ by a
/// hundredth of their energy (20 dB, as `diff` judges 8-bit models), of codes one in a hundred by
/// more than a step, of other integers one in a hundred at all. Empty: within that.
std::string difference_beyond_steps(const Tensor& before, const Tensor& after);

/// Inputs of an oracle: floats as doubles, all else as it is.
std::vector<Tensor> widened(const std::vector<Tensor>& inputs);

}  // namespace onnxtool
