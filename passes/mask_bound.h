// Whether a mask that is added to scores can hide every key from a row.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Whether some row (the last axis) of the mask may be -inf throughout. Softmax makes NaN of such a
/// row, and attention as one operator 0. False only of constants that have a row's one number at
/// least, and of what is computed from bounded numbers: fills of Where, masks of booleans and
/// integers times a number.
bool may_hide_all_keys(const Value& mask);

}  // namespace onnxtool
