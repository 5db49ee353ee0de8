// Single nodes and tensors, and the graph for Graphviz.
#include <fmt/format.h>

#include <algorithm>

#include "apps/extremes.h"
#include "apps/flags.h"
#include "apps/inspect_report.h"
#include "apps/inspect_walk.h"
#include "libopt/analysis/cost.h"
#include "libopt/analysis/statistics.h"
#include "libopt/io/mapped_file.h"
#include "libopt/ir/unread.h"
#include "libopt/rewrite/work.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

// Lists in attributes are shown up to here.
constexpr size_t kShownElements = 16;

template <class F>
bool any_node(const Graph& graph, F&& f) {
  for (const Node& n : graph.nodes()) {
    if (f(n)) return true;
    bool inside = false;
    n.for_each_subgraph([&](Graph& g) { inside = inside || any_node(g, f); });
    if (inside) return true;
  }
  return false;
}

const Value* find_value(const Graph& graph, const std::string& name) {
  if (const Value* v = graph.find(name)) return v;
  const Value* found = nullptr;
  for (const Node& n : graph.nodes())
    n.for_each_subgraph([&](Graph& g) {
      if (!found) found = find_value(g, name);
    });
  return found;
}

std::vector<std::string> names_of_nodes(const Graph& graph) {
  std::vector<std::string> out;
  any_node(graph, [&](const Node& n) {
    if (!n.name().empty()) out.push_back(n.name());
    return false;
  });
  return out;
}

std::vector<std::string> names_of_values(const Graph& graph) {
  std::vector<std::string> out;
  for (const Value* v : graph.values()) out.push_back(v->name());
  return out;
}

template <class T>
std::string list_text(const std::vector<T>& list) {
  std::string out = "[";
  for (size_t i = 0; i < std::min(list.size(), kShownElements); ++i)
    out += fmt::format("{}{}", i ? ", " : "", list[i]);
  return out + (list.size() > kShownElements ? fmt::format(", ... {} in all]", list.size()) : "]");
}

std::string origin(const Value& v) {
  if (v.producer()) return v.producer()->describe();
  if (v.is_graph_input()) return v.initializer() ? "graph input with a default" : "graph input";
  if (v.initializer()) return "initializer";
  std::string from = "-";
  for_each_sparse_initializer(v.graph(), [&](const SparseTensor& sparse) {
    if (sparse.values.name == v.name())
      from = fmt::format("sparse initializer, {} values stored", sparse.values.tensor.count());
  });
  return from;
}

std::string readers(const Value& v) {
  std::string out;
  for (const Use& u : v.uses()) {
    if (out.size() > 200) return out + fmt::format(" and more, {} in all", v.uses().size());
    out += (out.empty() ? "" : ", ") + u.user->describe();
  }
  if (v.is_graph_output()) out += out.empty() ? "graph output" : ", graph output";
  return out.empty() ? "nothing" : out;
}

// People see as many bars as fit on a screen; programs the same steps as numbers.
void add_histogram(Section& s, const Tensor& t) {
  constexpr size_t kSteps = 24;
  constexpr double kLongest = 40;
  const ValueCounts h = count_values(t, kSteps);
  if (h.counts.empty() || t.count() < static_cast<int64_t>(kSteps)) return;
  Table bars{"histogram",
             "histogram",
             {{"from", "from", ""}, {"to", "to", ""}, {"count", "values", ""}},
             {},
             0};
  Table drawn = bars;
  drawn.columns.push_back({"bar", "", ""});
  drawn.for_programs = false;
  bars.for_people = false;
  // Apart: the difference of doubles may be beyond them.
  const auto steps = static_cast<double>(h.counts.size());
  const double step = h.high / steps - h.low / steps;
  const auto most = static_cast<double>(*std::ranges::max_element(h.counts));
  for (size_t i = 0; i < h.counts.size(); ++i) {
    const double from = h.low + step * static_cast<double>(i);
    bars.rows.push_back({from, from + step, h.counts[i]});
    drawn.rows.push_back(bars.rows.back());
    drawn.rows.back().push_back(
        std::string(static_cast<size_t>(kLongest * static_cast<double>(h.counts[i]) / most), '#'));
  }
  s.tables = {std::move(bars), std::move(drawn)};
}

void add_statistics(Section& s, const Tensor& t) {
  if (!has_statistics(t.dtype())) return;
  const TensorStatistics n = statistics_of(t);
  s.fields.push_back({"zeros", "zeros", n.zeros, ""});
  s.fields.push_back({"nan", "NaN", n.nan, ""});
  s.fields.push_back({"infinite", "infinite", n.infinite, ""});
  if (!n.finite) return;
  const ExactExtremes extremes(t, n);
  s.fields.push_back({"min", "min", extremes.min(), ""});
  s.fields.push_back({"max", "max", extremes.max(), ""});
  s.fields.push_back({"mean", "mean", n.mean, ""});
  s.fields.push_back({"std", "standard deviation", n.std, ""});
  add_histogram(s, t);
}

void add_storage(Section& s, const Tensor& t) {
  s.fields.push_back({"type", "type", std::string(name(t.dtype())) + format_dims(t.dims()), ""});
  s.fields.push_back({"elements", "elements", t.count(), ""});
  if (const UnreadData* data = unread_data(t)) {
    s.fields.push_back({"bytes", "size", static_cast<int64_t>(t.size_bytes()), "bytes"});
    s.fields.push_back({"file", "stored in", data->location, ""});
    s.fields.push_back({"offset", "at byte", static_cast<int64_t>(data->offset), ""});
    s.notes.push_back("the file is not there: nothing was read");
    return;
  }
  Sha256 digest;
  if (t.dtype() == DataType::kString) {
    for (const std::string& text : t.strings()) digest.add(text + std::string(1, '\0'));
  } else {
    s.fields.push_back({"bytes", "size", static_cast<int64_t>(t.size_bytes()), "bytes"});
    digest.add(t.bytes());
  }
  if (const auto* file = dynamic_cast<const MappedFile*>(t.owner().get());
      file && !t.bytes().empty()) {
    s.fields.push_back({"file", "stored in", file->path(), ""});
    s.fields.push_back(
        {"offset", "at byte", static_cast<int64_t>(t.bytes().data() - file->bytes().data()), ""});
  }
  s.fields.push_back({"sha256", "sha256", digest.hex(), ""});
}

}  // namespace

std::string short_attribute(const Attribute& a) {
  if (!a.ref.empty()) return "the function's attribute " + a.ref;
  if (const auto* v = a.get<float>()) return fmt::format("{}", *v);
  if (const auto* v = a.get<int64_t>()) return fmt::format("{}", *v);
  if (const auto* v = a.get<std::string>()) return "\"" + *v + "\"";
  if (const auto* v = a.get<std::vector<float>>()) return list_text(*v);
  if (const auto* v = a.get<std::vector<int64_t>>()) return list_text(*v);
  if (const auto* v = a.get<std::vector<std::string>>()) return list_text(*v);
  if (const auto* v = a.get<NamedTensor>())
    return std::string(name(v->tensor.dtype())) + format_dims(v->tensor.dims());
  if (const auto* v = a.get<std::unique_ptr<Graph>>())
    return fmt::format("a graph of {} nodes", (*v)->num_nodes());
  if (const auto* v = a.get<ValueType>()) return format_type(*v);
  return "of a kind that is not shown";
}

Result<Section> node_panel(const Model& model, const std::string& wanted) {
  const Node* node = nullptr;
  any_node(model.graph(), [&](const Node& n) {
    if (n.name() == wanted) node = &n;
    return node != nullptr;
  });
  if (const Value* v = node ? nullptr : find_value(model.graph(), wanted)) node = v->producer();
  if (!node) {
    const std::string close = did_you_mean(wanted, names_of_nodes(model.graph()));
    return Error{ErrorCode::kUsage, "--node: no node '" + wanted + "'",
                 close.empty() ? "onnxtool inspect MODEL --dot lists them all" : close};
  }
  Section s{"node", "Node", {}, {}, {}, false};
  s.fields.push_back({"name", "name", node->name(), ""});
  s.fields.push_back({"op", "operator", node->op_type(), ""});
  s.fields.push_back({"domain", "domain", node->domain().empty() ? "ai.onnx" : node->domain(), ""});
  s.fields.push_back({"opset", "opset", int64_t{node->opset()}, ""});
  const auto macs = WorkCounter().macs(*node);
  s.fields.push_back({"macs", "MACs", macs ? Scalar(*macs) : Scalar(), ""});
  if (!node->doc.empty()) s.fields.push_back({"doc", "documentation", node->doc, ""});
  Table inputs{
      "inputs",
      "inputs",
      {{"index", "#", ""}, {"name", "name", ""}, {"type", "type", ""}, {"from", "from", ""}},
      {},
      0};
  for (int i = 0; i < node->num_inputs(); ++i) {
    if (node->has_input(i))
      inputs.rows.push_back({int64_t{i}, node->input(i).name(), format_type(node->input(i).type()),
                             origin(node->input(i))});
    else
      inputs.rows.push_back({int64_t{i}, Scalar(), Scalar(), std::string("left out")});
  }
  Table outputs{
      "outputs",
      "outputs",
      {{"index", "#", ""}, {"name", "name", ""}, {"type", "type", ""}, {"readers", "read by", ""}},
      {},
      0};
  for (int i = 0; i < node->num_outputs(); ++i)
    if (node->has_output(i))
      outputs.rows.push_back({int64_t{i}, node->output(i).name(),
                              format_type(node->output(i).type()), readers(node->output(i))});
  Table attributes{
      "attributes", "attributes", {{"name", "name", ""}, {"value", "value", ""}}, {}, 0};
  for (const Attribute& a : node->attributes())
    attributes.rows.push_back({a.name, short_attribute(a)});
  s.tables = {std::move(inputs), std::move(outputs), std::move(attributes)};
  return s;
}

Result<Section> tensor_panel(const Model& model, const std::string& wanted) {
  const Value* v = find_value(model.graph(), wanted);
  if (!v)
    return Error{ErrorCode::kUsage, "--tensor: no value '" + wanted + "'",
                 did_you_mean(wanted, names_of_values(model.graph()))};
  Section s{"tensor", "Tensor", {}, {}, {}, false};
  s.fields.push_back({"name", "name", v->name(), ""});
  s.fields.push_back({"from", "from", origin(*v), ""});
  s.fields.push_back({"readers", "read by", readers(*v), ""});
  const Tensor* t = v->initializer() ? v->initializer() : stored_constant(*v);
  if (t) {
    add_storage(s, *t);
    if (unread_data(*t)) return s;
    add_statistics(s, *t);
  } else {
    s.fields.push_back({"type", "type", format_type(v->type()), ""});
    const auto bytes = bytes_of(v->type());
    s.fields.push_back({"bytes", "size", bytes ? Scalar(*bytes) : Scalar(), "bytes"});
  }
  return s;
}

std::string dot_text(const Model& model) {
  const auto escaped = [](std::string_view text) {
    std::string out;
    for (const char c : printable(text)) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out;
  };
  const auto label = [&](std::string_view first, std::string_view second) {
    return "\"" + escaped(first) + (second.empty() ? "" : "\\n" + escaped(second)) + "\"";
  };
  const Graph& g = model.graph();
  std::string out =
      "digraph " + label(g.name, "") + " {\n  node [shape=box, fontname=\"sans-serif\"];\n";
  for (const Value* v : g.inputs())
    if (!v->initializer())
      out += fmt::format("  v{} [shape=ellipse, label={}];\n", v->id(),
                         label(v->name(), format_type(v->type())));
  for (const Node& n : g.nodes())
    out += fmt::format("  n{} [label={}];\n", n.id(), label(n.op_type(), n.name()));
  for (const Value* v : g.outputs())
    out += fmt::format("  o{} [shape=ellipse, label={}];\n", v->id(),
                       label(v->name(), format_type(v->type())));
  const auto source = [](const Value& v) {
    return v.producer() ? fmt::format("n{}", v.producer()->id()) : fmt::format("v{}", v.id());
  };
  const auto drawn = [](const Value* v) {
    return v && (v->producer() || (v->is_graph_input() && !v->initializer()));
  };
  for (const Node& n : g.nodes())
    for (const Value* v : n.inputs())
      if (drawn(v) && &v->graph() == &g) out += fmt::format("  {} -> n{};\n", source(*v), n.id());
  for (const Value* v : g.outputs())
    if (drawn(v)) out += fmt::format("  {} -> o{};\n", source(*v), v->id());
  return out + "}\n";
}

}  // namespace onnxtool
