// Operator configs: what a reduced build of ONNX Runtime must contain to run given models.
//
// Format and which types are tracked: onnxruntime 1.31.1, tools/ort_format_model and
// docs/Reduced_Operator_Kernel_build.md.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Collects models, then writes one config for all of them.
class OperatorConfig {
 public:
  /// With types: required_operators_and_types.config, which a build with reduced types reads.
  explicit OperatorConfig(bool with_types) : with_types_(with_types) {}

  /// Takes what the model's nodes use, at all levels. Nodes must be as in a .ort file
  /// (prepare_operators() of prepare.h); Constant nodes count for nothing, since they are stored as
  /// initializers. `path` stands in a comment. An operator that the runtime does not have or cannot
  /// run on the CPU is an error with the node, and so is a type that a config has no name for.
  Status add(const Model& model, const std::string& path);

  /// An operator that fusions at load make, which no node is yet.
  void add_operator(const std::string& domain, int since_version, const std::string& op_type);

  /// Sorted; paths too.
  std::string text() const;

 private:
  using Operator = std::pair<std::string, std::string>;  // domain ("ai.onnx"), op_type
  /// Of one operator, over all models and versions; keys are argument positions.
  struct Types {
    std::map<int, std::set<std::string>> inputs, outputs;
    std::set<std::vector<std::string>> custom;
  };
  Status add_graph(const Graph& graph);
  Status add_types(const Node& node, Types& types);
  std::string format_types(const Operator& op) const;

  bool with_types_;
  std::set<std::string> paths_;
  std::map<std::pair<std::string, int>, std::set<std::string>>
      operators_;  // domain and since_version
  std::map<Operator, Types> types_;
};

}  // namespace onnxtool
