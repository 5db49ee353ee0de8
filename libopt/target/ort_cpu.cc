#include "libopt/target/target.h"

namespace onnxtool {
namespace {

const char* resize_obstacle(const Node& node) {
  if (node.attr<std::string>("mode", "nearest") != "nearest") return "only nearest Resize runs on integers";
  if (node.attr<std::string>("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize") return "tf_crop_and_resize does not run on integers";
  return nullptr;
}

const char* pool_obstacle(const Node& node) {
  return node.num_outputs() > 1 && node.has_output(1) ? "the indices output keeps MaxPool in float" : nullptr;
}

const char* average_pool_obstacle(const Node& node) {
  if (const auto* d = node.attribute("dilations"))
    if (const auto* v = d->get<std::vector<int64_t>>())
      for (int64_t x : *v)
        if (x != 1) return "QLinearAveragePool has no dilations";
  return nullptr;
}

const char* gemm_obstacle(const Node& node) {
  if (node.attr<float>("alpha", 1) != 1 || node.attr<float>("beta", 1) != 1) return "QGemm needs alpha and beta of 1";
  return nullptr;
}

constexpr TargetOp kOps[] = {
    {"Conv", Fusion::kInteger, "QLinearConv"},
    {"Gemm", Fusion::kIntegerOrFloatOutput, "QGemm", "QGemm", gemm_obstacle},
    {"MatMul", Fusion::kIntegerOrFloatOutput, "QLinearMatMul", "MatMulIntegerToFloat"},
    {"Add", Fusion::kInteger, "QLinearAdd"},
    {"Mul", Fusion::kInteger, "QLinearMul"},
    {"Concat", Fusion::kInteger, "QLinearConcat"},
    {"AveragePool", Fusion::kInteger, "QLinearAveragePool", {}, average_pool_obstacle},
    {"GlobalAveragePool", Fusion::kInteger, "QLinearGlobalAveragePool"},
    {"Sigmoid", Fusion::kInteger, "QLinearSigmoid"},
    {"LeakyRelu", Fusion::kInteger, "QLinearLeakyRelu"},
    {"Softmax", Fusion::kInteger, "QLinearSoftmax"},
    {"MaxPool", Fusion::kPassThrough, {}, {}, pool_obstacle},
    {"Resize", Fusion::kPassThrough, {}, {}, resize_obstacle},
    {"DepthToSpace", Fusion::kPassThrough},
    {"Reshape", Fusion::kPassThrough},
    {"Flatten", Fusion::kPassThrough},
    {"Transpose", Fusion::kPassThrough},
    {"Squeeze", Fusion::kPassThrough},
    {"Unsqueeze", Fusion::kPassThrough},
    {"Split", Fusion::kPassThrough},
};

}  // namespace

constinit const Target kOrtCpu{"ort-cpu", "onnxruntime, CPU provider", kOps};

}  // namespace onnxtool
