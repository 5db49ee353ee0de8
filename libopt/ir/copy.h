// Copying a part of a model into another graph; tensors share their bytes.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

class Model;

/// Copies nodes (with their subgraphs) and initializers of `from`, a graph without inputs, into
/// `to`, before `anchor`, under fresh names of values. What `from` reads of graphs around it is
/// read as it is, so `to` must be `from`'s parent or one of its kind. Returns what stands for
/// from's outputs.
std::vector<Value*> copy_into(const Graph& from, Graph& to, Node* anchor);

/// Values of the original to values of the copy; nullptr where the copy has none. Values that are
/// not in it belong to graphs outside of what is copied and stay what they are.
using ValueMap = std::unordered_map<const Value*, Value*>;

/// Into `to`, which is empty; adds its values to the map.
void copy_graph(const Graph& from, Graph& to, ValueMap& map);
/// For a node of `owner`: graphs in it become subgraphs of that.
Attribute copy_attribute(const Attribute& attribute, Graph& owner, ValueMap& map);

/// A model of its own for one value that a node of the main graph makes. It reads `inputs`, values
/// of the main graph, instead of computing them, as far as it needs them and computes nothing else
/// with their nodes; what it needs of the model's own inputs it reads too. Its inputs and its
/// output keep their names, the model's own inputs stand first.
std::unique_ptr<Model> extract(const Model& model, std::span<const Value* const> inputs,
                               const Value& output);

}  // namespace onnxtool
