// Findings about names: scopes, single assignment, order, inputs and outputs.
#include <algorithm>

#include "libopt/check/family.h"
#include "libopt/ir/operator_name.h"

namespace onnxtool::check {
namespace {

using outline::Graph;
using outline::Node;
using outline::Type;
using outline::ValueInfo;

// The names that can be read at a place in a graph.
struct Scope {
  const Scope* outer = nullptr;
  std::unordered_set<std::string_view> names;
  bool has(std::string_view name) const { return names.contains(name); }
  bool sees(std::string_view name) const {
    for (const Scope* s = this; s; s = s->outer)
      if (s->has(name)) return true;
    return false;
  }
};

// Names that nodes of this graph and of those around it make, wherever they stand.
struct Makers {
  const Makers* outer = nullptr;
  std::unordered_map<std::string_view, size_t> of_node;
  bool know(std::string_view name) const {
    for (const Makers* m = this; m; m = m->outer)
      if (m->of_node.contains(name)) return true;
    return false;
  }
};

Makers makers_of(const std::vector<Node>& nodes, const Makers* outer) {
  Makers m{outer, {}};
  for (size_t i = 0; i < nodes.size(); ++i)
    for (const std::string_view name : nodes[i].outputs)
      if (!name.empty()) m.of_node.emplace(name, i);
  return m;
}

void collect_reads(const Node& node, std::vector<std::string_view>& out) {
  out.insert(out.end(), node.inputs.begin(), node.inputs.end());
  for (const outline::Attribute& a : node.attributes)
    for (const auto& g : a.graphs) {
      for (const Node& n : g->nodes) collect_reads(n, out);
      for (const ValueInfo& v : g->outputs) out.push_back(v.name);
    }
}

// Nodes that lie on a circle of reads, or between two circles.
std::vector<bool> on_cycles(const std::vector<Node>& nodes, const Makers& makers) {
  std::vector<std::vector<size_t>> readers(nodes.size()), sources(nodes.size());
  std::vector<std::string_view> reads;
  for (size_t i = 0; i < nodes.size(); ++i) {
    reads.clear();
    collect_reads(nodes[i], reads);
    for (const std::string_view name : reads)
      if (const auto m = makers.of_node.find(name); m != makers.of_node.end()) {
        sources[i].push_back(m->second);
        readers[m->second].push_back(i);
      }
  }
  std::vector<bool> left(nodes.size(), true);
  // Takes away what needs nothing that is left, over and over.
  const auto trim = [&](const auto& needs, const auto& frees) {
    std::vector<size_t> open(nodes.size(), 0), ready;
    for (size_t i = 0; i < nodes.size(); ++i) {
      open[i] =
          static_cast<size_t>(std::ranges::count_if(needs[i], [&](size_t j) { return left[j]; }));
      if (left[i] && open[i] == 0) ready.push_back(i);
    }
    while (!ready.empty()) {
      const size_t i = ready.back();
      ready.pop_back();
      left[i] = false;
      for (const size_t j : frees[i])
        if (left[j] && --open[j] == 0) ready.push_back(j);
    }
  };
  trim(sources, readers);
  trim(readers, sources);
  return left;
}

class GraphChecker {
 public:
  GraphChecker(const OutlineView& view, Findings& out)
      : view_(view), out_(out), ir_(view.model.ir_version.value_or(0)) {}

  void graph(const Graph& g, const Scope* outer, const Makers* outer_makers,
             const std::string& place, const OpsetMap& opsets) {
    const bool main = place.empty();
    if (g.name.empty())
      out_.add(RuleId::kMissingName, place,
               main ? "the graph has no name" : "a subgraph has no name", g.offset);
    for (const ValueInfo& v : g.inputs) value_info(v, "input", main, place);
    for (const ValueInfo& v : g.outputs) value_info(v, "output", main, place);
    Scope scope{outer, {}};
    for (const ValueInfo& v : g.inputs)
      if (!v.name.empty() && !scope.names.insert(v.name).second)
        out_.add(RuleId::kDuplicateName, place,
                 "graph input '" + std::string(v.name) + "' is listed twice", v.offset);
    initializers(g, scope, place);
    nodes(g.nodes, scope, outer_makers, opsets, main);
    for (const ValueInfo& v : g.outputs)
      if (!v.name.empty() && !scope.has(v.name))
        out_.add(RuleId::kUnknownOutput, place,
                 "graph output '" + std::string(v.name) + "' is made by nothing in its graph",
                 v.offset);
  }

  void function(const outline::Function& f, const OpsetMap& opsets, const std::string& place) {
    Scope scope;
    for (const std::string_view name : f.inputs)
      if (!scope.names.insert(name).second)
        out_.add(RuleId::kDuplicateName, place,
                 "function input '" + std::string(name) + "' is listed twice", f.offset);
    inside_ = " of " + place;
    nodes(f.nodes, scope, nullptr, opsets, true);
    inside_.clear();
    for (const std::string_view name : f.outputs)
      if (!scope.has(name))
        out_.add(RuleId::kUnknownOutput, place,
                 "function output '" + std::string(name) + "' is made by no node", f.offset);
  }

 private:
  void value_info(const ValueInfo& v, const std::string& what, bool main,
                  const std::string& place) {
    if (v.name.empty())
      return out_.add(RuleId::kMissingName, place, "a graph " + what + " has no name", v.offset);
    if (!main) return;  // types of subgraphs' inputs and outputs come from the node
    const auto missing = [&](const std::string& which) {
      out_.add(RuleId::kMissingType, place,
               "graph " + what + " '" + std::string(v.name) + "' has no " + which, v.offset);
    };
    if (!v.type || v.type->kind == Type::Case::kNone) return missing("type");
    const Type& t = *v.type;
    switch (t.kind) {
      case Type::Case::kTensor:
      case Type::Case::kSparseTensor:
        if (!t.has_element) missing("element type");
        if (!t.has_shape) missing("shape");
        break;
      case Type::Case::kMap:
        if (!t.has_key) missing("key type");
        if (!t.has_element) missing("value type");
        break;
      case Type::Case::kOpaque:
        if (!t.has_name) missing("type name");
        break;
      default:
        if (!t.has_element) missing("element type");
    }
  }

  void initializers(const Graph& g, Scope& scope, const std::string& place) {
    std::unordered_set<std::string_view> seen;
    const auto one = [&](std::string_view name, uint64_t offset, bool sparse) {
      if (name.empty())
        return out_.add(RuleId::kMissingName, place, "an initializer has no name", offset);
      if (!seen.insert(name).second)
        return out_.add(RuleId::kDuplicateName, place,
                        "initializer '" + std::string(name) + "' is given twice", offset);
      if (ir_ <= 3 && !sparse && !scope.has(name))
        out_.add(RuleId::kInitializerNotInput, place,
                 "initializer '" + std::string(name) + "' is not among the graph inputs", offset);
      scope.names.insert(name);
    };
    for (const outline::Tensor& t : g.initializers) one(t.name, t.offset, false);
    for (const outline::SparseTensor& s : g.sparse_initializers)
      one(s.values ? s.values->name : std::string_view(), s.offset, true);
    declared_types(g, place);
  }

  // What is declared of an initializer must be what is stored.
  void declared_types(const Graph& g, const std::string& place) {
    std::unordered_map<std::string_view, const Type*> declared;
    for (const auto* list : {&g.value_info, &g.inputs, &g.outputs})
      for (const ValueInfo& v : *list)
        if (v.type && v.type->kind != Type::Case::kNone) declared[v.name] = &*v.type;
    for (const outline::Tensor& t : g.initializers) {
      const auto found = declared.find(t.name);
      if (found == declared.end()) continue;
      const Type& d = *found->second;
      const auto differs = [&](const std::string& how) {
        out_.add(RuleId::kInitializerType, place,
                 "initializer '" + std::string(t.name) + "' " + how, t.offset);
      };
      if (d.kind != Type::Case::kTensor) {
        differs("is a tensor, but is declared as another kind of value");
      } else if (d.element != 0 && t.data_type && d.element != *t.data_type) {
        differs("holds " + type_name(*t.data_type) + ", but is declared as " +
                type_name(d.element));
      } else if (d.has_shape && d.extents.size() != t.dims.size()) {
        differs("has rank " + std::to_string(t.dims.size()) + ", but is declared with rank " +
                std::to_string(d.extents.size()));
      } else if (d.has_shape) {
        for (size_t i = 0; i < t.dims.size(); ++i)
          if (d.extents[i] && *d.extents[i] != t.dims[i]) {
            differs("has extent " + std::to_string(t.dims[i]) + " in dimension " +
                    std::to_string(i) + ", but is declared with " + std::to_string(*d.extents[i]));
            break;
          }
      }
    }
  }

  static std::string type_name(int64_t type) {
    return std::string(name(static_cast<DataType>(type)));
  }

  void nodes(const std::vector<Node>& all, Scope& scope, const Makers* outer_makers,
             const OpsetMap& opsets, bool main) {
    const Makers makers = makers_of(all, outer_makers);
    std::vector<bool> circle;  // looked for when something is out of order
    bool circle_told = false;
    for (size_t i = 0; i < all.size(); ++i) {
      const Node& n = all[i];
      const std::string place = describe(n, i) + inside_;
      for (const std::string_view in : n.inputs) {
        if (in.empty() || scope.sees(in)) continue;
        if (!makers.know(in)) {
          out_.add(RuleId::kUnknownInput, place,
                   "input '" + std::string(in) + "' is defined nowhere", n.offset);
          continue;
        }
        if (circle.empty()) circle = on_cycles(all, makers);
        const auto maker = makers.of_node.find(in);
        if (maker != makers.of_node.end() && circle[i] && circle[maker->second]) {
          if (!circle_told) tell_circle(all, circle);
          circle_told = true;
        } else {
          out_.add(RuleId::kUnsorted, place,
                   "input '" + std::string(in) + "' is made by a later node", n.offset);
        }
      }
      check_node(view_, n, place, opsets, main, out_);
      for (const outline::Attribute& a : n.attributes)
        for (const auto& g : a.graphs)
          graph(*g, &scope, &makers, place + ": " + std::string(a.name), opsets);
      for (const std::string_view name : n.outputs) {
        if (name.empty()) continue;
        if (scope.sees(name))
          out_.add(RuleId::kDuplicateName, place,
                   "output '" + std::string(name) + "' is defined already", n.offset);
        scope.names.insert(name);
      }
    }
  }

  void tell_circle(const std::vector<Node>& all, const std::vector<bool>& circle) {
    constexpr size_t kShown = 5;
    size_t count = 0, first = all.size();
    std::string list;
    for (size_t i = 0; i < all.size(); ++i) {
      if (!circle[i]) continue;
      first = std::min(first, i);
      if (count++ < kShown) list += (list.empty() ? "" : ", ") + describe(all[i], i);
    }
    if (count > kShown) list += " and " + std::to_string(count - kShown) + " more";
    out_.add(RuleId::kCycle, describe(all[first], first) + inside_,
             "these nodes wait for each other: " + list, all[first].offset);
  }

  const OutlineView& view_;
  Findings& out_;
  int64_t ir_;
  std::string inside_;  // of which function, behind a node's place
};

OpsetMap opsets_of(const outline::Function& f) {
  OpsetMap map;
  for (const outline::OpsetImport& o : f.opsets) map[o.domain] = o.version;
  return map;
}

}  // namespace

std::string describe(const Node& node, size_t index) {
  return (node.name.empty() ? "node #" + std::to_string(index)
                            : "node '" + std::string(node.name) + "'") +
         " (" + operator_name(node.op_type, node.domain) + ")";
}

void check_graphs(const OutlineView& view, Findings& out) {
  GraphChecker checker(view, out);
  if (view.model.graph) checker.graph(*view.model.graph, nullptr, nullptr, "", view.opsets);
  // Before IR 8 there were no functions.
  if (view.model.ir_version.value_or(0) < 8) return;
  for (const outline::Function& f : view.model.functions)
    checker.function(f, opsets_of(f),
                     "function '" + std::string(f.domain) + "." + std::string(f.name) + "'");
}

}  // namespace onnxtool::check
