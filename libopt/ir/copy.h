// Copying models and parts of them; tensors share their bytes.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

class Model;

/// Copies nodes (with their subgraphs) and initializers of `from` into `to`, before `anchor`, under
/// fresh names of values; `inputs`, one for each of from's, are read instead of them. What `from`
/// reads of graphs around it is read as it is, so `to` must be `from`'s parent or one of its kind.
/// Names of extents are forgotten until types are inferred again. Returns what stands for from's
/// outputs.
std::vector<Value*> copy_into(const Graph& from, Graph& to, Node* anchor,
                              const std::vector<Value*>& inputs = {});

/// Values of the original to values of the copy; nullptr where the copy has none. Values that are
/// not in it belong to graphs outside of what is copied and stay what they are.
using ValueMap = std::unordered_map<const Value*, Value*>;

/// Into `to`, which is empty; adds its values to the map.
void copy_graph(const Graph& from, Graph& to, ValueMap& map);
/// For a node of `owner`: graphs in it become subgraphs of that.
Attribute copy_attribute(const Attribute& attribute, Graph& owner, ValueMap& map);
/// Before `anchor`, or at the end of `to`; reads and makes what the map says.
void copy_node(const Node& node, Graph& to, Node* anchor, ValueMap& map);
/// Type, initializer, documentation: all but the name.
void copy_facts(const Value& from, Graph& to, Value& copy);

/// A model of the same header fields, without nodes or functions.
std::unique_ptr<Model> copy_header(const Model& from);
void copy_functions(const Model& from, Model& to, ValueMap& map);

}  // namespace onnxtool
