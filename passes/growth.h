// What a fold does to the size of the file.
#pragma once

#include "libopt/rewrite/rule.h"

namespace onnxtool {

/// Growth that is worth a node less whatever the limit says: a shape of rank 4 takes 32 bytes and
/// its header, while a Shape node with short names takes as little as 20. Without it small models
/// would keep their shape arithmetic.
inline constexpr int64_t kNegligibleGrowth = 64;

/// Bytes that leave the file with the node: its own, and constants that nothing else reads.
int64_t bytes_freed_with(const Node& node);

/// Whether a fold that adds and frees so many bytes is allowed; the last question of a match, since
/// a yes is charged to the context.
bool may_grow(const PassContext& context, int64_t added_bytes, int64_t freed_bytes);

}  // namespace onnxtool
