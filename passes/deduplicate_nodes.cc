// Replaces every node that has the operator, attributes and inputs of an earlier one by that one.
//
//   a = Op<...>(x, y)    b = Op<...>(x, y)
//     =>
//   readers of b read a
//
// Small constants are equal by content, what Shape reads by its shape where all extents are known
// or named, all else by identity. Does not fire: nodes with subgraphs; random operators and such as
// may do more than compute; custom operators; two nodes that both make graph outputs, which keep
// their names.

#include "passes/deduplicate.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "libopt/analysis/effects.h"
#include "libopt/io/encode.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

// Axes, shapes and clip bounds are compared by content, weights by identity.
constexpr size_t kSmallConstant = 1024;

void append(std::string& key, std::string_view text) {
  key += std::to_string(text.size());
  key += ':';
  key += text;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Whether the node may stand for others, and be stood for.
bool is_plain(const Node& node) {
  bool plain = !node.outputs().empty() && is_deterministic(node) && !may_have_effects(node);
  node.for_each_subgraph([&](Graph&) { plain = false; });
  return plain;
}

// Every extent is a number or has a name: tensors with such shapes in common have the same Shape.
bool has_named_shape(const Value& v) {
  return v.type().is_tensor() && v.type().shape &&
         std::ranges::all_of(*v.type().shape,
                             [](const Dim& d) { return d.value || !d.symbol.empty(); });
}

// Ids are unique within a graph only. What a node reads stands in its own graph or in one around
// it.
std::string identity(const Value& v, const Graph& reader) {
  int levels = 0;
  for (const Graph* g = &reader; g && g != &v.graph(); g = g->parent()) ++levels;
  return std::to_string(v.id()) + '^' + std::to_string(levels);
}

// Equal keys mean equal results.
std::string key_of(const Node& node) {
  std::string key;
  for (const std::string_view part :
       {std::string_view(node.domain()), std::string_view(node.op_type()),
        std::string_view(node.overload())})
    append(key, part);
  std::map<std::string_view, const Attribute*> attributes;
  for (const Attribute& a : node.attributes()) attributes[a.name] = &a;
  for (const auto& [name, a] : attributes) append(key, encode_attribute(*a).flatten());
  key += '|';
  for (const Value* v : node.inputs()) {
    const Tensor* t = v ? v->constant() : nullptr;
    if (!v) {
      key += '-';
    } else if (t && t->dtype() != DataType::kString && t->size_bytes() <= kSmallConstant) {
      key += 'c';
      append(key, format_dims(t->dims()) + std::string(name(t->dtype())));
      append(key, text_of(t->bytes()));
    } else if (node.is("Shape") && has_named_shape(*v)) {
      // Of whatever type.
      key += 's';
      for (const Dim& d : *v->type().shape)
        append(key, d.value ? '=' + std::to_string(*d.value) : '?' + d.symbol);
      key += ';';
    } else {
      key += 'v';
      append(key, identity(*v, node.graph()));
    }
  }
  // Which outputs are there matters to some operators.
  for (const Value* v : node.outputs()) key += v ? 'o' : '.';
  return key;
}

bool makes_graph_output(const Node& node) {
  return std::ranges::any_of(node.outputs(),
                             [](const Value* v) { return v && v->is_graph_output(); });
}

void run_graph(Graph& graph, const PassContext&,
               const std::function<bool(const std::string&)>& may_rewrite) {
  std::unordered_map<std::string, Node*> first;
  for (Node& node : graph.nodes()) {
    if (node.is("Constant") || !is_plain(node)) continue;
    const auto [it, fresh] = first.emplace(key_of(node), &node);
    // One value cannot be two outputs; one of the two may be.
    if (fresh || (makes_graph_output(node) && makes_graph_output(*it->second))) continue;
    if (!may_rewrite(node.describe())) return;
    Rewriter rw(graph);
    for (int i = 0; i < node.num_outputs(); ++i)
      if (node.has_output(i)) rw.replace_uses(node.output(i), it->second->output(i));
    rw.remove(node);
    rw.sweep();
  }
}

}  // namespace

int deduplicate_nodes(Graph& graph) {
  int count = 0;
  run_graph(graph, PassContext(), [&](const std::string&) { return ++count > 0; });
  return count;
}

constinit const PassInfo kDeduplicateNodes{
    .name = "deduplicate-nodes",
    .summary = "compute what several nodes compute alike only once",
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run_graph = run_graph};
}  // namespace onnxtool
