// Sparse tensors as dense ones.
#pragma once

#include "libopt/ir/attribute.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// The tensor that it stands for, zeros (empty strings) elsewhere. Dims whose product fits; the
/// error says which part contradicts the others: indices of another type or shape, or outside of
/// the dims.
Result<Tensor> densify(const SparseTensor& sparse);

}  // namespace onnxtool
