// What a fold does to the size of the file.
#pragma once

#include "libopt/rewrite/rule.h"

namespace onnxtool {

/// Bytes that leave the file with the node: its own, and constants that nothing else reads.
int64_t bytes_freed_with(const Node& node);

/// Whether a fold that adds and frees so many bytes is allowed; the last question of a match, since
/// a yes is charged to the context.
bool may_grow(const PassContext& context, int64_t added_bytes, int64_t freed_bytes);

}  // namespace onnxtool
