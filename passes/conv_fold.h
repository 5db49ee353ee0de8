// Folding one arithmetic step with a constant into the convolution before it: shared by the passes
// for sums and for factors.
#pragma once

#include "passes/layer.h"

namespace onnxtool {

struct ConvFold {
  const Node& node;  // the arithmetic
  FoldedLayer folded;
};

/// `node` is Op(Conv(...), c) with c one number or one per channel; c may stand on either side
/// where the operation commutes. `step_of` makes the affine step of c's values per channel.
MatchOr<ConvFold> match_conv_fold(const Node& node, bool commutes,
                                  Affine (*step_of)(const Node&, std::vector<double>),
                                  const PassContext& context);

/// The convolution does it all; the node goes.
void rewrite_conv_fold(const ConvFold& fold, Rewriter& rw);

}  // namespace onnxtool
