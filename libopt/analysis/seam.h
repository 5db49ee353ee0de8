// The onnx library, per node. Nothing else in the tree includes onnx's headers or protobuf.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// What the standard says of an operator at an opset version.
struct OperatorSchema {
  int since_version = 0;
  int min_inputs = 0, max_inputs = 0;  // max: INT_MAX where variadic
  int min_outputs = 0, max_outputs = 0;
  bool deprecated = false;
  bool deterministic = true;  // false for the Random* family
  bool is_function = false;
};

/// nullptr when the standard (or our table of com.microsoft) has none.
std::unique_ptr<OperatorSchema> find_schema(std::string_view op_type, std::string_view domain,
                                            int opset);

/// Infers the types of a node's outputs from its inputs' types and constants, merging into what is
/// declared (a declared extent is kept where inference knows none). Subgraphs are inferred with it.
/// An error is the node's: types that contradict the operator.
Status infer_node(Node& node);
/// All nodes in order. Nodes of unknown operators leave their outputs as declared.
Status infer_graph(Graph& graph);

/// A node whose types contradict its operator or what is declared. Not `certain`: an operator that
/// nobody knows stands before it in its graph.
using TypeFault = std::function<void(const Node& node, const Error& error, bool certain)>;
/// Infers as onnx's own full check does, so that the same models fail: nothing is computed ahead
/// but what constants say, a declared extent of 0 means 0, and calls fail where the function's body
/// does. Goes on behind every fault.
void infer_strictly(Graph& graph, const TypeFault& fault);

/// infer_graph() on a main graph, with a name of its own for every extent that is unknown and has
/// none, so that it can be followed to where a shape is computed from it. For rewriting: such names
/// must be gone (forget_invented_dims) before anybody else sees the model.
Status infer_graph_naming_dims(Graph& graph);
void forget_invented_dims(Graph& graph);

/// The elements of an integer scalar or vector as far as they are known: numbers, named extents, or
/// neither. nullopt: not even their count is known.
std::optional<std::vector<Dim>> symbolic_elements(const Value& value);

/// The elements of an integer scalar or vector where they follow from constants and known dims
/// alone (the shapes that a Reshape is given), although some node computes them.
std::optional<std::vector<int64_t>> known_elements(const Value& value);

/// Everything that onnx's checker says of one node: unknown operator, wrong counts, missing
/// attributes.
Status check_node(const Node& node);

/// ONNX's text form, as onnx.parser reads it.
Result<std::unique_ptr<Model>> parse_text(const std::string& text);
/// The text form of a (small) model, for messages and tests.
std::string print_text(const Model& model);

}  // namespace onnxtool
