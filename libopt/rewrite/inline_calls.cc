#include "libopt/rewrite/inline_calls.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <vector>

#include "libopt/analysis/functions.h"
#include "libopt/analysis/seam.h"
#include "libopt/ir/copy.h"
#include "libopt/ir/walk.h"

namespace onnxtool {
namespace {

// A file may nest calls deeper than any exporter does.
constexpr size_t kMaxDepth = 64;

// The node and those of its subgraphs.
size_t nodes_of(const Node& node) {
  size_t count = 1;
  node.for_each_subgraph([&](const Graph& g) {
    for (const Node& n : g.nodes()) count += nodes_of(n);
  });
  return count;
}

class Inliner {
 public:
  explicit Inliner(const std::function<bool(const Node&)>& expand) : expand_(expand) {}

  Status inline_in(Graph& graph) {
    std::vector<Node*> nodes;  // before bodies come in
    for (Node& n : graph.nodes()) nodes.push_back(&n);
    for (Node* n : nodes) ONNXTOOL_TRY(inline_in(*n));
    return {};
  }

 private:
  Status inline_in(Node& node) {
    if (const Function* f = called_function(node)) return replace(node, *f);
    if (expand_(node)) {
      ONNXTOOL_ASSIGN(const std::unique_ptr<Model> standard, standard_function(node));
      if (standard) return replace(node, standard->functions.front());
    }
    Status status;
    node.for_each_subgraph([&](Graph& g) {
      if (status.ok()) status = inline_in(g);
    });
    return status;
  }

  Status replace(Node& call, const Function& f) {
    if (std::find(open_.begin(), open_.end(), &f) != open_.end())
      return Error{
          ErrorCode::kBadModel, call.describe() + ": function '" + f.name + "' calls itself", {}};
    if (open_.size() >= kMaxDepth)
      return Error{ErrorCode::kLimit,
                   call.describe() + ": functions call one another more than " +
                       std::to_string(kMaxDepth) + " deep",
                   {}};
    if (static_cast<size_t>(call.num_inputs()) > f.body->inputs().size() ||
        static_cast<size_t>(call.num_outputs()) > f.body->outputs().size())
      return Error{ErrorCode::kBadModel,
                   call.describe() + ": has more inputs or outputs than function '" + f.name + "'",
                   {}};
    ONNXTOOL_TRY(match_opsets(call, f));
    open_.push_back(&f);
    ONNXTOOL_TRY(insert_body(call, f));
    open_.pop_back();
    return {};
  }

  // The copies belong to a model whose imports decide what they mean.
  Status match_opsets(const Node& call, const Function& f) {
    Model& model = call.graph().model();
    for (const OpsetImport& o : f.opsets)
      if (model.opset(o.domain) == 0) model.set_opset(o.domain, o.version);
    Status status;
    const std::function<void(const Graph&)> check = [&](const Graph& body) {
      for (const Node& n : body.nodes()) {
        const int there = model.opset(n.domain());
        int here = there;
        for (const OpsetImport& o : f.opsets)
          if (o.domain == n.domain() || (n.domain().empty() && o.domain == "ai.onnx"))
            here = static_cast<int>(o.version);
        const auto a = find_schema(n.op_type(), n.domain(), here),
                   b = find_schema(n.op_type(), n.domain(), there);
        if (a && b && a->since_version != b->since_version && status.ok())
          status = Error{ErrorCode::kUnsupported,
                         call.describe() + ": function '" + f.name + "' has " + n.op_type() +
                             " of opset " + std::to_string(here) +
                             ", which is another in the model's opset " + std::to_string(there),
                         {}};
        n.for_each_subgraph([&](Graph& g) { check(g); });
      }
    };
    check(*f.body);
    return status;
  }

  Status insert_body(Node& call, const Function& f) {
    Graph& graph = call.graph();
    const Graph& body = *f.body;
    ValueMap map;
    for (size_t i = 0; i < body.inputs().size(); ++i)
      map[body.inputs()[i]] =
          call.has_input(static_cast<int>(i)) ? &call.input(static_cast<int>(i)) : nullptr;
    // The call's results are made by the body's nodes, or where the body gives an input on or one
    // result twice, by an Identity.
    std::vector<std::pair<const Value*, Value*>> given_on;
    for (size_t i = 0; i < body.outputs().size(); ++i) {
      const int o = static_cast<int>(i);
      if (!call.has_output(o)) continue;
      Value& result = call.output(o);
      graph.set_output_value(call, o, nullptr);
      const Value* made = body.outputs()[i];
      if (!made->producer() || &made->graph() != &body || !map.emplace(made, &result).second)
        given_on.emplace_back(made, &result);
    }
    for (Value* v : body.values())
      if (!map.contains(v)) {
        Value& copy = graph.add_value("", v->name());
        if (v->initializer()) graph.set_initializer(copy, *v->initializer());
        map[v] = &copy;
      }
    for (const Node& n : body.nodes()) ONNXTOOL_TRY(insert_node(n, call, f, map));
    for (const auto& [made, result] : given_on) {
      const auto it = map.find(made);
      if (it == map.end() || !it->second)
        return Error{
            ErrorCode::kBadModel,
            call.describe() + ": function '" + f.name + "' gives on an input that is absent",
            {}};
      graph.add_node("Identity", "", "", {it->second}, {result}, {}, &call);
    }
    graph.remove_node(call);
    return {};
  }

  Status insert_node(const Node& n, Node& call, const Function& f, ValueMap& map) {
    // Counted before they are copied.
    inserted_ += nodes_of(n);
    if (inserted_ > kMaxExpandedNodes)
      return Error{ErrorCode::kLimit,
                   "the model's functions expand to more than " +
                       std::to_string(kMaxExpandedNodes) + " nodes",
                   {}};
    const auto mapped = [&](const std::vector<Value*>& values) {
      std::vector<Value*> out;
      for (const Value* v : values) out.push_back(v ? map.at(v) : nullptr);
      return out;
    };
    Graph& graph = call.graph();
    Node& copy = graph.add_node(n.op_type(), n.domain(),
                                call.name().empty() ? n.name() : call.name() + "/" + n.name(),
                                mapped(n.inputs()), mapped(n.outputs()), {}, &call);
    graph.set_overload(copy, n.overload());
    for (const Attribute& a : n.attributes()) copy.set_attribute(copy_attribute(a, graph, map));
    ValueMap outer;
    bind_attributes(copy, call, f, outer);
    // Types of what is inside a call follow from the call's; without them kernels are chosen
    // blindly. A call's follow from its own body, which comes next.
    if (!called_function(copy)) (void)infer_node(copy);
    return inline_in(copy);
  }

  // Attributes that stand for the function's become the caller's, or the function's defaults, or
  // go.
  static void bind_attributes(Node& node, const Node& call, const Function& f, ValueMap& outer) {
    std::vector<std::string> references;
    for (const Attribute& a : node.attributes())
      if (!a.ref.empty()) references.push_back(a.name);
    for (const std::string& name : references) {
      const std::string ref = node.attribute(name)->ref;
      const Attribute* given = call.attribute(ref);
      for (const Attribute& d : f.attribute_defaults)
        if (!given && d.name == ref) given = &d;
      node.remove_attribute(name);
      if (!given) continue;
      Attribute bound = copy_attribute(*given, node.graph(), outer);
      bound.name = name;
      node.set_attribute(std::move(bound));
    }
    node.for_each_subgraph([&](Graph& g) {
      for (Node& n : g.nodes()) bind_attributes(n, call, f, outer);
    });
  }

  const std::function<bool(const Node&)>& expand_;
  std::vector<const Function*> open_;  // whose bodies are being inserted
  size_t inserted_ = 0;
};

}  // namespace

Status inline_calls(Graph& graph, const std::function<bool(const Node&)>& expand) {
  return Inliner(expand).inline_in(graph);
}

Status inline_functions(Model& model) {
  ONNXTOOL_TRY(inline_calls(model.graph(), [](const Node&) { return false; }));
  std::unordered_set<std::string> idle;
  for (const Function& f : model.functions) idle.insert(f.domain);
  for_each_node(model.graph(), [&](const Node& n) { idle.erase(n.domain()); });
  idle.erase("");  // what checkers expect of any model
  std::erase_if(model.opsets, [&](const OpsetImport& o) { return idle.contains(o.domain); });
  model.functions.clear();
  return {};
}

}  // namespace onnxtool
