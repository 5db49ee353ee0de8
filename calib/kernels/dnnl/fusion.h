// Outputs that already hold what a fused addition adds to them, and changes of layout.
#pragma once

#include <initializer_list>
#include <span>

#include "calib/exec/kernel.h"

namespace onnxtool {

/// Every kind can be fused, an addition as the first one only: it becomes oneDNN's sum. But oneDNN
/// 2.6 applies all functions of one algorithm with the parameters of the last.
bool fuses_post_op(const NodeView& node, const PostOp& op, std::span<const PostOp> own = {});

/// Output 0 in `layout` (plain where channels-last would be the same bytes). Where the first of
/// `ops` is an addition it holds the addend, in the addend's own buffer where this was its last use
/// and no input in `read` shares it.
Result<float*> fused_output(KernelContext& ctx, std::span<const PostOp> ops,
                            std::span<const int64_t> dims, Layout layout,
                            std::initializer_list<int> read);

/// Input i with channels last, in scratch memory if it has another layout. T has its elements'
/// size.
template <class T>
Result<const T*> channels_last_input(KernelContext& ctx, int i);

/// y[n, s, c] = x[n, c, s].
template <class T>
void transpose_images(KernelContext& ctx, int64_t images, int64_t channels, int64_t pixels,
                      const T* x, T* y);

}  // namespace onnxtool
