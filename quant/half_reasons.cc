#include "quant/half_reasons.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "quant/attention_scores.h"
#include "quant/coded_nodes.h"

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
// Operators by which counts and positions are computed.
constexpr std::string_view kArithmetic[] = {
    "Add",     "Sub",       "Mul",       "Div",         "Floor",         "Ceil",   "Round",
    "Mod",     "Neg",       "Abs",       "Min",         "Max",           "Clip",   "Reshape",
    "Squeeze", "Concat",    "Unsqueeze", "Gather",      "Slice",         "Expand", "Tile",
    "Sqrt",    "Transpose", "Where",     "Identity",    "Pow",           "Sin",    "Cos",
    "Equal",   "Less",      "Greater",   "LessOrEqual", "GreaterOrEqual"};

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

bool becomes_integer(const Node& n) {
  return n.is("Cast") && n.has_output(0) && is_integer_type(n.output(0).type().dtype);
}

bool grows(const Node& n) {
  if (n.is("Mul") && n.has_input(1) && &n.input(0) == &n.input(1)) return true;
  if (n.is("Pow") && n.has_input(1)) {
    // Roots shrink.
    const Tensor* e = n.input(1).constant();
    if (e && e->count() == 1 && std::abs(e->to_doubles()[0]) <= 1) return e->to_doubles()[0] < 0;
  }
  return among(n, kGrowing);
}

}  // namespace

bool is_half_core(const Node& node) { return among(node, kCores); }

HalfReasons::Limits HalfReasons::limits_of(DataType type) {
  if (type == DataType::kFloat16) return {32752, 0x1p-12, 2048};
  return {1.6e38, 1e-36, 256};
}

HalfReasons::HalfReasons(const Graph& graph, const std::vector<Node*>& nodes,
                         const HalfOptions& options, const MeasuredRanges* ranges,
                         HalfConstants& constants)
    : graph_(graph),
      nodes_(nodes),
      options_(options),
      ranges_(ranges),
      constants_(constants),
      limits_(limits_of(options.type)),
      coded_(coded_nodes(nodes)) {
  for (const Node* n : nodes_)
    if (n->is("Softmax") && n->has_input(0)) mark_scores(*n, scores_);
  mark_counts();
}

// Integers that became floats stay exact on the way to where they are used.
void HalfReasons::mark_counts() {
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

// Measured, and exact in 16 bits.
bool HalfReasons::small_counts(const Value& v) const {
  const Range* r = range_of(v);
  return r && std::max(std::abs(r->min), std::abs(r->max)) <= limits_.exact_count;
}

const Range* HalfReasons::range_of(const Value& v) const {
  if (!ranges_ || &v.graph() != &graph_) return nullptr;
  const auto it = ranges_->find(v.name());
  return it == ranges_->end() ? nullptr : &it->second;
}

const char* HalfReasons::why_not_value(const Value& v) const {
  const Range* r = range_of(v);
  if (!r) return nullptr;
  const double most = std::max(std::abs(r->min), std::abs(r->max));
  if (most > limits_.largest) return "its values leave the range of the type";
  if (most > 0 && most < limits_.smallest) return "its values are too small for the type";
  return nullptr;
}

// Every float that it reads or makes was measured.
bool HalfReasons::is_measured(const Node& n) const {
  for (const auto* list : {&n.inputs(), &n.outputs()})
    for (const Value* v : *list)
      if (v && is_float_tensor(*v) && !v->constant() && !range_of(*v)) return false;
  return true;
}

// A root or a divisor behind the constant that keeps it from zero, which 16 bits do not have.
bool HalfReasons::reads_guarded(const Node& n) {
  const int at = n.is("Div") ? 1 : 0;
  if ((!n.is("Div") && !n.is("Sqrt") && !n.is("Pow")) || !n.has_input(at)) return false;
  const Node* p = n.input(at).producer();
  if (!p || (!p->is("Add") && !p->is("Max") && !p->is("Clip"))) return false;
  return std::ranges::any_of(p->inputs(), [&](const Value* v) {
    const Tensor* t = v ? v->constant() : nullptr;
    return t && t->dtype() == DataType::kFloat && constants_.of(*t, false).vanishes;
  });
}

// A product or a sum with a constant beyond the range, or a division by one next to zero: its
// result is likely to lie there too. Masks of scores become smaller ones.
bool HalfReasons::leaves_by_constant(const Node& n) {
  constexpr std::string_view kOps[] = {"Add", "Sub", "Mul", "Div", "Max", "Sum", "Where"};
  if (!among(n, kOps) || scores_.contains(&n)) return false;
  for (int i = 0; i < n.num_inputs(); ++i) {
    const Tensor* t = n.has_input(i) ? n.input(i).constant() : nullptr;
    if (!t || t->dtype() != DataType::kFloat) continue;
    const HalfConstants::Entry& e = constants_.of(*t, false);
    if (n.is("Div") && i == 1 ? e.vanishes : e.overflows) return true;
  }
  return false;
}

const char* HalfReasons::why_not_constant(const Tensor& t, bool mask) {
  const HalfConstants::Entry& e = constants_.of(t, mask);
  if (e.overflows) return "a constant leaves the range of the type";
  if (e.vanishes) return "a constant is too small for the type";
  return nullptr;
}

// What a ConstantOfShape fills with is an attribute.
const char* HalfReasons::why_not_filling(const Node& n) {
  const Attribute* a = n.is("ConstantOfShape") ? n.attribute("value") : nullptr;
  const NamedTensor* value = a ? a->get<NamedTensor>() : nullptr;
  if (!value) return nullptr;
  if (value->tensor.dtype() != DataType::kFloat) return "no 16-bit form is known";
  return why_not_constant(value->tensor, false);
}

const char* HalfReasons::why_not(const Node& n, const HalfPlaces& places) {
  for (const auto* list : {&n.inputs(), &n.outputs()})
    for (const Value* v : *list)
      if (v && !v->type().is_tensor()) return "reads or makes something other than tensors";
  if (!places.known) return "no 16-bit form is known";
  if (among(n, kNever)) return "the operator stays float32";
  if (coded_.contains(&n)) return "is quantized already: a Cast would part it from Q and DQ";
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
    } else if (v.producer() && !range_of(v) && leaves_by_constant(*v.producer())) {
      return "its values may leave the range of the type";
    }
  }
  return nullptr;
}

}  // namespace onnxtool
