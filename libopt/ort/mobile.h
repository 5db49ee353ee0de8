// Whether the execution providers of phones are worth a try for a model: NNAPI, CoreML and XNNPACK.
//
// An estimate from operators and shapes alone, by the rules of onnxruntime's own usability checker,
// whose counts it gives; tables and their source: mobile_ops.def. XNNPACK, which that tool leaves
// out, runs on the CPU: moving between it and the CPU provider costs nothing, so the number of
// partitions does not count there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/ort/partition.h"

namespace onnxtool {

enum class MobileVerdict : uint8_t { kNo, kMaybe, kYes };
std::string_view name(MobileVerdict verdict);  // "no", "maybe", "yes"

/// Why a provider leaves a node to the CPU.
enum class MobileObstacle : uint8_t { kOperator, kVersion, kDynamicShape, kRank, kStopped };
std::string_view describe(MobileObstacle obstacle);

/// What a provider would take of a model.
struct MobilePartitions {
  Partition partition;
  /// Nodes by operator ("ai.onnx.Conv") and reason; a node with several counts for each.
  std::map<std::pair<std::string, MobileObstacle>, int> obstacles;
  /// Operators among the supported whose table entry has a condition that is not checked.
  std::map<std::string, std::string> conditions;
  MobileVerdict verdict = MobileVerdict::kNo;
};

struct MobileUsability {
  std::string_view provider;  // "NNAPI"
  MobilePartitions as_is;
  /// With the shapes of all inputs fixed; only where the model has dynamic inputs and is no clear
  /// yes as it is.
  std::optional<MobilePartitions> if_fixed;
  MobileVerdict best() const {
    return if_fixed && if_fixed->verdict > as_is.verdict ? if_fixed->verdict : as_is.verdict;
  }
};

/// The runtime's own default for NNAPI.
inline const std::set<std::string> kNnapiStopOps = {"NonMaxSuppression"};

/// For a model whose types are inferred and whose functions are expanded. NNAPI gets none of the
/// nodes of `nnapi_stop_ops` (operator types), and nothing behind them.
std::vector<MobileUsability> check_mobile(
    const Model& model, const std::set<std::string>& nnapi_stop_ops = kNnapiStopOps);

/// "nnapi", "coreml-network", "coreml-program", "xnnpack".
std::vector<std::string_view> mobile_providers();
/// One of them; nullopt where there is none of that name. The nodes and values are the model's.
std::optional<MobilePartitions> partition_for(
    const Model& model, std::string_view provider,
    const std::set<std::string>& nnapi_stop_ops = kNnapiStopOps);

/// Names of graph inputs that are no tensors of fixed shape.
std::vector<std::string> dynamic_inputs(const Model& model);

}  // namespace onnxtool
