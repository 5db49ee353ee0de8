// Graphs of a .ort file: names, scopes and nodes. See validate.h.

#include <algorithm>
#include <vector>

#include "libopt/ort/validate_parts.h"

namespace onnxtool::ort_validation {
namespace {

std::string_view op_domain(const fb::Node& node) { return view(node.domain()); }

std::string shown(std::span<const int32_t> counts) {
  std::string text = "[";
  for (const int32_t c : counts) text += (text.size() > 1 ? ", " : "") + number(c);
  return text + "]";
}

/// One level.
class Level {
 public:
  Level(FileFacts& file, const fb::Graph& graph, const Level* parent, std::string place)
      : file_(file),
        graph_(graph),
        parent_(parent),
        place_(place),
        index_{graph, std::move(place), {}, {}, {}} {
    if (graph.nodes())
      for (const fb::Node* n : *graph.nodes()) index_.nodes.push_back(n);
  }

  /// Names of outer levels that it reads, subgraphs included.
  std::set<std::string_view> run() {
    check_values();
    check_initializers();
    check_boundary();
    check_indices();
    for (size_t i = 0; i < nodes().size(); ++i) define_outputs(i);
    for (size_t i = 0; i < nodes().size(); ++i) check_node(i);
    check_outputs();
    check_edges(file_, index_);
    check_records(file_, index_);
    return std::move(outer_);
  }

 private:
  void must(const std::string& place, std::string message) {
    file_.faults.must(place, std::move(message));
  }

  const std::vector<const fb::Node*>& nodes() const { return index_.nodes; }
  std::string place_of(size_t i) const { return index_.place_of(i); }

  // --- values
  // ---------------------------------------------------------------------------------------

  void check_values() {
    if (!graph_.node_args()) return;
    for (const fb::ValueInfo* v : *graph_.node_args()) {
      if (!v->name()) {
        must(place_, "a value has no name");
        continue;
      }
      const std::string_view name = view(v->name());
      const std::string place = place_ + ": value " + quoted(name);
      if (types_.contains(name)) must(place, "stands twice in node_args");
      types_[name] =
          name.empty() && !v->type() ? std::string() : check_type(file_, v->type(), place);
    }
  }

  void need_value(std::string_view name, const std::string& place) {
    if (!types_.contains(name))
      must(place, (name.empty() ? std::string("the value of absent arguments, '',")
                                : "value " + quoted(name)) +
                      " is not in node_args");
  }

  void check_initializers() {
    if (graph_.initializers())
      for (const fb::Tensor* t : *graph_.initializers()) {
        const std::string_view name = view(t->name());
        const std::string place = place_ + ": initializer " + quoted(name);
        const std::string type = check_tensor(file_, *t, place);
        define_initializer(name, type, place);
      }
    if (!graph_.sparse_initializers() || graph_.sparse_initializers()->size() == 0) return;
    file_.faults.advise(place_,
                        "has sparse initializers, which builds without sparse tensors ignore");
    for (const fb::SparseTensor* t : *graph_.sparse_initializers()) {
      const std::string_view name = t->values() ? view(t->values()->name()) : "";
      const std::string place = place_ + ": sparse initializer " + quoted(name);
      if (!t->values() || !t->indices() || !t->dims())
        must(place, "values, indices or dims is absent");
      else if (t->indices()->data_type() != fb::TensorDataType::INT64)
        must(place, "indices are no int64");
      else
        define_initializer(name, check_tensor(file_, *t->values(), place), place);
    }
  }

  void define_initializer(std::string_view name, const std::string& type,
                          const std::string& place) {
    if (name.empty()) return must(place, "has no name");
    if (!initializers_.insert(name).second) must(place, "stands twice: the last one counts");
    need_value(name, place);
    if (const auto at = types_.find(name); at != types_.end() && at->second != type)
      must(place, "is of element type " + type + ", but its value of " + at->second);
  }

  void check_boundary() {
    if (graph_.inputs())
      for (const flatbuffers::String* s : *graph_.inputs()) {
        if (!inputs_.insert(view(s)).second)
          must(place_, "input " + quoted(view(s)) + " stands twice");
        if (view(s).empty())
          must(place_, "an input has no name");
        else
          need_value(view(s), place_ + ": inputs");
      }
    if (!graph_.outputs()) must(place_, "outputs is absent");
  }

  bool is_local(std::string_view name) const {
    return inputs_.contains(name) || initializers_.contains(name) ||
           index_.producers.contains(name);
  }

  /// The type that the nearest level has where the value is; nullptr: nowhere.
  const std::string* outer_type(std::string_view name) const {
    for (const Level* l = parent_; l; l = l->parent_)
      if (l->is_local(name)) {
        const auto at = l->types_.find(name);
        return at == l->types_.end() ? nullptr : &at->second;
      }
    return nullptr;
  }

  void check_outputs() {
    if (!graph_.outputs()) return;
    for (const flatbuffers::String* s : *graph_.outputs()) {
      const std::string_view name = view(s);
      used_.insert(name);
      need_value(name, place_ + ": outputs");
      if (!is_local(name))
        must(place_, "output " + quoted(name) +
                         (parent_ && outer_type(name)
                              ? " is a value of an outer graph: an Identity is needed"
                              : " is made by nothing"));
    }
    for (const std::string_view name : initializers_)
      if (!used_.contains(name) && !inputs_.contains(name))
        file_.faults.advise(place_ + ": initializer " + quoted(name),
                            "nothing reads it: minimal builds keep it in memory");
  }

  // --- nodes
  // ----------------------------------------------------------------------------------------

  void check_indices() {
    constexpr uint64_t kMostIndices = 1'000'000, kLeastCap = 1024, kHolesPerEntry = 64;
    std::unordered_set<std::string_view> names;
    uint64_t entries = nodes().size() + (graph_.node_edges() ? graph_.node_edges()->size() : 0);
    const uint64_t cap = std::min(kMostIndices, std::max(kLeastCap, kHolesPerEntry * entries));
    for (size_t i = 0; i < nodes().size(); ++i) {
      const fb::Node& n = *nodes()[i];
      if (!index_.position.emplace(n.index(), i).second)
        must(place_of(i), "its index is another node's too");
      if (n.index() >= cap)
        must(place_of(i), "its index is larger than loaders accept for so few nodes");
      if (n.index() >= graph_.max_node_index())
        must(place_of(i),
             "its index is not below max_node_index, " + number(graph_.max_node_index()));
      if (!view(n.name()).empty() && !names.insert(view(n.name())).second)
        must(place_of(i), "its name " + quoted(view(n.name())) + " is another node's too");
    }
  }

  void define_outputs(size_t i) {
    const fb::Node& n = *nodes()[i];
    if (!n.outputs()) return must(place_of(i), "outputs is absent");
    if (!file_.faults.spend(n.outputs()->size())) return;
    int output = 0;
    for (const flatbuffers::String* s : *n.outputs()) {
      need_value(view(s), place_of(i));
      if (!view(s).empty() &&
          (is_local(view(s)) ||
           !index_.producers.emplace(view(s), GraphIndex::Producer{i, output}).second))
        must(place_of(i), "output " + quoted(view(s)) + " is made by something else too");
      ++output;
    }
  }

  void check_node(size_t i) {
    const fb::Node& n = *nodes()[i];
    const std::string place = place_of(i);
    if (view(n.op_type()).empty()) return must(place, "op_type is absent");
    if (n.type() != fb::NodeType::Primitive) must(place, "is a fused node, which no loader takes");
    if (!n.inputs()) return must(place, "inputs is absent");
    if (!file_.faults.spend(n.inputs()->size())) return;
    for (const flatbuffers::String* s : *n.inputs()) check_input(view(s), place);
    check_attributes(file_, n, check_operator(n, place), place);
    check_implicit(i, place);
  }

  void check_input(std::string_view name, const std::string& place) {
    need_value(name, place);
    if (name.empty()) return;
    used_.insert(name);
    if (is_local(name)) return;
    const std::string* type = outer_type(name);
    if (!type) return must(place, "input " + quoted(name) + " is made by nothing");
    outer_.insert(name);
    if (const auto at = types_.find(name); at != types_.end() && at->second != *type)
      must(place, "outer value " + quoted(name) + " is of element type " + at->second +
                      " here, but " + *type + " where it is made");
  }

  const OrtSchema* check_operator(const fb::Node& n, const std::string& place) {
    constexpr std::string_view kOwnDomains[] = {"", "ai.onnx.ml", "com.microsoft",
                                                "com.microsoft.nchwc"};
    const std::string_view domain = op_domain(n), op = view(n.op_type());
    if (!file_.faults.spend(domain.size() + op.size())) return nullptr;
    file_.op_ids.insert(std::string(domain) + ":" + std::string(op) + ":" +
                        number(n.since_version()));
    if (domain == "ai.onnx") must(place, "its domain is ai.onnx: loaders know the empty name only");
    if (domain == "com.ms.internal.nhwc") must(place, "its domain is internal to the runtime");
    if (domain == "com.microsoft.nchwc")
      file_.faults.advise(place, "its layout is that of the machine that wrote it");
    if (domain.empty() && op == "Constant")
      must(place, "there is no kernel for Constant: it must be an initializer");
    const auto opset = file_.opsets.find(domain);
    if (opset == file_.opsets.end()) {
      must(place, "the opset of its domain " + quoted(domain) + " is not imported");
      return nullptr;
    }
    const OrtSchema* schema = find_ort_schema(domain, op, opset->second);
    if (!schema) {
      if (std::ranges::find(kOwnDomains, domain) != std::end(kOwnDomains))
        must(place, "ONNX Runtime has no such operator at opset " + number(opset->second));
      else if (n.since_version() < 1)
        must(place, "since_version is " + number(n.since_version()));
      if (!n.input_arg_counts()) must(place, "input_arg_counts is absent");
      return nullptr;
    }
    if (n.since_version() != schema->since_version)
      must(place, "since_version is " + number(n.since_version()) + ", expected " +
                      number(schema->since_version));
    check_counts(n, *schema, place);
    return schema;
  }

  void check_counts(const fb::Node& n, const OrtSchema& schema, const std::string& place) {
    if (!n.input_arg_counts()) return must(place, "input_arg_counts is absent");
    if (!file_.faults.spend(n.input_arg_counts()->size())) return;
    const std::vector<int32_t> found(n.input_arg_counts()->begin(), n.input_arg_counts()->end());
    const auto inputs = static_cast<int32_t>(n.inputs()->size());
    std::vector<int32_t> expected;
    for (int32_t i = 0; i + 1 < schema.formal_inputs; ++i) expected.push_back(i < inputs ? 1 : 0);
    if (schema.formal_inputs > 0)
      expected.push_back(std::max(0, inputs - (schema.formal_inputs - 1)));
    if (found != expected)
      must(place, "input_arg_counts is " +
                      shown(std::span(found).first(std::min<size_t>(found.size(), 40))) +
                      ", expected " + shown(expected));
  }

  // --- subgraphs
  // ------------------------------------------------------------------------------------

  void check_implicit(size_t i, const std::string& place) {
    const fb::Node& n = *nodes()[i];
    std::set<std::string_view> needed;
    if (n.attributes())
      for (const fb::Attribute* a : *n.attributes())
        if (a->type() == fb::AttributeType::GRAPH && a->g() && !file_.faults.spent())
          needed.merge(
              Level(file_, *a->g(), this, place + ": " + std::string(view(a->name()).substr(0, 80)))
                  .run());
    if (!n.implicit_inputs()) return must(place, "implicit_inputs is absent");
    if (!file_.faults.spend(n.implicit_inputs()->size())) return;
    std::set<std::string_view> found;
    for (const flatbuffers::String* s : *n.implicit_inputs())
      if (!found.insert(view(s)).second)
        must(place, "implicit input " + quoted(view(s)) + " stands twice");
    for (const std::string_view name : needed) {
      used_.insert(name);
      if (!found.contains(name))
        must(place, "implicit input " + quoted(name) + " is absent: a subgraph reads it");
      if (!is_local(name)) outer_.insert(name);
    }
    for (const std::string_view name : found)
      if (!needed.contains(name))
        must(place, "implicit input " + quoted(name) + " is read by no subgraph");
  }

  FileFacts& file_;
  const fb::Graph& graph_;
  const Level* parent_;
  std::string place_;
  GraphIndex index_;
  std::unordered_map<std::string_view, std::string>
      types_;  // of node_args, as check_type() writes them
  std::unordered_set<std::string_view> inputs_, initializers_, used_;
  std::set<std::string_view> outer_;
};

}  // namespace

void check_graphs(FileFacts& file, const fb::Graph& graph) {
  Level(file, graph, nullptr, "graph").run();
}

}  // namespace onnxtool::ort_validation
