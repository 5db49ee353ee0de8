// How large the scores of attention can get, whatever the model is given.
#pragma once

#include "passes/attention.h"

namespace onnxtool {

/// Whether |scale * query * key| stays within `limit` for any two rows of x, where both are thirds
/// of one product, x * weight + bias, of so many heads of so many elements. Only of an x that is
/// normalized, or of elements of at most 1, is anything known.
bool scores_stay_within(double limit, const Projection& thirds, int64_t heads, int64_t size,
                        double scale);

}  // namespace onnxtool
