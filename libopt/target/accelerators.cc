// Runtimes other than onnxruntime's CPU provider, as far as their documentation goes: nothing here
// was measured.

#include "libopt/target/obstacles.h"
#include "libopt/target/target.h"

namespace onnxtool {
namespace {

constexpr TargetOp integer(std::string_view op) { return {.op = op, .fusion = Fusion::kInteger}; }
// onnxruntime is to load these models as well.
constexpr TargetOp kAveragePool = {
    .op = "AveragePool", .fusion = Fusion::kInteger, .wrong = dilated_pool};
constexpr TargetOp kWhere = {.op = "Where", .fusion = Fusion::kInteger, .first_data = 1};
// Its result may be float.
constexpr TargetOp layer(std::string_view op) {
  return {.op = op, .fusion = Fusion::kIntegerOrFloatOutput};
}
constexpr TargetOp mover(std::string_view op) { return {.op = op, .fusion = Fusion::kPassThrough}; }

constexpr DataType kS8[] = {DataType::kInt8};
constexpr DataType kS8OrFloat8[] = {DataType::kInt8, DataType::kFloat8E4M3FN};
constexpr DataType kWideData[] = {DataType::kUint8, DataType::kInt8, DataType::kUint16,
                                  DataType::kInt16, DataType::kFloat8E4M3FN};
constexpr DataType kQnnData[] = {DataType::kUint8, DataType::kUint16};
constexpr DataType kAllWeights[] = {DataType::kInt8,      DataType::kUint8, DataType::kInt4,
                                    DataType::kUint4,     DataType::kInt16, DataType::kFloat8E4M3FN,
                                    DataType::kFloat8E5M2};
constexpr DataType kQnnWeights[] = {DataType::kInt8, DataType::kUint8, DataType::kInt4};

// Movers: what its guide lists as commuting with Q and DQ (shuffles, slices, pools).
constexpr TargetOp kTensorRtOps[] = {
    layer("Conv"),
    layer("ConvTranspose"),
    layer("Gemm"),
    layer("MatMul"),
    integer("Add"),
    kAveragePool,
    integer("GlobalAveragePool"),
    integer("Concat"),
    mover("MaxPool"),
    mover("Resize"),
    mover("Reshape"),
    mover("Flatten"),
    mover("Transpose"),
    mover("Squeeze"),
    mover("Unsqueeze"),
    mover("Slice"),
    mover("Split"),
    mover("Expand"),
    mover("Tile"),
    mover("Pad"),
    mover("DepthToSpace"),
    mover("SpaceToDepth"),
};

// Those that its low precision transformations are named after.
constexpr TargetOp kOpenVinoOps[] = {
    layer("Conv"),        layer("ConvTranspose"), layer("Gemm"),
    layer("MatMul"),      integer("Add"),         integer("Mul"),
    integer("Concat"),    kAveragePool,           integer("GlobalAveragePool"),
    mover("MaxPool"),     mover("Resize"),        mover("DepthToSpace"),
    mover("Reshape"),     mover("Flatten"),       mover("Transpose"),
    mover("Squeeze"),     mover("Unsqueeze"),     mover("Split"),
    mover("Slice"),       mover("Gather"),        mover("Pad"),
    mover("ReduceMax"),   mover("ReduceMin"),     integer("Sub"),
    integer("LeakyRelu"), integer("PRelu"),       integer("ReduceMean"),
    integer("ReduceSum"),
};

// What is not on integers there runs elsewhere: everything that can be is, of what the provider has
// builders for and onnxruntime's QDQ selectors (selectors_actions/shared/utils.cc) make groups of.
// Exp, Log, Pow, Sqrt and the like stay in float: 8 bits do not hold their range.
constexpr TargetOp kQnnOps[] = {
    integer("Conv"),
    integer("ConvTranspose"),
    integer("Gemm"),
    integer("MatMul"),
    integer("Add"),
    integer("Mul"),
    integer("Concat"),
    kAveragePool,
    integer("GlobalAveragePool"),
    integer("Sigmoid"),
    integer("LeakyRelu"),
    integer("Softmax"),
    integer("Sub"),
    integer("Div"),
    integer("Max"),
    integer("Min"),
    integer("PRelu"),
    integer("Tanh"),
    integer("Elu"),
    integer("HardSwish"),
    integer("Gelu"),
    integer("ReduceMean"),
    integer("ReduceSum"),
    integer("InstanceNormalization"),
    integer("LayerNormalization"),
    kWhere,
    mover("MaxPool"),
    mover("Resize"),
    mover("DepthToSpace"),
    mover("Reshape"),
    mover("Flatten"),
    mover("Transpose"),
    mover("Squeeze"),
    mover("Unsqueeze"),
    mover("Split"),
    mover("Slice"),
    mover("Gather"),
    mover("Expand"),
    mover("Tile"),
    mover("Pad"),
    mover("SpaceToDepth"),
    mover("ReduceMax"),
    mover("ReduceMin"),
};

constexpr TargetOp kPortableOps[] = {
    {.op = "Conv", .fusion = Fusion::kInteger, .integer_op = "QLinearConv", .mixed_types = true},
    {.op = "MatMul",
     .fusion = Fusion::kInteger,
     .integer_op = "QLinearMatMul",
     .mixed_types = true},
    integer("ConvTranspose"),
    integer("Gemm"),
    integer("Add"),
    integer("Mul"),
    integer("Concat"),
    kAveragePool,
    integer("GlobalAveragePool"),
    {.op = "MaxPool", .fusion = Fusion::kPassThrough, .obstacle = max_pool_obstacle},
    mover("Reshape"),
    mover("Flatten"),
    mover("Transpose"),
    mover("Squeeze"),
    mover("Unsqueeze"),
    mover("Split"),
    mover("Slice"),
    mover("Gather"),
    mover("DepthToSpace"),
};

}  // namespace

constinit const Target kTensorRt{.name = "tensorrt",
                                 .summary = "TensorRT",
                                 .ops = kTensorRtOps,
                                 .computes_bfloat16 = true,
                                 .is_onnxruntime = false,
                                 .data_types = kS8OrFloat8,
                                 .weight_types = kS8OrFloat8,
                                 .symmetric_data = true,
                                 .float_bias = true};

constinit const Target kOpenVino{.name = "openvino",
                                 .summary = "OpenVINO on CPU and GPU",
                                 .ops = kOpenVinoOps,
                                 .is_onnxruntime = false,
                                 .weight_types = kS8,
                                 .float_bias = true};

constinit const Target kQnn{.name = "qnn",
                            .summary = "Qualcomm HTP by onnxruntime's QNN provider",
                            .ops = kQnnOps,
                            .is_onnxruntime = false,
                            .data_types = kQnnData,
                            .weight_types = kQnnWeights};

constinit const Target kPortable{.name = "portable",
                                 .summary = "any runtime that has the opset",
                                 .ops = kPortableOps,
                                 .is_onnxruntime = false,
                                 .data_types = kWideData,
                                 .weight_types = kAllWeights};

}  // namespace onnxtool
