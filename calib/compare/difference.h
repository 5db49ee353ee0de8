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

/// Inputs of an oracle: floats as doubles, all else as it is.
std::vector<Tensor> widened(const std::vector<Tensor>& inputs);

}  // namespace onnxtool
