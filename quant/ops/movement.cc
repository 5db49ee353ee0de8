// Operators that move elements without computing: integers pass through under the input's scale.
#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

// Zero is in every range; another number may not be.
const char* pad_obstacle(const Node& node) {
  if (node.attr<std::string>("mode", "constant") != "constant") return nullptr;
  constexpr const char* kReason = "it pads with another number than 0";
  if (node.attr<float>("value", 0) != 0) return kReason;
  if (!node.has_input(2)) return nullptr;
  const Tensor* value = node.input(2).constant();
  return value && value->count() == 1 && value->to_doubles()[0] == 0 ? nullptr : kReason;
}

}  // namespace

constinit const OpHandler kMaxPoolHandler{.op = "MaxPool", .role = Role::kPassThrough};
constinit const OpHandler kResizeHandler{.op = "Resize", .role = Role::kPassThrough};
constinit const OpHandler kDepthToSpaceHandler{.op = "DepthToSpace", .role = Role::kPassThrough};
constinit const OpHandler kSpaceToDepthHandler{
    .op = "SpaceToDepth", .role = Role::kPassThrough, .qdq_only = true};
constinit const OpHandler kPadHandler{
    .op = "Pad", .role = Role::kPassThrough, .obstacle = pad_obstacle, .qdq_only = true};
constinit const OpHandler kReshapeHandler{.op = "Reshape", .role = Role::kPassThrough};
constinit const OpHandler kFlattenHandler{.op = "Flatten", .role = Role::kPassThrough};
constinit const OpHandler kTransposeHandler{.op = "Transpose", .role = Role::kPassThrough};
constinit const OpHandler kSqueezeHandler{.op = "Squeeze", .role = Role::kPassThrough};
constinit const OpHandler kUnsqueezeHandler{.op = "Unsqueeze", .role = Role::kPassThrough};
constinit const OpHandler kSplitHandler{.op = "Split", .role = Role::kPassThrough};
constinit const OpHandler kSliceHandler{.op = "Slice", .role = Role::kPassThrough};
constinit const OpHandler kGatherHandler{.op = "Gather", .role = Role::kPassThrough};
constinit const OpHandler kGatherElementsHandler{.op = "GatherElements",
                                                 .role = Role::kPassThrough};
// The largest code stands for the largest value.
constinit const OpHandler kReduceMaxHandler{.op = "ReduceMax", .role = Role::kPassThrough};
constinit const OpHandler kReduceMinHandler{.op = "ReduceMin", .role = Role::kPassThrough};
constinit const OpHandler kExpandHandler{.op = "Expand", .role = Role::kPassThrough};
constinit const OpHandler kTileHandler{.op = "Tile", .role = Role::kPassThrough};

}  // namespace onnxtool
