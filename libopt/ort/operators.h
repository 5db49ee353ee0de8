// What the format stores of the operators that a model uses.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "libopt/ir/graph.h"
#include "libopt/ort/since_version.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// An operator that the runtime only knows when its library is registered.
struct OrtCustomOperator {
  std::string domain, op_type;
  int since_version = 1;
};

/// One operator at one version.
struct OrtOperator {
  struct TypeArgs {
    std::string name;
    std::vector<int> inputs, outputs;
  };
  std::string id;  // domain:op_type:since_version
  int since_version = 0;
  int formal_inputs = 0;  // custom operators: of the largest node
  std::vector<TypeArgs> types;
  std::vector<Attribute> defaults;
};

/// The operators of a model and its subgraphs, by domain and name: the opset decides the version.
class OrtOperators {
 public:
  /// An operator that nobody knows is an error.
  static Result<OrtOperators> of(const Model& model, std::span<const OrtCustomOperator> custom);

  const OrtOperator& find(const Node& node) const;
  /// Adds one that no node of the model has, of com.microsoft.
  void add(std::string_view domain, std::string_view op_type, int64_t opset);
  /// In the order of their ids.
  std::vector<const OrtOperator*> all() const;

 private:
  Status add_graph(const Graph& graph, std::span<const OrtCustomOperator> custom);
  std::map<std::pair<std::string, std::string>, OrtOperator> operators_;
};

/// Inputs that each formal parameter takes: the last takes what is left.
std::vector<int32_t> ort_input_counts(const OrtOperator& op, int num_inputs);

}  // namespace onnxtool
