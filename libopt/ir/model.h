// A model: its main graph, functions and header fields.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

struct OpsetImport {
  std::string domain;  // "" is ai.onnx
  int64_t version = 0;
};

/// A FunctionProto: a named body that nodes of its domain and name expand to.
struct Function {
  std::string name, domain, overload, doc;
  // Declared before whatever may hold subgraphs that read its values, so that it dies after them.
  std::unique_ptr<Graph> body;          // its inputs and outputs are the function's
  std::vector<std::string> attributes;  // without default
  std::vector<Attribute> attribute_defaults;
  std::vector<OpsetImport> opsets;
  Properties metadata;
  std::string unknown_fields;
};

class Model {
 public:
  Model() : graph_(std::make_unique<Graph>(this, nullptr)) {}
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  Graph& graph() const { return *graph_; }
  /// The imported version of a domain; 0: not imported. "ai.onnx" is read as "".
  int opset(std::string_view domain) const;
  /// Adds or changes an import.
  void set_opset(std::string_view domain, int64_t version);
  /// A deep copy of graphs and header fields; tensors share their bytes.
  std::unique_ptr<Model> clone() const;

  int64_t ir_version = 0;
  int64_t model_version = 0;
  std::string producer_name, producer_version, domain, doc;
  std::vector<OpsetImport> opsets;
  Properties metadata;
  std::vector<Function> functions;
  std::vector<std::string> opaque_fields;  // training_info and the like, verbatim
  std::string unknown_fields;
  bool had_external_data = false;
  /// Names that several Constant nodes of the file define; the last definition was kept. The
  /// standard forbids it, runtimes load it.
  std::vector<std::string> overridden_constants;

 private:
  std::unique_ptr<Graph> graph_;
};

}  // namespace onnxtool
