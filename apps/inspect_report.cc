#include "apps/inspect_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <unordered_map>

#include "apps/inspect_walk.h"
#include "apps/size_tree.h"
#include "libopt/analysis/census.h"
#include "libopt/analysis/cost.h"
#include "libopt/analysis/functions.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/save.h"
#include "libopt/ir/operator_name.h"
#include "libopt/ir/unread.h"
#include "libopt/rewrite/work.h"
#include "libopt/target/qdq_fusion.h"

namespace onnxtool {
namespace {

// Values stored of sparse initializers.
using SparseCounts = std::unordered_map<const Value*, int64_t>;
void add_sparse_counts(const Graph& graph, SparseCounts& counts) {
  for_each_sparse_initializer(graph, [&](const SparseTensor& sparse) {
    if (const Value* v = graph.find(sparse.values.name))
      counts.emplace(v, sparse.values.tensor.count());
  });
  for (const Node& n : graph.nodes())
    n.for_each_subgraph([&](const Graph& g) { add_sparse_counts(g, counts); });
}

// Of a node's own constant inputs; one that several nodes read counts for each.
class Parameters {
 public:
  explicit Parameters(const Model& model) { add_sparse_counts(model.graph(), sparse_); }
  int64_t of(const Node& n) const {
    int64_t sum = 0;
    for (const Value* v : n.inputs())
      if (const Tensor* t = v ? stored_constant(*v) : nullptr)
        sum = plus(sum, t->count());
      else if (const auto it = sparse_.find(v); it != sparse_.end())
        sum = plus(sum, it->second);
    return sum;
  }

 private:
  SparseCounts sparse_;
};

Table value_table(const std::string& key, const std::string& title,
                  const std::vector<Value*>& values) {
  Table t{key, title, {{"name", "name", ""}, {"type", "type", ""}, {"bytes", "bytes", ""}}, {}, 0};
  for (const Value* v : values) {
    const auto bytes = bytes_of(v->type());
    t.rows.push_back({v->name(), format_type(v->type()), bytes ? Scalar(*bytes) : Scalar()});
  }
  return t;
}

double percent(int64_t part, int64_t whole) {
  return whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

// Names make the boxes, with '.' or '/' between parts; a name without parts stands below its
// reader.
std::string treemap_path(const std::string& name, const Value* value) {
  const bool parted = name.find_first_of("./") != std::string::npos;
  std::string path = parted || !value || value->uses().empty()
                         ? name
                         : shown_name(*value->uses()[0].user) + "/" + name;
  std::ranges::replace(path, '.', '/');
  return path;
}

// As if every unknown extent of an input were 1: what one sample costs, where that is the batch.
std::optional<int64_t> macs_of_one(const Model& model) {
  const std::unique_ptr<Model> copy = model.clone();
  for (Value* v : copy->graph().inputs()) {
    ValueType type = v->type();
    if (!type.shape) continue;
    for (Dim& d : *type.shape)
      if (!d.value) d = Dim::of(1);
    v->set_type(std::move(type));
  }
  forget_inner_shapes(copy->graph());
  if (!infer_graph(copy->graph()).ok()) return std::nullopt;
  int64_t sum = 0;
  bool known = true;
  WorkCounter work;
  for_each_node(copy->graph(), [&](const Node& n) {
    const auto macs = work.macs(n);
    known = known && macs;
    sum = plus(sum, macs.value_or(0));
  });
  return known ? std::optional(sum) : std::nullopt;
}

bool has_known_extents(const Value& v) {
  return v.type().is_tensor() && v.type().static_dims().has_value();
}

// Sequences, maps and the like have no extents.
bool lacks_extents(const Value& v) {
  const auto kind = v.type().kind;
  return (kind == ValueType::Kind::kTensor || kind == ValueType::Kind::kUnknown) &&
         !has_known_extents(v);
}

// Nodes that read nothing of unknown extents, and make such: data decides on them.
std::vector<const Node*> nodes_that_decide(const Model& model) {
  std::vector<const Node*> out;
  for_each_node(model.graph(), [&](const Node& n) {
    const auto& in = n.inputs();
    const auto& made = n.outputs();
    if (std::ranges::all_of(in, [](const Value* v) { return !v || !lacks_extents(*v); }) &&
        std::ranges::any_of(made, [](const Value* v) { return v && lacks_extents(*v); }))
      out.push_back(&n);
  });
  return out;
}

// Why extents are not known, and what can be done.
std::vector<std::string> notes_on_unknown(const Model& model, const std::string& effect) {
  for (const Value* v : model.graph().inputs())
    if (!v->initializer() && lacks_extents(*v))
      return {effect + "; settle extents with --dim or --input-shape"};
  const std::vector<const Node*> nodes = nodes_that_decide(model);
  if (nodes.empty()) return {};
  constexpr size_t kNamed = 3;
  std::string names;
  for (size_t i = 0; i < std::min(kNamed, nodes.size()); ++i)
    names += (i ? ", " : "") + nodes[i]->describe();
  if (nodes.size() > kNamed) names += fmt::format(" and {} more", nodes.size() - kNamed);
  return {effect + "; extents follow from data, or from operators that are not known, at " + names};
}

}  // namespace

void forget_inner_shapes(Graph& graph) {
  for (Value* v : graph.values()) {
    ValueType type = v->type();
    const Node* maker = v->producer();
    if (!maker || !type.shape) continue;
    const bool is_inferred =
        called_function(*maker) || find_schema(maker->op_type(), maker->domain(), maker->opset());
    if (!is_inferred) continue;
    for (Dim& d : *type.shape)
      if (!d.value) d.symbol.clear();
    v->set_type(std::move(type));
  }
  for (Node& n : graph.nodes()) n.for_each_subgraph([](Graph& sub) { forget_inner_shapes(sub); });
}

std::string shown_name(const Node& n) {
  if (!n.name().empty()) return n.name();
  return n.num_outputs() > 0 && n.has_output(0) ? n.output(0).name() : n.describe();
}

Section model_summary(const Model& model, const std::string& path) {
  Section s{"model", "Model", {}, {}, {}, false};
  s.fields.push_back({"path", "file", path, ""});
  std::error_code error;
  const auto size = path == "-" ? 0 : std::filesystem::file_size(path, error);
  if (path != "-" && !error)
    s.fields.push_back({"file_bytes", "size", static_cast<int64_t>(size), "bytes"});
  for (const std::string& data : payload_files(model))
    if (data != path) {
      const auto bytes = std::filesystem::file_size(data, error);
      s.fields.push_back({"data_file", "data file", data, ""});
      if (!error)
        s.fields.push_back({"data_bytes", "data size", static_cast<int64_t>(bytes), "bytes"});
    }
  if (!model.producer_name.empty())
    s.fields.push_back(
        {"producer", "producer",
         model.producer_name + (model.producer_version.empty() ? "" : " " + model.producer_version),
         ""});
  s.fields.push_back({"ir_version", "IR version", model.ir_version, ""});
  std::string opsets;
  for (const OpsetImport& o : model.opsets)
    opsets += fmt::format("{}{} {}", opsets.empty() ? "" : ", ",
                          o.domain.empty() ? "ai.onnx" : o.domain, o.version);
  s.fields.push_back({"opsets", "opsets", opsets, ""});
  s.fields.push_back({"graph", "graph", model.graph().name, ""});
  const Census census = count(model);
  s.fields.push_back({"nodes", "nodes", census.nodes, ""});
  if (census.subgraph_nodes)
    s.fields.push_back({"subgraph_nodes", "of them in subgraphs", census.subgraph_nodes, ""});
  if (!model.functions.empty())
    s.fields.push_back(
        {"functions", "functions", static_cast<int64_t>(model.functions.size()), ""});
  s.fields.push_back({"parameters", "parameters", census.parameters, ""});
  std::map<std::string, std::pair<int64_t, int64_t>> by_type;  // elements, bytes
  for_each_constant(model.graph(), [&](const std::string&, const Tensor& t, const Value*) {
    auto& [elements, bytes] = by_type[std::string(name(t.dtype()))];
    elements = plus(elements, t.count());
    bytes = plus(bytes, stored_bytes(t));
  });
  Table types{"parameter_types",
              "parameters by type",
              {{"type", "type", ""}, {"elements", "elements", ""}, {"bytes", "bytes", ""}},
              {},
              0};
  for (const auto& [type, sums] : by_type) types.rows.push_back({type, sums.first, sums.second});
  s.tables.push_back(std::move(types));
  Table metadata{"metadata", "metadata", {{"key", "key", ""}, {"value", "value", ""}}, {}, 10};
  for (const auto& [key, value] : model.metadata) metadata.rows.push_back({key, value});
  s.tables.push_back(std::move(metadata));
  if (const UnreadTensors unread = unread_tensors(model); unread.count) {
    s.fields.push_back({"unread_constants", "constants not read", unread.count, ""});
    s.notes.push_back(not_there(unread) + ": what depends on values is not known");
  }
  return s;
}

Section inputs_and_outputs(const Model& model) {
  Section s{"interface", "Inputs and outputs", {}, {}, {}, false};
  std::vector<Value*> inputs;
  for (Value* v : model.graph().inputs())
    if (!v->initializer()) inputs.push_back(v);
  s.tables.push_back(value_table("inputs", "inputs", inputs));
  s.tables.push_back(value_table("outputs", "outputs", model.graph().outputs()));
  return s;
}

Section operators(const Model& model, const InspectLimits& limits) {
  struct Sums {
    int64_t count = 0, parameters = 0;
    std::optional<int64_t> macs = 0;  // of all nodes
  };
  std::map<std::string, Sums> by_op;
  WorkCounter work;
  const Parameters parameters(model);
  for_each_node(model.graph(), [&](const Node& n) {
    Sums& sums = by_op[operator_name(n)];
    ++sums.count;
    const auto macs = work.macs(n);
    sums.macs = macs && sums.macs ? std::optional(plus(*sums.macs, *macs)) : std::nullopt;
    sums.parameters = plus(sums.parameters, parameters.of(n));
  });
  std::vector<std::pair<std::string, Sums>> sorted(by_op.begin(), by_op.end());
  std::ranges::stable_sort(sorted, [](const auto& a, const auto& b) {
    // What is not known may be the most.
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
    return std::pair(a.second.macs.value_or(kMost), a.second.count) >
           std::pair(b.second.macs.value_or(kMost), b.second.count);
  });
  Section s{"operators", "Operators", {}, {}, {}, false};
  Table t{"operators",
          "",
          {{"op", "operator", ""},
           {"count", "nodes", ""},
           {"macs", "MACs", ""},
           {"parameters", "parameters", ""}},
          {},
          limits.rows ? limits.rows * 2 : 0};
  for (const auto& [op, sums] : sorted)
    t.rows.push_back({op, sums.count, sums.macs ? Scalar(*sums.macs) : Scalar(), sums.parameters});
  s.tables.push_back(std::move(t));
  return s;
}

Section layers(const Model& model, const InspectLimits& limits) {
  struct Layer {
    const Node* node;
    std::optional<int64_t> macs;
  };
  std::vector<Layer> all;
  int64_t total = 0, unknown = 0;
  bool has_loop = false, has_branches = false;
  WorkCounter work;
  for_each_node(model.graph(), [&](const Node& n) {
    has_loop |= n.is("Loop") || n.is("Scan");
    has_branches |= n.is("If");
    const auto macs = work.macs(n);
    if (macs == 0) return;
    all.push_back({&n, macs});
    if (macs)
      total = plus(total, *macs);
    else
      ++unknown;
  });
  std::ranges::stable_sort(all, [](const Layer& a, const Layer& b) {
    return a.macs.value_or(-1) > b.macs.value_or(-1);
  });
  Section s{"layers", "Layers by work", {}, {}, {}, false};
  s.fields.push_back(
      {"macs", "multiply-accumulates", unknown && total == 0 ? Scalar() : Scalar(total), "MACs"});
  if (unknown) {
    s.fields.push_back({"unknown_layers", "layers not counted", unknown, ""});
    s.notes = notes_on_unknown(model, "layers of unknown extents are left out");
    if (const auto one = macs_of_one(model))
      s.fields.push_back({"macs_of_one", "with all unknown extents of inputs 1", *one, "MACs"});
  }
  if (has_loop) s.notes.push_back("bodies of Loop and Scan count once");
  if (has_branches) s.notes.push_back("both branches of each If count");
  Table t{"layers",
          "",
          {{"node", "node", ""},
           {"op", "op", ""},
           {"output", "output", ""},
           {"macs", "MACs", ""},
           {"share_percent", "share", "%"},
           {"parameters", "parameters", ""}},
          {},
          limits.rows};
  const Parameters parameters(model);
  for (const Layer& l : all) {
    const Node& n = *l.node;
    t.rows.push_back(
        {shown_name(n), operator_name(n),
         n.num_outputs() && n.has_output(0) ? Scalar(format_type(n.output(0).type())) : Scalar(),
         l.macs ? Scalar(*l.macs) : Scalar(), l.macs ? Scalar(percent(*l.macs, total)) : Scalar(),
         parameters.of(n)});
  }
  s.tables.push_back(std::move(t));
  return s;
}

Section largest_tensors(const Model& model, const InspectLimits& limits) {
  struct Entry {
    std::string name;
    Tensor tensor;
    const Value* value;
    int64_t bytes;
  };
  std::vector<Entry> all;
  int64_t total = 0;
  for_each_constant(model.graph(), [&](const std::string& name, const Tensor& t, const Value* v) {
    all.push_back({name, t, v, stored_bytes(t)});
    total = plus(total, all.back().bytes);
  });
  std::ranges::stable_sort(all, [](const Entry& a, const Entry& b) { return a.bytes > b.bytes; });
  Section s{"tensors", "Largest constants", {}, {}, {}, false};
  Table t{"tensors",
          "",
          {{"name", "name", ""},
           {"type", "type", ""},
           {"bytes", "bytes", ""},
           {"share_percent", "share", "%"},
           {"readers", "read by", ""}},
          {},
          limits.rows};
  Treemap map{"bytes of constants", "bytes", {}};
  for (const Entry& e : all) {
    map.leaves.push_back({treemap_path(e.name, e.value), e.bytes});
    std::string readers = "nothing";
    if (e.value && !e.value->uses().empty()) {
      readers = shown_name(*e.value->uses()[0].user);
      if (e.value->uses().size() > 1)
        readers += fmt::format(" and {} more", e.value->uses().size() - 1);
    } else if (e.value && e.value->is_graph_output()) {
      readers = "graph output";
    }
    t.rows.push_back({e.name, std::string(name(e.tensor.dtype())) + format_dims(e.tensor.dims()),
                      e.bytes, percent(e.bytes, total), readers});
  }
  s.tables.push_back(std::move(t));
  for (Table& tree : size_tree(map, limits.rows)) s.tables.push_back(std::move(tree));
  if (total > 0) s.figures.push_back(std::move(map));
  return s;
}

Section memory_over_time(const Model& model, const InspectLimits& limits) {
  const ActivationMemory m = activation_memory(model.graph());
  Section s{"memory", "Activation memory", {}, {}, {}, false};
  s.fields.push_back({"peak_bytes", "peak", m.peak_bytes, "bytes"});
  if (m.peak) s.fields.push_back({"peak_node", "at", m.peak->describe(), ""});
  s.fields.push_back({"total_bytes", "sum of all", m.total_bytes, "bytes"});
  if (m.unknown) {
    s.fields.push_back({"unknown_values", "values of unknown size", m.unknown, ""});
    s.notes = notes_on_unknown(model, "the peak leaves them out");
    if (s.notes.empty())
      s.notes.push_back("the peak leaves them out; strings, sequences and maps have no fixed size");
  }
  Table steps{"steps", "", {{"node", "node", ""}, {"live_bytes", "live", ""}}, {}, 0, false};
  Curve line{"live activations while each node runs", "bytes", {}, {{"live", {}}}};
  for (const MemoryStep& step : m.steps) {
    steps.rows.push_back({shown_name(*step.node), step.live_bytes});
    line.places.push_back(shown_name(*step.node));
    line.series[0].values.push_back(static_cast<double>(step.live_bytes));
  }
  if (m.peak_bytes > 0) s.figures.push_back(std::move(line));
  // People see the curve in as many strokes as tables have rows.
  Table curve{"curve",
              "over time",
              {{"from", "from node", ""}, {"most_bytes", "most bytes", ""}, {"curve", "", ""}},
              {},
              0};
  const size_t strokes = limits.rows ? limits.rows : 10;
  for (size_t i = 0; m.peak_bytes > 0 && i < strokes; ++i) {
    const size_t from = i * m.steps.size() / strokes, to = (i + 1) * m.steps.size() / strokes;
    if (from >= to) continue;
    int64_t most = 0;
    for (size_t j = from; j < to; ++j) most = std::max(most, m.steps[j].live_bytes);
    const auto width =
        static_cast<size_t>(40.0 * static_cast<double>(most) / static_cast<double>(m.peak_bytes));
    curve.rows.push_back({shown_name(*m.steps[from].node), most, std::string(width, '#')});
  }
  s.tables.push_back(std::move(steps));
  curve.for_programs = false;
  s.tables.push_back(std::move(curve));
  return s;
}

Section quantization_state(const Model& model, const Target& target) {
  Section s{"quantization", "Quantization", {}, {}, {}, false};
  const IntegerGraph g = fuse_qdq(model, target);
  int64_t quantize = 0, dequantize = 0, integer_weights = 0;
  for_each_node(model.graph(), [&](const Node& n) {
    quantize += n.is("QuantizeLinear");
    dequantize += n.is("DequantizeLinear");
  });
  for_each_constant(model.graph(), [&](const std::string&, const Tensor& t, const Value*) {
    if ((t.dtype() == DataType::kInt8 || t.dtype() == DataType::kUint8 ||
         bits_of(t.dtype()) == 4) &&
        t.count() > 1)
      integer_weights = plus(integer_weights, t.count());
  });
  if (!quantize && !dequantize && g.integer_operators.empty()) {
    s.notes.push_back("not quantized");
    return s;
  }
  s.fields.push_back({"quantize_linear", "QuantizeLinear", quantize, ""});
  s.fields.push_back({"dequantize_linear", "DequantizeLinear", dequantize, ""});
  s.fields.push_back({"integer_weights", "weights of 8 or 4 bits", integer_weights, ""});
  s.fields.push_back({"target", "predicted for", std::string(target.name), ""});
  Table t{"integer_operators",
          "what runs on integers",
          {{"op", "operator", ""}, {"count", "nodes", ""}},
          {},
          0};
  for (const auto& [op, count] : g.integer_operators) t.rows.push_back({op, int64_t{count}});
  t.rows.push_back({std::string("QuantizeLinear left"), int64_t{g.quantize}});
  t.rows.push_back({std::string("DequantizeLinear left"), int64_t{g.dequantize}});
  s.tables.push_back(std::move(t));
  return s;
}

}  // namespace onnxtool
