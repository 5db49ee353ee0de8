// Findings about types and shapes, by inference over the graph.
#include <algorithm>

#include "libopt/analysis/seam.h"
#include "libopt/check/family.h"

namespace onnxtool::check {
namespace {

// Nodes of the graph stand in another order than those of the file; what they make tells which is
// which.
const Node* find_node(const outline::Node& node, const Graph& graph) {
  for (const std::string_view name : node.outputs)
    if (const Value* v = name.empty() ? nullptr : graph.find(name)) return v->producer();
  return nullptr;
}

// Calls f(outline, graph, place) for the main graph and all subgraphs that can be told apart.
template <class F>
void for_each_graph(const outline::Graph& outline, Graph& graph, const std::string& place,
                    const F& f) {
  f(outline, graph, place);
  for (size_t i = 0; i < outline.nodes.size(); ++i)
    for (const outline::Attribute& a : outline.nodes[i].attributes) {
      if (a.graphs.size() != 1) continue;
      const Node* node = find_node(outline.nodes[i], graph);
      const Attribute* attribute = node ? node->attribute(a.name) : nullptr;
      const auto* inner = attribute ? attribute->get<std::unique_ptr<Graph>>() : nullptr;
      if (inner)
        for_each_graph(*a.graphs[0], **inner,
                       describe(outline.nodes[i], i) + ": " + std::string(a.name), f);
    }
}

// Extents below 0, which the graph takes for unknown ones: to onnx they are numbers, which
// inference computes and compares with.
bool restore_negative_extents(const outline::Type& declared, ValueType& type) {
  if (declared.inner && type.element) {
    ValueType element = *type.element;
    if (!restore_negative_extents(*declared.inner, element)) return false;
    type.element = std::make_shared<const ValueType>(std::move(element));
    return true;
  }
  bool any = false;
  if (type.shape && type.shape->size() == declared.extents.size())
    for (size_t i = 0; i < declared.extents.size(); ++i)
      if (const auto& extent = declared.extents[i];
          extent && *extent < 0 && (*type.shape)[i] == Dim())
        any = true, (*type.shape)[i].value = extent;
  return any;
}

void restore_negative_extents(const outline::Graph& outline, Graph& graph) {
  for (const auto* list : {&outline.value_info, &outline.inputs, &outline.outputs})
    for (const outline::ValueInfo& v : *list) {
      Value* value = graph.find(v.name);
      if (!value || value->initializer() || !v.type) continue;
      ValueType type = value->type();
      if (restore_negative_extents(*v.type, type)) value->set_type(std::move(type));
    }
}

// Declarations that the graph does not keep, since another one of the value counts: of a graph
// output that is an input too or is listed twice, and in a subgraph of a value of an outer graph.
// onnx goes by these where they stand, so they must say the same.
class Redeclarations {
 public:
  explicit Redeclarations(Findings& out) : out_(out) {}

  void operator()(const outline::Graph& outline, const Graph& graph,
                  const std::string& place) const {
    for (const outline::ValueInfo& v : outline.outputs)
      if (const Value* value = graph.find(v.name)) {
        // An input that is only given on: onnx and runtimes never compare the two.
        const bool met = value->producer() || !value->uses().empty();
        compare(met ? RuleId::kTypeConflict : RuleId::kPossibleTypeConflict, v, "graph output",
                *value, place);
      }
    for (const outline::ValueInfo& v : outline.value_info)
      if (!graph.find(v.name))
        if (const Value* value = outer_value(graph, v.name))
          compare(RuleId::kTypeConflict, v, "value", *value, place);
  }

 private:
  static const Value* outer_value(const Graph& graph, std::string_view name) {
    for (const Graph* g = graph.parent(); g; g = g->parent())
      if (const Value* v = g->find(name)) return v;
    return nullptr;
  }

  void compare(RuleId id, const outline::ValueInfo& v, const std::string& what, const Value& value,
               const std::string& place) const {
    // Initializers were compared with what they hold.
    if (value.initializer() || !v.type || v.type->kind != outline::Type::Case::kTensor) return;
    const ValueType& type = value.type();
    if (!type.is_tensor() || agree(*v.type, type)) return;
    if (value.producer() && out_.at_fault(value.producer()->describe())) return;
    out_.add(id, place,
             what + " '" + std::string(v.name) + "' is declared as " + shown(*v.type) +
                 ", but the value of this name is " + format_type(type),
             v.offset);
  }

  static bool agree(const outline::Type& declared, const ValueType& type) {
    if (declared.element != 0 && type.dtype != DataType::kUndefined &&
        declared.element != static_cast<int64_t>(type.dtype))
      return false;
    if (!declared.has_shape || !type.shape) return true;
    if (declared.extents.size() != type.shape->size()) return false;
    for (size_t i = 0; i < declared.extents.size(); ++i) {
      const std::optional<int64_t>& extent = (*type.shape)[i].value;
      if (declared.extents[i] && extent && *declared.extents[i] != *extent) return false;
    }
    return true;
  }

  static std::string shown(const outline::Type& declared) {
    const auto element = static_cast<DataType>(declared.element);
    if (declared.element != 0 && name(element) == "undefined")
      return "the unknown element type " + std::to_string(declared.element);
    ValueType type = ValueType::tensor(element);
    if (declared.has_shape) type.shape.emplace();
    for (const auto& extent : declared.extents) type.shape->push_back({extent, {}, {}});
    return format_type(type);
  }

  Findings& out_;
};

bool has_negative_extent(const ValueType& type) {
  if (type.element && has_negative_extent(*type.element)) return true;
  return type.shape &&
         std::ranges::any_of(*type.shape, [](const Dim& d) { return d.value && *d.value < 0; });
}

}  // namespace

void check_types(const OutlineView& view, Model& model, Findings& out) {
  ONNXTOOL_CHECK(view.model.graph);  // which the model was built of
  const outline::Graph& outline = *view.model.graph;
  for_each_graph(outline, model.graph(), "",
                 [](const outline::Graph& o, Graph& g, const std::string&) {
                   restore_negative_extents(o, g);
                 });
  infer_strictly(model.graph(), [&](const Node& node, const Error& error, bool certain) {
    const std::string place = node.describe();
    if (out.at_fault(place)) return;
    std::string message = error.message;
    if (message.starts_with(place + ": ")) message.erase(0, place.size() + 2);
    const auto negative = [](const Value* v) { return v && has_negative_extent(v->type()); };
    const bool counts_back = std::ranges::any_of(node.inputs(), negative) ||
                             std::ranges::any_of(node.outputs(), negative);
    out.add(certain ? RuleId::kTypeConflict : RuleId::kPossibleTypeConflict, place,
            std::move(message), {},
            counts_back ? "a negative extent is that number: name an extent that varies, or leave "
                          "it out"
                        : "");
  });
  for_each_graph(outline, model.graph(), "", Redeclarations(out));
}

}  // namespace onnxtool::check
