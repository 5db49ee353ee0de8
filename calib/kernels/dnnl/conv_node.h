// What Conv and QLinearConv share: from a node's attributes and dims to a convolution.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "calib/kernels/dnnl/convolution.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {

/// x [N, C, spatial...], w [M, C / group, kernel...]. nullopt: they do not fit, or no window does.
std::optional<ConvolutionProblem> convolution_of(const WindowAttributes& attributes, int64_t groups,
                                                 std::span<const int64_t> x,
                                                 std::span<const int64_t> w);

/// Whether input 0 or the weights, input 1, are known to have no elements but for a batch of none.
/// Results are then padding and bias, which is no convolution to oneDNN.
bool has_nothing_to_multiply(const NodeView& node, int weights = 1);

/// The dims of x (input 0) as far as they are known, usual ones where they are not: what primitives
/// are made for before a sample is seen.
std::vector<int64_t> expected_dims(const NodeView& node, const WindowAttributes& attributes,
                                   int64_t groups, std::span<const int64_t> w);

/// What a plan was made for: the dims of x, then those of w.
std::vector<int64_t> plan_key(std::span<const int64_t> x, std::span<const int64_t> w);

}  // namespace onnxtool
