// What a runtime and provider do with a QDQ graph when they load it: tables with their sources.
//
// Placement asks these, so that Q and DQ stand only where they become an integer kernel.
#pragma once

#include <span>
#include <string_view>

#include "libopt/ir/graph.h"
#include "libopt/target/cost.h"

namespace onnxtool {

/// How a target treats an operator between DequantizeLinear and QuantizeLinear.
enum class Fusion : uint8_t {
  kNever,    // stays float, so Q and DQ around it only cost time
  kInteger,  // becomes `integer_op`; every float input from a DQ, the output only to a Q
  kIntegerOrFloatOutput,  // as kInteger, and without a Q behind it `float_output_op` gives floats
  kPassThrough,           // Q and DQ vanish where both sides share scale and zero point
  kReadsIntegers,         // DQ vanishes: the result depends on the order of the elements only
};

struct TargetOp {
  std::string_view op;  // of ai.onnx
  Fusion fusion = Fusion::kNever;
  std::string_view integer_op = {};
  std::string_view float_output_op = {};
  /// Weights may have another 8-bit type than the data.
  bool mixed_types = false;
  /// Data may be s8.
  bool signed_data = true;
  /// Inputs before it are no data and have no DQ.
  int first_data = 0;
  /// nullptr: no condition. Else a reason why this node is not fused, or nullptr when it is.
  const char* (*obstacle)(const Node&) = nullptr;
  /// nullptr: nowhere. Else where the integer kernel, which the target takes all the same, computes
  /// something else than the operator: such a node must not stand between a DQ and a Q.
  const char* (*wrong)(const Node&) = nullptr;
};

inline constexpr DataType kUnsignedFirst[] = {DataType::kUint8, DataType::kInt8};
inline constexpr DataType kSignedFirst[] = {DataType::kInt8, DataType::kUint8};
inline constexpr DataType kSignedOnly[] = {DataType::kInt8};

struct Target {
  std::string_view name;
  std::string_view summary;
  std::span<const TargetOp> ops;
  /// Float weights and biases of a layer between DQ and Q are quantized at load.
  bool quantizes_parameters = false;
  /// A Q that only one DQ reads turns from s8 to u8 at load, with that DQ; others keep s8, and what
  /// reads both kinds is not fused.
  bool prefers_unsigned = false;
  /// nullptr, or a reason why this node, in float16, is beyond the runtime.
  const char* (*float16_obstacle)(const Node&) = nullptr;
  /// Has kernels for bfloat16.
  bool computes_bfloat16 = false;
  /// nullptr: what can run on integers does.
  const CostModel* cost = nullptr;
  /// Is onnxruntime with a provider: has operators of com.microsoft, and fuse_qdq() tells what it
  /// makes of Q and DQ. false: what `ops` lists and what has its Q and DQ is taken to run on
  /// integers.
  bool is_onnxruntime = true;
  /// Codes that its kernels read, the usual one first.
  std::span<const DataType> data_types = kUnsignedFirst, weight_types = kSignedFirst;
  /// Every zero point is 0.
  bool symmetric_data = false;
  /// Adds two products of u8 and s8 in 16 bits, which saturate (libopt/target/pair_sums.h).
  bool adds_pairs = false;
  /// Biases stay float.
  bool float_bias = false;
};

/// onnxruntime's CPU provider. Source: onnxruntime 1.31,
/// optimizer/qdq_transformer/selectors_actions, and the graphs that it saves at level extended.
extern const Target kOrtCpu;
/// The same on x86 without VNNI (up to Broadwell, Zen 3), where pairs of products saturate.
extern const Target kOrtCpuNoVnni;
/// The same on ARM, whose kernels read s8 as well as u8: onnxruntime leaves s8 as it is there
/// (session.qdqisint8allowed). Not weighed: no times were measured.
extern const Target kOrtArm64;
/// onnxruntime on phones: what its CPU provider on ARM and the NNAPI provider both run on integers.
/// NNAPI wants the results of layers quantized, and one scale per channel of s8 weights alone.
/// Source: providers/nnapi/nnapi_builtin/builders, and its documentation.
extern const Target kOrtMobile;
/// onnxruntime's CUDA provider: no integer kernels besides MatMulNBits and GatherBlockQuantized.
extern const Target kOrtCuda;
/// TensorRT. Source: its developer guide, working with quantized types and explicit quantization.
extern const Target kTensorRt;
/// OpenVINO's plugins for CPU and GPU. Source: its developer guide, low precision transformations.
extern const Target kOpenVino;
/// Qualcomm's HTP, by onnxruntime's QNN provider. Source: the provider's documentation, and
/// get_qnn_qdq_config of onnxruntime's tools.
extern const Target kQnn;
/// No runtime in particular: what the standard has QLinear operators for, and what surrounds them.
extern const Target kPortable;

/// nullptr when the target never fuses the operator.
const TargetOp* find_target_op(const Target& target, const Node& node);
/// Whether the standard or the runtime has operators of its own for some of what it runs on
/// integers.
bool has_integer_operators(const Target& target);
/// nullptr when there is none of that name.
const Target* find_target(std::string_view name);
std::span<const Target* const> all_targets();

}  // namespace onnxtool
