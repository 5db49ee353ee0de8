// Tables of Gather beside layers that run on integers.
#pragma once

#include <set>

#include "libopt/ir/model.h"
#include "quant/scheme.h"

namespace onnxtool {

struct PackedTables {
  int count = 0;
  int64_t saved_bytes = 0;
};

/// Stores float tables as 8-bit integers with a scale for each row:
///
///   y = Gather(W, i)   =>   y = Mul(Cast(Gather(codes, i)), Gather(scales, i))
///
/// Those of 1 MB and more, or that `options` include by name; not what they exclude, tables that
/// something else reads as floats, and those of `on_integers`, whose Gather moves integers.
/// Errors: weights that are not finite.
Result<PackedTables> pack_tables(Model& model, const QuantizeOptions& options,
                                 const std::set<const Node*>& on_integers);

}  // namespace onnxtool
