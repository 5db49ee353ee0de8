// Default pipelines. The driver repeats a list until nothing fires, so order decides how much the
// first sweep finds, never what the last one leaves.

#include "passes/pass.h"

namespace onnxtool {
namespace {

constexpr const PassInfo* kPreparation[] = {
    // First: a dead reader is one use too many for every fold below.
    &kEliminateDeadCode,
    // Constant nodes come in seven forms; the rest knows one.
    &kConvertConstantToInitializer,
    // No-ops stand between the nodes that folds look for.
    &kEliminateIdentity,
    &kEliminateDropout,
    // What follows from known dims becomes constant, and with it what is computed from that.
    &kFoldShape,
    &kFoldConstants,
    // After the constants: pads are computed in many exporters' files.
    &kFoldPad,
    // Before the normalization: a bias written as an Add stands between it and its Conv.
    &kFoldAddIntoConv,
    &kFoldBatchNorm,
    // After it: scales that exporters put behind a normalization.
    &kFoldMulIntoConv,
};

constexpr const PassInfo* kOptimization[] = {
    // First: a dead reader is one use too many for every fold below.
    &kEliminateDeadCode,
    // Constant nodes come in seven forms; the rest knows one.
    &kConvertConstantToInitializer,
    // No-ops stand between the nodes that folds look for.
    &kEliminateIdentity,
    &kEliminateDropout,
    &kFuseCasts,
    &kEliminateNoOp,
    &kEliminateNeutralElement,
    // What follows from known dims becomes constant, and with it what is computed from that.
    &kFoldShape,
    &kFoldReshapeTarget,
    &kFoldConstants,
    // Before Expand is judged: exporters choose its target so.
    &kEliminateWhere,
    // Before the fusions, which give equal nodes unequal forms.
    &kDeduplicateNodes,
    // Conditions are constant by now if they ever are.
    &kInlineIf,
    &kUnrollLoop,
    // After the constants: pads are computed in many exporters' files.
    &kFoldPad,
    // Before the normalization: a bias written as an Add stands between it and its Conv.
    &kFoldAddIntoConv,
    &kFoldBatchNorm,
    // After it: scales that exporters put behind a normalization.
    &kFoldMulIntoConv,
    &kFoldMulIntoMatmul,
    // Before the addition: a Transpose may stand between.
    &kFuseGemmTranspose,
    &kFuseMatmulAdd,
    &kFuseFlattenedGemm,
    &kEliminateExpand,
    &kEliminateRepetition,
    &kFuseClips,
    &kFuseNotWhere,
    &kFuseReduceAxes,
    // Whole formulas, after what stands between their nodes is gone.
    &kFuseLayerNorm,
    &kFuseRmsNorm,
    &kFuseGelu,
    &kFuseSwish,
    &kFuseHardSwish,
    &kFuseMish,
    &kFuseStandardAttention,
    // After the formulas, whose numbers it would change.
    &kFuseScales,
    // After the targets have become constant.
    &kEliminateReshapeRoundTrip,
    &kFuseBatchedTranspose,
    &kFuseReshapes,
    &kFuseTransposes,
    // After the pairs that meet already are gone.
    &kPushTransposes,
    &kFuseSlices,
    &kFuseConcats,
    &kFuseConcatFill,
    &kFuseDepthToSpace,
    &kEliminateZeroState,
    &kEliminateUnusedOutput,
    // Extended passes wait until all that stands above finds nothing. Activations of layers last:
    // they end what other fusions begin with.
    &kFuseFastGelu,
    &kFuseBiasGelu,
    &kFuseQuickGelu,
    // Before the additions are taken into the normalization.
    &kFuseEmbedLayerNorm,
    &kFuseSkipLayerNorm,
    &kFuseScaledMatmul,
    // After the scales are in the product.
    &kFuseAttention,
    &kFuseCachedAttention,
    // For what it leaves.
    &kFuseMultiHeadAttention,
    // Before the activation that comes behind the addition.
    &kFuseConvAdd,
    &kFuseConvActivation,
    &kFuseGemmActivation,
    &kMakeCodesUnsigned,
    // After the activations, which are part of what it fuses.
    &kFuseQdq,
    // Last: a shared weight is one that folds would have to copy.
    &kDeduplicateInitializers,
    // Once the others find nothing: they look for an Add.
    &kAvoidSkipLayerNorm,
    // Once the others find nothing: they go by what extents are computed from, not by names.
    &kDeduplicateDimensions,
};

}  // namespace

std::span<const PassInfo* const> preparation_pipeline() { return kPreparation; }

std::vector<const PassInfo*> optimization_pipeline(Level level) {
  std::vector<const PassInfo*> passes;
  for (const PassInfo* p : kOptimization)
    if (p->level <= level) passes.push_back(p);
  return passes;
}

}  // namespace onnxtool
