#include "quant/deduplicate.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "libopt/analysis/effects.h"
#include "libopt/io/encode.h"
#include "libopt/rewrite/rewriter.h"

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

// Equal keys mean equal results; empty: the node stays.
std::string key_of(const Node& node) {
  bool plain = !node.outputs().empty() && is_deterministic(node) && !may_have_effects(node);
  node.for_each_subgraph([&](Graph&) { plain = false; });
  for (const Value* v : node.outputs()) plain = plain && !(v && v->is_graph_output());
  if (!plain) return {};
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
      append(key, format_dims(t->dims()) + std::string(name(t->dtype())));
      append(key, text_of(t->bytes()));
    } else {
      append(key, "v" + std::to_string(v->id()) + (&v->graph() == &node.graph() ? "" : v->name()));
    }
  }
  // Which outputs are there matters to some operators.
  for (const Value* v : node.outputs()) key += v ? 'o' : '.';
  return key;
}

}  // namespace

int deduplicate_nodes(Graph& graph) {
  std::unordered_map<std::string, Node*> first;
  int count = 0;
  for (Node& node : graph.nodes()) {
    std::string key = key_of(node);
    if (key.empty()) continue;
    const auto [it, fresh] = first.emplace(std::move(key), &node);
    if (fresh) continue;
    Rewriter rw(graph);
    for (int i = 0; i < node.num_outputs(); ++i)
      if (node.has_output(i)) rw.replace_uses(node.output(i), it->second->output(i));
    rw.remove(node);
    ++count;
  }
  return count;
}

}  // namespace onnxtool
