// The planned types written into the graph.

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "calib/exec/folder.h"
#include "libopt/analysis/seam.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/rewriter.h"
#include "passes/pass.h"
#include "quant/attention_scores.h"
#include "quant/attributes.h"
#include "quant/half.h"

namespace onnxtool {
namespace {

constexpr int kBfloat16Opset = 13;  // the first whose Cast and arithmetic take bfloat16
// Smaller constants are parameters, which runtimes want to know; their Casts would outweigh them.
constexpr int64_t kLeastStored = 256;

void set_dtype(Value& v, DataType type) {
  ValueType t = v.type();
  t.dtype = type;
  v.set_type(std::move(t));
}

std::vector<Attribute> cast_to(DataType type) {
  return one_attribute("to", static_cast<int64_t>(type));
}

Node* first_of(const Graph& g) {
  for (Node& n : g.nodes()) return &n;
  return nullptr;
}

class Halver {
 public:
  Halver(Model& model, const HalfPlan& plan, const HalfOptions& options, HalfConstants& constants)
      : graph_(model.graph()),
        plan_(plan),
        type_(options.type),
        constants_(constants),
        nodes_(all_nodes(model.graph())) {}

  HalfReport run() {
    for (const Node* n : nodes_)
      if (n->is("Softmax") && n->has_input(0)) mark_scores(*n, scores_);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      places_.push_back(half_places(*nodes_[i], type_));
      note_wishes(i);
    }
    const std::vector<Value*> outputs = graph_.outputs();
    for (size_t i = 0; i < nodes_.size(); ++i)
      if (plan_.half[i]) retype(*nodes_[i], places_[i]);
    for (size_t i = 0; i < graph_.inputs().size(); ++i)
      if (plan_.inputs[i]) narrow(*graph_.inputs()[i]);
    for (size_t i = 0; i < nodes_.size(); ++i) connect(i);
    for (size_t i = 0; i < outputs.size(); ++i) give_output(i, *outputs[i]);
    for (const Node* n : nodes_) n->for_each_subgraph([&](Graph& g) { give_body_outputs(g); });
    remove_unused_values(graph_);
    return report_;
  }

 private:
  // Constants that all readers want in 16 bits are converted where they are.
  void note_wishes(size_t i) {
    if (!plan_.half[i]) return;
    for (const int k : places_[i].inputs)
      if (nodes_[i]->input(k).constant())
        ++wishes_[{&nodes_[i]->input(k), scores_.contains(nodes_[i])}];
  }

  void narrow(Value& v) {
    narrow_.insert(&v);
    set_dtype(v, type_);
  }

  void retype(Node& n, const HalfPlaces& places) {
    for (const int o : places.outputs) narrow(n.output(o));
    if (n.is("Cast")) n.set_attribute(std::move(cast_to(type_).front()));
    if (!n.is("ConstantOfShape")) return;
    const Attribute* a = n.attribute("value");
    const NamedTensor* given = a ? a->get<NamedTensor>() : nullptr;
    const Tensor zero = Tensor::vector(std::vector<float>{0});
    const Tensor& value = given ? given->tensor : zero;
    n.set_attribute(Attribute::of(
        "value", NamedTensor{given ? given->name : "", constants_.of(value, false).tensor}));
  }

  void connect(size_t i) {
    Node& n = *nodes_[i];
    // Places that take any type read what is there.
    for (const int k : places_[i].inputs) set_input(n, k, plan_.half[i]);
    for (const int k : places_[i].fixed_inputs) set_input(n, k, false);
  }

  void set_input(Node& n, int index, bool half) {
    Value& v = n.input(index);
    if (v.constant()) {
      if (half)
        Rewriter(n.graph(), &n).set_input(n, index, &half_constant(v, scores_.contains(&n)));
      else if (scores_.contains(&n))
        bound_mask(v, n, index);
      return;
    }
    if (narrow_.contains(&v) != half) Rewriter(n.graph(), &n).set_input(n, index, &cast(v, half));
  }

  // A mask that is added in float32 becomes infinite by the Cast behind, and rows that are masked
  // as a whole NaN.
  void bound_mask(Value& v, Node& n, int index) {
    const Tensor& t = *v.constant();
    if (t.dtype() != DataType::kFloat || !constants_.of(t, false).overflows) return;
    const HalfConstants::Entry& e = constants_.of(t, true);
    if (!e.fits()) return;
    Value*& known = bounded_[&v];
    if (!known) {
      std::vector<float> values;
      for (const double x : e.tensor.to_doubles()) values.push_back(static_cast<float>(x));
      known =
          &Rewriter(v.graph()).add_constant(Tensor::from(t.dims(), values), v.name() + "_bounded");
    }
    Rewriter(n.graph(), &n).set_input(n, index, known);
  }

  Value& half_constant(Value& v, bool mask) {
    Value*& known = converted_[{&v, mask}];
    if (known) return *known;
    const Tensor source = *v.constant();
    const Tensor& tensor = constants_.of(source, mask).tensor;
    report_.converted_bytes += static_cast<int64_t>(source.size_bytes());
    const bool only_here = v.uses().size() == static_cast<size_t>(wishes_[{&v, mask}]) &&
                           !v.is_graph_output() && !v.is_graph_input() && !v.producer();
    if (only_here) {
      v.graph().set_initializer(v, tensor);
      set_dtype(v, type_);
      return *(known = &v);
    }
    return *(known = &Rewriter(v.graph()).add_constant(tensor,
                                                       v.name() + "_" + std::string(name(type_))));
  }

  // One Cast of a value for all who read it in the other type, right behind what makes it.
  Value& cast(Value& v, bool half) {
    Value*& known = casts_[&v];
    if (known) return *known;
    Graph& g = v.graph();
    Node* after = v.producer() ? v.producer()->next() : first_of(g);
    Rewriter rw(g, after);
    const DataType to = half ? type_ : DataType::kFloat;
    Node& n = rw.add_node("Cast", {&v}, cast_to(to), 1, v.name() + "_" + std::string(name(to)));
    n.output(0).set_type(v.type());
    set_dtype(n.output(0), to);
    ++report_.casts;
    return *(known = &n.output(0));
  }

  // The output keeps its name, whichever of both types it has.
  void give_output(size_t i, Value& v) {
    if (v.constant() || (!narrow_.contains(&v) && !is_float_tensor(v))) return;
    if (graph_.outputs()[i] != &v) return;  // has been given with an equal one before
    const bool half = plan_.outputs[i];
    if (narrow_.contains(&v) == half) return;
    Value& other = cast(v, half);
    if (v.is_graph_input()) {
      replace_output(v, other);
      return;
    }
    const std::string name = v.name();
    replace_output(v, other);
    graph_.rename(v, graph_.fresh_name(name));
    graph_.rename(other, name);
  }

  void replace_output(Value& v, Value& other) {
    for (size_t k = 0; k < graph_.outputs().size(); ++k)
      if (graph_.outputs()[k] == &v) graph_.set_output(k, other);
  }

  // What leaves a body stays float32.
  void give_body_outputs(Graph& g) {
    for (size_t i = 0; i < g.outputs().size(); ++i) {
      Value& v = *g.outputs()[i];
      if (narrow_.contains(&v)) g.set_output(i, cast(v, false));
    }
  }

  struct Hash {
    size_t operator()(const std::pair<const Value*, bool>& k) const {
      return std::hash<const void*>()(k.first) ^ static_cast<size_t>(k.second);
    }
  };

  Graph& graph_;
  const HalfPlan& plan_;
  const DataType type_;
  HalfConstants& constants_;
  const std::vector<Node*> nodes_;
  std::vector<HalfPlaces> places_;
  std::set<const Node*> scores_;
  std::unordered_set<const Value*> narrow_;  // were float32, are 16-bit
  std::unordered_map<std::pair<const Value*, bool>, int, Hash> wishes_;
  std::unordered_map<const Value*, Value*> casts_, bounded_;
  std::unordered_map<std::pair<const Value*, bool>, Value*, Hash> converted_;
  HalfReport report_;
};

void store_graph(Graph& graph, HalfConstants& constants, HalfReport& report) {
  for (Node& n : graph.nodes())
    n.for_each_subgraph([&](Graph& g) { store_graph(g, constants, report); });
  for (Value* v : graph.initializers()) {
    const Tensor* t = v->constant();
    if (!t || t->dtype() != DataType::kFloat || t->count() < kLeastStored || v->is_graph_output())
      continue;
    // Runtimes fuse Q and DQ of constant scales only.
    if (std::ranges::any_of(v->uses(), [](const Use& u) {
          return u.user->op_type() == "QuantizeLinear" || u.user->op_type() == "DequantizeLinear";
        }))
      continue;
    const HalfConstants::Entry& e = constants.of(*t, false);
    if (!e.fits()) continue;
    report.converted_bytes += static_cast<int64_t>(t->size_bytes());
    ++report.casts;
    Rewriter rw(graph, first_of(graph));
    Node& cast = rw.add_node("Cast", {v}, cast_to(DataType::kFloat), 1, v->name() + "_float");
    cast.output(0).set_type(v->type());
    rw.replace_uses(*v, cast.output(0));
    rw.set_input(cast, 0, v);
    graph.set_initializer(*v, e.tensor);
    set_dtype(*v, e.tensor.dtype());
  }
}

// Folding what stands behind a layer into its weights would round those again that are 16-bit.
std::vector<const PassInfo*> preparation_passes(const Graph& graph) {
  bool has_half = false;
  for (const Value* v : graph.initializers())
    has_half = has_half || v->initializer()->dtype() == DataType::kFloat16 ||
               v->initializer()->dtype() == DataType::kBfloat16;
  std::vector<const PassInfo*> passes;
  for (const PassInfo* p : preparation_pipeline())
    if (!has_half || p->exactness == Exactness::kExact) passes.push_back(p);
  return passes;
}

}  // namespace

Result<Preparation> prepare_for_half(std::unique_ptr<Model>& model, const HalfOptions& options) {
  const int needed = options.type == DataType::kBfloat16 ? kBfloat16Opset : 0;
  ONNXTOOL_ASSIGN(Preparation p, prepare_weights(model, needed, options.no_opset_change));
  const auto folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  run_passes(*model, preparation_passes(model->graph()), context);
  ONNXTOOL_TRY(infer_graph(model->graph()));
  p.nodes_after = model->graph().num_nodes();
  return p;
}

HalfReport apply_half(Model& model, const HalfPlan& plan, const HalfOptions& options,
                      HalfConstants& constants) {
  HalfReport report = Halver(model, plan, options, constants).run();
  // Equal weights that were two before, or became equal, are one.
  const PassInfo* const once[] = {&kDeduplicateInitializers};
  run_passes(model, once, PassContext());
  return report;
}

HalfReport store_half(Model& model, HalfConstants& constants) {
  HalfReport report;
  store_graph(model.graph(), constants, report);
  return report;
}

}  // namespace onnxtool
