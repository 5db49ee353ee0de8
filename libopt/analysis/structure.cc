#include "libopt/analysis/structure.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "libopt/io/encode.h"

namespace onnxtool {
namespace {

// Pairs values of the two models, from outputs back to inputs, and stops at the first pair that
// cannot be the same.
class Comparison {
 public:
  bool models(const Model& a, const Model& b) {
    if (a.ir_version != b.ir_version)
      return differs("ir_version: " + std::to_string(a.ir_version) + " and " +
                     std::to_string(b.ir_version));
    if (!same_opsets(a.opsets, b.opsets)) return differs("opset imports differ");
    if (a.functions.size() != b.functions.size()) return differs("numbers of functions differ");
    for (size_t i = 0; i < a.functions.size(); ++i)
      if (!functions(a.functions[i], b.functions[i])) return false;
    return graphs(a.graph(), b.graph(), /*named=*/true);
  }
  std::string what;

 private:
  bool differs(std::string difference) {
    what = std::move(difference);
    return false;
  }

  static bool same_opsets(std::vector<OpsetImport> a, std::vector<OpsetImport> b) {
    const auto sort = [](std::vector<OpsetImport>& list) {
      std::ranges::sort(list, {}, &OpsetImport::domain);
    };
    sort(a), sort(b);
    return std::ranges::equal(a, b, [](const auto& x, const auto& y) {
      return x.domain == y.domain && x.version == y.version;
    });
  }

  bool functions(const Function& a, const Function& b) {
    const std::string place = "function '" + a.domain + "." + a.name + "'";
    if (a.name != b.name || a.domain != b.domain || a.overload != b.overload ||
        a.attributes != b.attributes || !same_opsets(a.opsets, b.opsets))
      return differs(place + " and function '" + b.domain + "." + b.name + "' differ");
    if (a.attribute_defaults.size() != b.attribute_defaults.size())
      return differs(place + ": attribute defaults differ");
    for (size_t i = 0; i < a.attribute_defaults.size(); ++i)
      if (!attributes(a.attribute_defaults[i], b.attribute_defaults[i], place)) return false;
    return graphs(*a.body, *b.body, /*named=*/false);
  }

  bool graphs(const Graph& a, const Graph& b, bool named) {
    const std::string place = "graph '" + a.name + "'";
    if (a.inputs().size() != b.inputs().size())
      return differs(place + ": numbers of inputs differ");
    if (a.outputs().size() != b.outputs().size())
      return differs(place + ": numbers of outputs differ");
    for (size_t i = 0; i < a.inputs().size(); ++i) {
      const Value &x = *a.inputs()[i], &y = *b.inputs()[i];
      if (named && !same_face(x, y)) return false;
      if (!constants(x.initializer(), y.initializer(), "input '" + x.name() + "'")) return false;
      if (!pair(x, y)) return false;
    }
    for (size_t i = 0; i < a.outputs().size(); ++i) {
      const Value &x = *a.outputs()[i], &y = *b.outputs()[i];
      if (named && !same_face(x, y)) return false;
      if (!pair(x, y)) return false;
    }
    if (!settle()) return false;
    // What no output needs is compared in the order of the files.
    if (a.num_nodes() != b.num_nodes())
      return differs(place + ": " + std::to_string(a.num_nodes()) + " nodes and " +
                     std::to_string(b.num_nodes()) + " nodes");
    std::vector<const Node*> rest;
    for (const Node& n : b.nodes())
      if (!node_b_to_a_.contains(&n)) rest.push_back(&n);
    size_t next = 0;
    for (const Node& n : a.nodes()) {
      if (node_a_to_b_.contains(&n)) continue;
      if (next == rest.size()) return differs(n.describe() + " has no counterpart");
      if (!nodes(n, *rest[next++]) || !settle()) return false;
    }
    return true;
  }

  bool same_face(const Value& a, const Value& b) {
    if (a.name() != b.name())
      return differs("'" + a.name() + "' and '" + b.name() + "' differ in name");
    if (format_type(a.type()) != format_type(b.type()))
      return differs("'" + a.name() + "' is " + format_type(a.type()) + " and " +
                     format_type(b.type()));
    return true;
  }

  bool pair(const Value& a, const Value& b) {
    const auto [there, new_a] = a_to_b_.emplace(&a, &b);
    const auto [back, new_b] = b_to_a_.emplace(&b, &a);
    if (there->second != &b || back->second != &a)
      return differs("'" + a.name() + "' stands for '" + there->second->name() +
                     "', but also for '" + b.name() + "'");
    if (new_a) open_.emplace_back(&a, &b);
    return true;
  }

  // Follows open pairs to their producers; a list, since graphs may be 10^6 nodes deep.
  bool settle() {
    while (!open_.empty()) {
      const auto [a, b] = open_.back();
      open_.pop_back();
      const std::string place = "'" + a->name() + "'";
      if (a->is_graph_input() || b->is_graph_input()) {
        // Inputs were paired by position before anything led here.
        if (!a->is_graph_input() || !b->is_graph_input())
          return differs(place + " and '" + b->name() + "': only one is a graph input");
        continue;
      }
      if (!a->producer() != !b->producer())
        return differs(place + " and '" + b->name() + "': only one is made by a node");
      if (!a->producer()) {
        if (!constants(a->initializer(), b->initializer(), place)) return false;
        continue;
      }
      if (a->producer_index() != b->producer_index())
        return differs(place + ": numbers of the output differ");
      if (!nodes(*a->producer(), *b->producer())) return false;
    }
    return true;
  }

  bool constants(const Tensor* a, const Tensor* b, const std::string& place) {
    if (!a && !b) return true;
    if (!a || !b) return differs(place + ": only one is constant");
    if (a->same_content(*b)) return true;
    std::string text = place + ": constants " + std::string(name(a->dtype())) +
                       format_dims(a->dims()) + " and " + std::string(name(b->dtype())) +
                       format_dims(b->dims());
    return differs(text + " differ");
  }

  bool nodes(const Node& a, const Node& b) {
    const auto [there, new_a] = node_a_to_b_.emplace(&a, &b);
    const auto [back, new_b] = node_b_to_a_.emplace(&b, &a);
    const std::string place = a.describe() + " and " + b.describe();
    if (there->second != &b || back->second != &a) return differs(place + " do not correspond");
    if (!new_a) return true;
    if (a.op_type() != b.op_type() || a.domain() != b.domain() || a.overload() != b.overload())
      return differs(place + " are different operators");
    if (a.attributes().size() != b.attributes().size())
      return differs(place + ": numbers of attributes differ");
    for (const Attribute& x : a.attributes()) {
      const Attribute* y = b.attribute(x.name);
      if (!y) return differs(place + ": only one has attribute '" + x.name + "'");
      if (!attributes(x, *y, place)) return false;
    }
    return values(a.inputs(), b.inputs(), place + ": inputs differ") &&
           values(a.outputs(), b.outputs(), place + ": outputs differ");
  }

  // Absent ones at the end say nothing.
  bool values(const std::vector<Value*>& a, const std::vector<Value*>& b,
              const std::string& difference) {
    for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
      const Value* x = i < a.size() ? a[i] : nullptr;
      const Value* y = i < b.size() ? b[i] : nullptr;
      if (!x != !y) return differs(difference);
      if (x && !pair(*x, *y)) return false;
    }
    return true;
  }

  bool attributes(const Attribute& a, const Attribute& b, const std::string& node) {
    const std::string place = node + ": attribute '" + a.name + "'";
    if (a.name != b.name || a.kind != b.kind || a.ref != b.ref ||
        a.value.index() != b.value.index())
      return differs(place + " differs in kind");
    if (const auto* t = a.get<NamedTensor>())
      return constants(&t->tensor, &b.get<NamedTensor>()->tensor, place);
    if (const auto* g = a.get<std::unique_ptr<Graph>>())
      return graphs(**g, **b.get<std::unique_ptr<Graph>>(), /*named=*/false);
    if (const auto* list = a.get<std::vector<NamedTensor>>()) {
      const auto& other = *b.get<std::vector<NamedTensor>>();
      if (list->size() != other.size()) return differs(place + " differs in length");
      for (size_t i = 0; i < list->size(); ++i)
        if (!constants(&(*list)[i].tensor, &other[i].tensor, place)) return false;
      return true;
    }
    if (const auto* list = a.get<std::vector<std::unique_ptr<Graph>>>()) {
      const auto& other = *b.get<std::vector<std::unique_ptr<Graph>>>();
      if (list->size() != other.size()) return differs(place + " differs in length");
      for (size_t i = 0; i < list->size(); ++i)
        if (!graphs(*(*list)[i], *other[i], /*named=*/false)) return false;
      return true;
    }
    // The rest is small, and its bytes are its value: floats bit by bit, types with their dims.
    Attribute x, y;
    copy_small(a, x), copy_small(b, y);
    if (encode_attribute(x).flatten() != encode_attribute(y).flatten())
      return differs(place + " differs");
    return true;
  }

  static void copy_small(const Attribute& from, Attribute& to) {
    to.kind = from.kind;
    std::visit(
        [&](const auto& v) {
          if constexpr (std::is_copy_assignable_v<std::decay_t<decltype(v)>> &&
                        !std::is_same_v<std::decay_t<decltype(v)>,
                                        std::vector<std::unique_ptr<Graph>>>)
            to.value = v;
        },
        from.value);
  }

  std::unordered_map<const Value*, const Value*> a_to_b_, b_to_a_;
  std::unordered_map<const Node*, const Node*> node_a_to_b_, node_b_to_a_;
  std::vector<std::pair<const Value*, const Value*>> open_;
};

}  // namespace

std::optional<std::string> structural_difference(const Model& a, const Model& b) {
  Comparison comparison;
  if (comparison.models(a, b)) return std::nullopt;
  return comparison.what;
}

}  // namespace onnxtool
