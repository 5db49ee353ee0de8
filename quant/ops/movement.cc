// Operators that move elements without computing: integers pass through under the input's scale.
#include "quant/ops/movement.h"

#include "quant/ops/handler.h"

namespace onnxtool {

const char* pad_obstacle(const Node& pad) {
  if (pad.attr<std::string>("mode", "constant") != "constant") return nullptr;
  constexpr const char* kReason = "it pads with another number than 0";
  if (pad.attr<float>("value", 0) != 0) return kReason;
  if (!pad.has_input(2)) return nullptr;
  const Tensor* value = pad.input(2).constant();
  const bool is_zero = value && value->dtype() == DataType::kFloat && value->count() == 1 &&
                       value->values<float>()[0] == 0;
  return is_zero ? nullptr : kReason;
}

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
