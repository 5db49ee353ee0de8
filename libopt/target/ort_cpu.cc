#include <algorithm>
#include <array>

#include "libopt/target/obstacles.h"
#include "libopt/target/softmax_limits.h"
#include "libopt/target/target.h"

namespace onnxtool {
namespace {

const char* resize_obstacle(const Node& node) {
  if (node.attr<std::string>("mode", "nearest") != "nearest")
    return "only nearest Resize runs on integers";
  if (node.attr<std::string>("coordinate_transformation_mode", "half_pixel") ==
      "tf_crop_and_resize")
    return "tf_crop_and_resize does not run on integers";
  return nullptr;
}

// Measured with onnxruntime 1.31: QLinearAveragePool counts what ceil_mode adds behind the padding.
const char* average_pool_wrong(const Node& node) {
  if (const char* r = dilated_pool(node)) return r;
  const Attribute* pads = node.attribute("pads");
  const auto* values = pads ? pads->get<std::vector<int64_t>>() : nullptr;
  const bool padded = values && std::ranges::any_of(*values, [](int64_t p) { return p != 0; });
  return padded && node.attr<int64_t>("ceil_mode", 0) && node.attr<int64_t>("count_include_pad", 0)
             ? "QLinearAveragePool miscounts padding under ceil_mode"
             : nullptr;
}

// A model with such a node does not load.
const char* concat_wrong(const Node& node) {
  return node.num_inputs() < 2 ? "one input: nothing to concatenate" : nullptr;
}

// What scale the kernel can compute with follows from how long rows are.
const char* softmax_obstacle(const Node& node) {
  return softmax_entries(node)
             ? nullptr
             : "its rows are of open length, and fine codes overflow in short ones";
}

const char* gemm_obstacle(const Node& node) {
  if (node.attr<float>("alpha", 1) != 1 || node.attr<float>("beta", 1) != 1)
    return "QGemm needs alpha and beta of 1";
  return nullptr;
}

bool moves_batch(const Node* n) {
  const Attribute* a = n && n->is("Transpose") ? n->attribute("perm") : nullptr;
  const auto* perm = a ? a->get<std::vector<int64_t>>() : nullptr;
  return perm && perm->size() > 2 && perm->front() != 0 &&
         perm->back() == static_cast<int64_t>(perm->size()) - 1;
}

bool multiplies_weight(const Node& n) {
  return n.is("MatMul") && n.has_input(1) && n.input(1).constant();
}

// Loading Transpose (batch to another axis) -> Cast -> MatMul with a weight ends the process (seen
// with 1.31 on three real models, level all: MatmulTransposeFusion, then
// FuseFp16InitializerToFp32Node). Both stay float32, so that no Cast stands between.
const char* float16_obstacle(const Node& node) {
  constexpr const char* kReason = "onnxruntime crashes when it fuses the Transpose and the MatMul";
  if (multiplies_weight(node) && node.has_input(0) && moves_batch(node.input(0).producer()))
    return kReason;
  if (!moves_batch(&node) || !node.has_output(0)) return nullptr;
  for (const Use& use : node.output(0).uses())
    if (use.index == 0 && multiplies_weight(*use.user)) return kReason;
  return nullptr;
}

constexpr TargetOp kOps[] = {
    {.op = "Conv",
     .fusion = Fusion::kInteger,
     .integer_op = "QLinearConv",
     .mixed_types = true,
     .signed_data = false},
    {.op = "Gemm",
     .fusion = Fusion::kIntegerOrFloatOutput,
     .integer_op = "QGemm",
     .float_output_op = "QGemm",
     .mixed_types = true,
     .obstacle = gemm_obstacle},
    {.op = "MatMul",
     .fusion = Fusion::kIntegerOrFloatOutput,
     .integer_op = "QLinearMatMul",
     .float_output_op = "MatMulIntegerToFloat",
     .mixed_types = true,
     .signed_data = false},
    {.op = "Add", .fusion = Fusion::kInteger, .integer_op = "QLinearAdd"},
    {.op = "Mul", .fusion = Fusion::kInteger, .integer_op = "QLinearMul"},
    {.op = "Concat",
     .fusion = Fusion::kInteger,
     .integer_op = "QLinearConcat",
     .wrong = concat_wrong},
    {.op = "Where", .fusion = Fusion::kInteger, .integer_op = "QLinearWhere", .first_data = 1},
    {.op = "AveragePool",
     .fusion = Fusion::kInteger,
     .integer_op = "QLinearAveragePool",
     .obstacle = dilated_pool,
     .wrong = average_pool_wrong},
    {.op = "GlobalAveragePool",
     .fusion = Fusion::kInteger,
     .integer_op = "QLinearGlobalAveragePool"},
    {.op = "Sigmoid", .fusion = Fusion::kInteger, .integer_op = "QLinearSigmoid"},
    {.op = "LeakyRelu", .fusion = Fusion::kInteger, .integer_op = "QLinearLeakyRelu"},
    {.op = "Softmax",
     .fusion = Fusion::kInteger,
     .integer_op = "QLinearSoftmax",
     .obstacle = softmax_obstacle},
    {.op = "MaxPool", .fusion = Fusion::kPassThrough, .obstacle = max_pool_obstacle},
    {.op = "Resize", .fusion = Fusion::kPassThrough, .obstacle = resize_obstacle},
    {.op = "DepthToSpace", .fusion = Fusion::kPassThrough},
    {.op = "Reshape", .fusion = Fusion::kPassThrough},
    {.op = "Flatten", .fusion = Fusion::kPassThrough},
    {.op = "Transpose", .fusion = Fusion::kPassThrough},
    {.op = "Squeeze", .fusion = Fusion::kPassThrough},
    {.op = "Unsqueeze", .fusion = Fusion::kPassThrough},
    {.op = "Split", .fusion = Fusion::kPassThrough},
    {.op = "Slice", .fusion = Fusion::kPassThrough},
    {.op = "Gather", .fusion = Fusion::kPassThrough},
    {.op = "GatherElements", .fusion = Fusion::kPassThrough},
    {.op = "Expand", .fusion = Fusion::kPassThrough},
    {.op = "Tile", .fusion = Fusion::kPassThrough},
    {.op = "ReduceMax", .fusion = Fusion::kPassThrough},
    {.op = "ReduceMin", .fusion = Fusion::kPassThrough},
    {.op = "ArgMax", .fusion = Fusion::kReadsIntegers},
};

// Every kernel reads s8.
constexpr auto kArmOps = [] {
  auto ops = std::to_array(kOps);
  for (TargetOp& op : ops) op.signed_data = true;
  return ops;
}();

// NNAPI takes a layer only with a Q behind it.
constexpr auto kMobileOps = [] {
  auto ops = kArmOps;
  for (TargetOp& op : ops) {
    if (op.fusion != Fusion::kIntegerOrFloatOutput) continue;
    op.fusion = Fusion::kInteger;
    op.float_output_op = {};
  }
  return ops;
}();

}  // namespace

constinit const Target kOrtCpu{"ort-cpu",
                               "onnxruntime, CPU provider",
                               kOps,
                               /*quantizes_parameters=*/true,
                               /*prefers_unsigned=*/true,
                               float16_obstacle,
                               /*computes_bfloat16=*/false,
                               &kOrtCpuCost};

constinit const Target kOrtCpuNoVnni{.name = "ort-cpu-no-vnni",
                                     .summary = "onnxruntime, CPU provider, x86 without VNNI",
                                     .ops = kOps,
                                     .quantizes_parameters = true,
                                     .prefers_unsigned = true,
                                     .float16_obstacle = float16_obstacle,
                                     .cost = &kOrtCpuCost,
                                     .adds_pairs = true};

constinit const Target kOrtArm64{.name = "ort-arm64",
                                 .summary = "onnxruntime, CPU provider, 64-bit ARM",
                                 .ops = kArmOps,
                                 .quantizes_parameters = true,
                                 .float16_obstacle = float16_obstacle};

constinit const Target kOrtMobile{.name = "ort-mobile",
                                  .summary = "onnxruntime on phones: CPU provider and NNAPI",
                                  .ops = kMobileOps,
                                  .quantizes_parameters = true,
                                  .float16_obstacle = float16_obstacle,
                                  .weight_types = kSignedOnly};

constinit const Target kOrtCuda{
    .name = "ort-cuda", .summary = "onnxruntime, CUDA provider", .ops = {}};

}  // namespace onnxtool
