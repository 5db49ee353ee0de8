// Outputs that already hold what a fused addition adds to them, and changes of layout.
#pragma once

#include <initializer_list>
#include <span>

#include "calib/exec/kernel.h"

namespace onnxtool {

/// Every kind can be fused, an addition as the first one only: it becomes oneDNN's sum.
bool fuses_post_op(const NodeView& node, const PostOp& op);

/// Output 0, channels last where that differs from plain. With a fused addition it holds the addend,
/// in its own buffer where this was its last use and no input in `read` shares it.
Result<float*> fused_output(KernelContext& ctx, std::span<const int64_t> dims, std::initializer_list<int> read);

/// y[n, s, c] = x[n, c, s].
void transpose_images(KernelContext& ctx, int64_t images, int64_t channels, int64_t pixels, const float* x, float* y);

}  // namespace onnxtool
