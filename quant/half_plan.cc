// Which nodes compute in 16 bits.

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <span>

#include "libopt/analysis/formal_types.h"
#include "quant/attention_scores.h"
#include "quant/half.h"
#include "quant/weigh.h"

namespace onnxtool {
namespace {

using Names = std::span<const std::string_view>;

bool among(const Node& n, Names names) {
  return n.domain().empty() && std::ranges::find(names, n.op_type()) != names.end();
}

// What 16 bits are for.
constexpr std::string_view kCores[] = {"Conv", "ConvTranspose", "MatMul", "Gemm",     "Einsum",
                                       "LSTM", "GRU",           "RNN",    "Attention"};
// Their results grow beyond their inputs, or need more digits than 16 bits have: only where they
// were measured.
constexpr std::string_view kGrowing[] = {"Exp",
                                         "Pow",
                                         "ReduceSum",
                                         "ReduceSumSquare",
                                         "ReduceL1",
                                         "ReduceL2",
                                         "ReduceLogSum",
                                         "ReduceLogSumExp",
                                         "ReduceProd",
                                         "CumSum",
                                         "LpNormalization",

                                         "MeanVarianceNormalization"};
// What becomes zero by rounding is infinite behind them.
constexpr std::string_view kNearZero[] = {"Log", "Reciprocal"};
// The type is an attribute's or a quantization's, or coordinates and frequencies need the digits.
constexpr std::string_view kNever[] = {"QuantizeLinear",
                                       "DequantizeLinear",
                                       "DynamicQuantizeLinear",
                                       "RandomNormal",
                                       "RandomNormalLike",
                                       "RandomUniform",
                                       "RandomUniformLike",
                                       "Bernoulli",
                                       "Multinomial",
                                       "EyeLike",
                                       "HannWindow",
                                       "HammingWindow",
                                       "BlackmanWindow",
                                       "MelWeightMatrix",
                                       "DFT",
                                       "STFT",
                                       "GridSample",
                                       "AffineGrid",
                                       "RoiAlign",
                                       "NonMaxSuppression",
                                       "Det",
                                       "Range",
                                       "Loop",
                                       "If",
                                       "Scan",
                                       "SequenceMap"};
// com.microsoft's operators whose floats are all of one type.
constexpr std::string_view kForeign[] = {"Gelu",
                                         "FastGelu",
                                         "BiasGelu",
                                         "QuickGelu",
                                         "FusedMatMul",
                                         "FusedConv",
                                         "FusedGemm",
                                         "SkipLayerNormalization",
                                         "SkipSimplifiedLayerNormalization",
                                         "EmbedLayerNormalization",
                                         "Attention",
                                         "MultiHeadAttention",
                                         "RotaryEmbedding",
                                         "GroupQueryAttention"};
// Operators by which counts and positions are computed.
constexpr std::string_view kArithmetic[] = {
    "Add",     "Sub",       "Mul",       "Div",         "Floor",         "Ceil",   "Round",
    "Mod",     "Neg",       "Abs",       "Min",         "Max",           "Clip",   "Reshape",
    "Squeeze", "Concat",    "Unsqueeze", "Gather",      "Slice",         "Expand", "Tile",
    "Sqrt",    "Transpose", "Where",     "Identity",    "Pow",           "Sin",    "Cos",
    "Equal",   "Less",      "Greater",   "LessOrEqual", "GreaterOrEqual"};

constexpr double kImpossible = 1e6;  // beyond all Casts of a model

bool is_integer_type(DataType t) {
  switch (t) {
    case DataType::kInt16:
    case DataType::kUint16:
    case DataType::kInt32:
    case DataType::kUint32:
    case DataType::kInt64:
    case DataType::kUint64: return true;
    default: return false;
  }
}

// A value is measured on some samples; others reach further.
struct Limits {
  double largest;      // magnitude that still leaves room
  double smallest;     // of a value whose largest element is below, too few digits are left
  double exact_count;  // integers up to it are exact
};
Limits limits_of(DataType type) {
  if (type == DataType::kFloat16) return {32752, 0x1p-12, 2048};
  return {1.6e38, 1e-36, 256};
}

class Planner {
 public:
  Planner(const Model& model, const HalfOptions& options, const MeasuredRanges* ranges,
          HalfConstants& constants)
      : graph_(model.graph()),
        options_(options),
        ranges_(ranges),
        constants_(constants),
        limits_(limits_of(options.type)),
        nodes_(all_nodes(model.graph())) {}

  HalfPlan run() {
    for (const Node* n : nodes_)
      if (n->is("Softmax") && n->has_input(0)) mark_scores(*n, scores_);
    mark_counts();
    HalfPlan plan;
    plan.half.assign(nodes_.size(), false);
    reasons_.assign(nodes_.size(), nullptr);
    for (size_t i = 0; i < nodes_.size(); ++i) add_node(i);
    add_ends();
    add_values();
    const std::vector<bool> side = cheapest_placement(weighed_, tensors_);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const auto v = vertex_.find(nodes_[i]);
      plan.half[i] = v != vertex_.end() && side[static_cast<size_t>(v->second)];
      if (v == vertex_.end() && !reasons_[i]) continue;
      NodeDecision d;
      d.node = nodes_[i];
      d.integer = plan.half[i];
      if (d.integer) d.kernel = name(options_.type);
      if (!d.integer) d.reason = reasons_[i] ? reasons_[i] : "would take more Casts than it saves";
      plan.decisions.push_back(d);
    }
    const auto chosen = [&](int vertex) {
      return vertex >= 0 && side[static_cast<size_t>(vertex)];
    };
    for (const int v : input_vertex_) plan.inputs.push_back(chosen(v));
    for (const int v : output_vertex_) plan.outputs.push_back(chosen(v));
    return plan;
  }

 private:
  // --- why a node stays float ---

  // Integers that became floats stay exact on the way to where they are used.
  void mark_counts() {
    for (const Node* n : nodes_) {
      if (!n->has_output(0) || !is_float_tensor(n->output(0))) continue;
      if (n->is("Cast")) {
        if (n->has_input(0) && is_integer_type(n->input(0).type().dtype) &&
            !small_counts(n->output(0)))
          counts_.insert(n);
        continue;
      }
      if (!among(*n, kArithmetic)) continue;
      bool any = false, all = true;
      for (const Value* v : n->inputs()) {
        if (!v || !is_float_tensor(*v) || v->constant()) continue;
        const bool counted = v->producer() && counts_.contains(v->producer());
        any = any || counted;
        all = all && counted;
      }
      if (any && all) counts_.insert(n);
    }
    // And back from where floats become integers.
    for (auto it = nodes_.rbegin(); it != nodes_.rend(); ++it) {
      const Node& n = **it;
      if (!among(n, kArithmetic) || n.num_outputs() != 1 || !n.has_output(0)) continue;
      const Value& v = n.output(0);
      if (v.uses().empty() || v.is_graph_output() || small_counts(v)) continue;
      if (std::ranges::all_of(v.uses(), [&](const Use& u) {
            return becomes_integer(*u.user) || counts_.contains(u.user);
          }))
        counts_.insert(&n);
    }
  }

  static bool becomes_integer(const Node& n) {
    return n.is("Cast") && n.has_output(0) && is_integer_type(n.output(0).type().dtype);
  }

  // Measured, and exact in 16 bits.
  bool small_counts(const Value& v) const {
    const Range* r = range_of(v);
    return r && std::max(std::abs(r->min), std::abs(r->max)) <= limits_.exact_count;
  }

  const Range* range_of(const Value& v) const {
    if (!ranges_ || &v.graph() != &graph_) return nullptr;
    const auto it = ranges_->find(v.name());
    return it == ranges_->end() ? nullptr : &it->second;
  }

  const char* why_not_value(const Value& v) const {
    const Range* r = range_of(v);
    if (!r) return nullptr;
    const double most = std::max(std::abs(r->min), std::abs(r->max));
    if (most > limits_.largest) return "its values leave the range of the type";
    if (most > 0 && most < limits_.smallest) return "its values are too small for the type";
    return nullptr;
  }

  // Every float that it reads or makes was measured.
  bool is_measured(const Node& n) const {
    for (const auto* list : {&n.inputs(), &n.outputs()})
      for (const Value* v : *list)
        if (v && is_float_tensor(*v) && !v->constant() && !range_of(*v)) return false;
    return true;
  }

  // A root or a divisor behind the constant that keeps it from zero, which 16 bits do not have.
  bool reads_guarded(const Node& n) {
    const int at = n.is("Div") ? 1 : 0;
    if ((!n.is("Div") && !n.is("Sqrt") && !n.is("Pow")) || !n.has_input(at)) return false;
    const Node* p = n.input(at).producer();
    if (!p || (!p->is("Add") && !p->is("Max") && !p->is("Clip"))) return false;
    return std::ranges::any_of(p->inputs(), [&](const Value* v) {
      const Tensor* t = v ? v->constant() : nullptr;
      return t && t->dtype() == DataType::kFloat && constants_.of(*t, false).vanishes;
    });
  }

  static bool grows(const Node& n) {
    if (n.is("Mul") && n.has_input(1) && &n.input(0) == &n.input(1)) return true;
    if (n.is("Pow") && n.has_input(1)) {
      // Roots shrink.
      const Tensor* e = n.input(1).constant();
      if (e && e->count() == 1 && std::abs(e->to_doubles()[0]) <= 1) return e->to_doubles()[0] < 0;
    }
    return among(n, kGrowing);
  }

  const char* why_not_constant(const Tensor& t, bool mask) {
    const HalfConstants::Entry& e = constants_.of(t, mask);
    if (e.overflows) return "a constant leaves the range of the type";
    if (e.vanishes) return "a constant is too small for the type";
    return nullptr;
  }

  // What a ConstantOfShape fills with is an attribute.
  const char* why_not_filling(const Node& n) {
    const Attribute* a = n.is("ConstantOfShape") ? n.attribute("value") : nullptr;
    const NamedTensor* value = a ? a->get<NamedTensor>() : nullptr;
    if (!value) return nullptr;
    if (value->tensor.dtype() != DataType::kFloat) return "no 16-bit form is known";
    return why_not_constant(value->tensor, false);
  }

  const char* why_not(const Node& n, const HalfPlaces& places) {
    for (const auto* list : {&n.inputs(), &n.outputs()})
      for (const Value* v : *list)
        if (v && !v->type().is_tensor()) return "reads or makes something other than tensors";
    if (!places.known) return "no 16-bit form is known";
    if (among(n, kNever)) return "the operator stays float32";
    if (places.inputs.empty() && places.outputs.empty()) return "the standard has no 16-bit form";
    if (options_.exclude.matches(n)) return "excluded";
    if (!options_.include.empty() && among(n, kCores) && !options_.include.matches(n))
      return "not included";
    if (options_.type == DataType::kFloat16 && options_.target->float16_obstacle)
      if (const char* r = options_.target->float16_obstacle(n)) return r;
    if (counts_.contains(&n)) return "counts and positions need the digits";
    if (grows(n) && !is_measured(n)) return "its values may leave the range of the type";
    if (among(n, kNearZero) || reads_guarded(n)) return "values near zero decide";
    for (const int o : places.outputs) {
      if (const char* r = why_not_value(n.output(o))) return r;
      for (const Use& u : n.output(o).uses())
        if (u.index == 0 && among(*u.user, kNearZero)) return "values near zero decide";
    }
    if (const char* r = why_not_filling(n)) return r;
    for (const int i : places.inputs) {
      const Value& v = n.input(i);
      if (const Tensor* t = v.constant()) {
        if (const char* r = why_not_constant(*t, scores_.contains(&n))) return r;
      } else if (const char* r = why_not_value(v)) {
        return r;
      }
    }
    return nullptr;
  }

  // --- the network of nodes and Casts ---

  int add_vertex(double float_cost, double half_cost) {
    weighed_.push_back({float_cost, half_cost});
    return static_cast<int>(weighed_.size()) - 1;
  }

  void add_node(size_t i) {
    const Node& n = *nodes_[i];
    if (n.is("Constant")) return;
    const HalfPlaces places = half_places(n, options_.type);
    if (places.inputs.empty() && places.outputs.empty() && places.fixed_inputs.empty() &&
        places.fixed_outputs.empty())
      return;
    reasons_[i] = why_not(n, places);
    const bool core = among(n, kCores) || (!n.domain().empty() && places.known);
    // A core is worth any Cast; of the others each saves less than one.
    constexpr double kCoreGain = 50, kOtherGain = 0.25;
    const int v =
        reasons_[i] ? add_vertex(0, kImpossible) : add_vertex(core ? kCoreGain : kOtherGain, 0);
    vertex_[&n] = v;
    for (const int o : places.outputs) maker_[&n.output(o)] = v;
    for (const int k : places.inputs)
      if (!n.input(k).constant()) readers_[&n.input(k)].push_back(v);
    for (const int k : places.fixed_inputs)
      if (!n.input(k).constant()) ++fixed_[&n.input(k)];
  }

  // Inputs and outputs of the model, each as free as a node; those of bodies stay float32.
  void add_ends() {
    constexpr double kEndGain = 0.5;
    for (Value* v : graph_.inputs()) {
      const bool free = !options_.keep_io_types && is_float_tensor(*v) && !v->initializer() &&
                        !v->is_graph_output() && !why_not_value(*v);
      input_vertex_.push_back(free ? add_vertex(kEndGain, 0) : -1);
      if (free) maker_[v] = input_vertex_.back();
    }
    std::set<const Value*> seen;
    for (const Value* v : graph_.outputs()) {
      const bool free = !options_.keep_io_types && is_float_tensor(*v) && v->producer() &&
                        !v->constant() && seen.insert(v).second && !why_not_value(*v);
      output_vertex_.push_back(free ? add_vertex(kEndGain, 0) : -1);
      if (free)
        readers_[v].push_back(output_vertex_.back());
      else
        ++fixed_[v];
    }
    for (const Node* n : nodes_)
      n->for_each_subgraph([&](Graph& g) {
        for (const Value* v : g.outputs()) ++fixed_[v];
      });
  }

  static double cast_cost(const Value& v) {
    // One Cast is one Cast; of two places the smaller tensor is the better one.
    double count = 1;
    if (v.type().shape)
      for (const Dim& d : *v.type().shape)
        count *= static_cast<double>(std::max<int64_t>(d.value.value_or(16), 1));
    return 1 + std::log2(1 + count) / 64;
  }

  void add_values() {
    // In the order of nodes: the cut among equals does not depend on addresses.
    std::set<const Value*> done;
    const auto add = [&](const Value* v) {
      if (!v || !is_float_tensor(*v) || v->constant() || !done.insert(v).second) return;
      const double cost = cast_cost(*v);
      const auto maker = maker_.find(v);
      const std::vector<int>& readers = readers_[v];
      if (maker == maker_.end()) {
        tensors_.push_back({-1, readers, 0, cost, 0});
        return;
      }
      // One Cast down for all readers in 16 bits, and one Cast up for all others, which read
      // `wide`: float32 as soon as one of them is.
      const int wide = add_vertex(0, fixed_.contains(v) ? kImpossible : 0);
      tensors_.push_back({maker->second, {wide}, 0, 0, cost});
      tensors_.push_back({wide, readers, 0, 0, kImpossible});
      tensors_.push_back({maker->second, readers, 0, cost, 0});
    };
    for (const Value* v : graph_.inputs()) add(v);
    for (const Node* n : nodes_) {
      for (const Value* v : n->inputs()) add(v);
      for (const Value* v : n->outputs()) add(v);
    }
  }

  const Graph& graph_;
  const HalfOptions& options_;
  const MeasuredRanges* ranges_;
  HalfConstants& constants_;
  const Limits limits_;
  const std::vector<Node*> nodes_;
  std::set<const Node*> scores_, counts_;
  std::vector<const char*> reasons_;  // by node; nullptr: may be 16-bit
  std::unordered_map<const Node*, int> vertex_;
  std::unordered_map<const Value*, int> maker_;                 // vertex of who makes it
  std::unordered_map<const Value*, std::vector<int>> readers_;  // vertices
  std::unordered_map<const Value*, int> fixed_;                 // readers that want float32 always
  std::vector<int> input_vertex_, output_vertex_;               // -1: float32 whatever is decided
  std::vector<WeighedNode> weighed_;
  std::vector<WeighedTensor> tensors_;
};

void append_nodes(const Graph& graph, std::vector<Node*>& out) {
  for (Node& n : graph.nodes()) {
    out.push_back(&n);
    n.for_each_subgraph([&](Graph& g) { append_nodes(g, out); });
  }
}

}  // namespace

std::vector<Node*> all_nodes(const Graph& graph) {
  std::vector<Node*> out;
  append_nodes(graph, out);
  return out;
}

HalfPlaces half_places(const Node& n, DataType type) {
  HalfPlaces out;
  const bool standard = n.domain().empty();
  const FormalTypes formal = standard ? formal_types(n, type) : FormalTypes{};
  const bool foreign = n.domain() == "com.microsoft" &&
                       std::ranges::find(kForeign, n.op_type()) != std::end(kForeign);
  out.known = standard ? !formal.inputs.empty() || !formal.outputs.empty() : foreign;
  const auto place = [&](const Value* v, int i, const std::vector<FormalType>& formals,
                         std::vector<int>& free, std::vector<int>& fixed) {
    if (!v || !is_float_tensor(*v)) return;
    const auto at = static_cast<size_t>(i);
    const bool admits = foreign || (at < formals.size() && formals[at].admits);
    (admits ? free : fixed).push_back(i);
  };
  // Any type goes in, and the result's is its own.
  const bool takes_any = n.is("Cast") || n.is("Shape") || n.is("Size");
  // The factors and regions of a Resize are no data.
  const int inputs = takes_any ? 0 : n.num_inputs();
  for (int i = 0; i < inputs; ++i)
    place(n.inputs()[static_cast<size_t>(i)], i, formal.inputs,
          (n.is("Resize") || n.is("Upsample")) && i > 0 ? out.fixed_inputs : out.inputs,
          out.fixed_inputs);
  for (int i = 0; i < n.num_outputs(); ++i)
    place(n.outputs()[static_cast<size_t>(i)], i, formal.outputs, out.outputs, out.fixed_outputs);
  return out;
}

HalfPlan plan_half(const Model& model, const HalfOptions& options, const MeasuredRanges* ranges,
                   HalfConstants& constants) {
  return Planner(model, options, ranges, constants).run();
}

}  // namespace onnxtool
