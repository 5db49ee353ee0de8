#include "libopt/analysis/batch.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "libopt/analysis/effects.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

// What a value is when samples are stacked.
enum class Kind : uint8_t {
  kShared,   // depends on no input
  kSamples,  // axis 0 counts samples; each part depends on its own sample only
  kSizes,    // computed from extents, the number of samples perhaps among them
  kUnknown
};

class Batch {
 public:
  explicit Batch(const Graph& graph)
      : kinds_(static_cast<size_t>(graph.value_id_bound()), Kind::kUnknown) {
    for (const Value* v : graph.values())
      if (!v->producer() && !v->is_graph_input()) set(*v, Kind::kShared);
    for (const Value* v : graph.inputs()) {
      const auto& shape = v->type().shape;
      const bool stacks =
          v->type().is_tensor() && shape && !shape->empty() && !shape->front().value;
      // A default is not given anew with a sample.
      if (v->initializer()) {
        set(*v, Kind::kShared);
        continue;
      }
      set(*v, stacks ? Kind::kSamples : Kind::kUnknown);
    }
    for (const Node& n : graph.nodes()) take(n);
  }
  Kind of(const Value& v) const { return kinds_[static_cast<size_t>(v.id())]; }
  /// The first node of whose result nothing is known although something is of its inputs.
  const Node* in_the_way() const { return in_the_way_; }

 private:
  void set(const Value& v, Kind kind) {
    kinds_[static_cast<size_t>(v.id())] = kind;
    const auto& shape = v.type().shape;
    if (kind == Kind::kSamples && shape && !shape->empty()) add_rows(shape->front().symbol);
  }
  // Declarations may call the number of samples otherwise from value to value.
  void add_rows(const std::string& name) {
    if (!name.empty() && std::ranges::find(rows_, name) == rows_.end()) rows_.push_back(name);
  }

  void take(const Node& n) {
    bool known = true, samples = false, sizes = false, has_subgraph = false;
    n.for_each_subgraph([&](Graph&) { has_subgraph = true; });
    for (const Value* v : n.inputs()) {
      if (!v) continue;
      known &= of(*v) != Kind::kUnknown;
      samples |= of(*v) == Kind::kSamples;
      sizes |= of(*v) == Kind::kSizes;
    }
    Kind made = Kind::kUnknown;
    if (known && !has_subgraph && is_deterministic(n)) {
      if (samples && (n.is("Shape") || n.is("Size")))
        made = Kind::kSizes;
      else if (samples || (sizes && makes_rows_of_sizes(n)))
        made = keeps_samples_apart(n) ? Kind::kSamples : Kind::kUnknown;
      else
        made = sizes ? Kind::kSizes : Kind::kShared;
    }
    if (made == Kind::kUnknown && known && !in_the_way_) in_the_way_ = &n;
    for (const Value* v : n.outputs())
      if (v) set(*v, made == Kind::kSizes && is_without_rows(*v) ? Kind::kShared : made);
  }

  // Whether an extent follows from other things than how many samples there are.
  bool is_without_rows(const Dim& d) const {
    if (d.value) return true;
    return !d.symbol.empty() && std::ranges::none_of(rows_, [&](const std::string& name) {
      return d.symbol.find(name) != std::string::npos;
    });
  }
  bool is_without_rows(const Value& sizes) const {
    const auto elements = symbolic_elements(sizes);
    return elements &&
           std::ranges::all_of(*elements, [&](const Dim& d) { return is_without_rows(d); });
  }
  // Of a result's shape but for its rows.
  bool has_fixed_rows(const Value& v) const {
    const auto& shape = v.type().shape;
    return shape && !shape->empty() &&
           std::all_of(shape->begin() + 1, shape->end(),
                       [&](const Dim& d) { return is_without_rows(d); });
  }

  bool is(const Node& n, int i, Kind kind) const {
    return n.has_input(i) && of(n.input(i)) == kind;
  }
  bool shared_from(const Node& n, int first) const {
    for (int i = first; i < n.num_inputs(); ++i)
      if (n.has_input(i) && !is(n, i, Kind::kShared)) return false;
    return true;
  }
  static std::optional<int64_t> rank_of(const Value& v) { return v.type().rank(); }
  static bool one_row(const Value& v) {
    return v.type().shape && !v.type().shape->empty() && v.type().shape->front().value == 1;
  }
  // Axis 0 of both counts the same.
  static bool same_rows(const Value& a, const Value& b) {
    if (!a.type().shape || !b.type().shape || a.type().shape->empty() || b.type().shape->empty())
      return false;
    const Dim &x = a.type().shape->front(), &y = b.type().shape->front();
    return !x.value && !y.value && !x.symbol.empty() && x.symbol == y.symbol;
  }
  // As many rows as an input.
  bool has_rows_of_samples(const Value& v) const {
    const auto& shape = v.type().shape;
    return has_fixed_rows(v) && !shape->front().value &&
           std::ranges::find(rows_, shape->front().symbol) != rows_.end();
  }
  // An axis, counted from 0, of a value of this rank.
  static std::optional<int64_t> normal(int64_t axis, std::optional<int64_t> rank) {
    if (!rank || axis < -*rank || axis >= *rank) return std::nullopt;
    return axis < 0 ? axis + *rank : axis;
  }
  static bool inner_axis(const Node& n, int64_t fallback) {
    const auto axis = normal(n.attr<int64_t>("axis", fallback), rank_of(n.input(0)));
    return axis && *axis > 0;
  }
  // Axes of an attribute or of a constant input; nullopt: neither.
  static std::optional<std::vector<int64_t>> axes_of(const Node& n, int input) {
    if (n.has_input(input)) {
      const Tensor* t = n.input(input).constant();
      if (!t) return std::nullopt;
      return t->to_ints();
    }
    if (const Attribute* a = n.attribute("axes"))
      if (const auto* axes = a->get<std::vector<int64_t>>()) return *axes;
    return std::nullopt;
  }
  static bool inner_axes(const Node& n, int input, std::optional<int64_t> rank) {
    const auto axes = axes_of(n, input);
    if (!axes || axes->empty()) return false;
    return std::ranges::all_of(*axes, [&](int64_t a) {
      const auto axis = normal(a, rank);
      return axis && *axis > 0;
    });
  }

  // Of inputs that broadcast: samples lie along the result's axis 0, and nothing else does.
  bool broadcasts(const Node& n, int first = 0) const {
    const auto rank = rank_of(n.output(0));
    if (!rank || *rank == 0) return false;
    for (int i = first; i < n.num_inputs(); ++i) {
      if (!n.has_input(i)) continue;
      const auto own = rank_of(n.input(i));
      if (!own) return false;
      if (is(n, i, Kind::kSamples)
              ? *own != *rank
              : !is(n, i, Kind::kShared) || (*own == *rank && !one_row(n.input(i))))
        return false;
    }
    return true;
  }

  bool multiplies(const Node& n) const {
    for (int i = 0; i < 2; ++i)
      if (!is(n, i, Kind::kSamples) && !is(n, i, Kind::kShared)) return false;
    if (!shared_from(n, 2) || n.attr<int64_t>("transBatchA", 0) ||
        n.attr<int64_t>("transBatchB", 0))
      return false;
    const auto a = rank_of(n.input(0)), b = rank_of(n.input(1));
    if (!a || !b) return false;
    const bool a_rows = is(n, 0, Kind::kSamples), b_rows = is(n, 1, Kind::kSamples);
    if (a_rows && b_rows) return *a == *b && *a >= 3;
    if (b_rows) return *b >= 3 && (*a < *b || (*a == *b && one_row(n.input(0))));
    if (*a == 2) return *b <= 2 && !n.attr<int64_t>("transA", 0);
    return *a >= 3 && (*b < *a || (*b == *a && one_row(n.input(1))));
  }

  bool gathers(const Node& n) const {
    const auto axis = normal(n.attr<int64_t>("axis", 0), rank_of(n.input(0)));
    const auto rank = rank_of(n.input(1));
    if (!axis || !rank) return false;
    if (is(n, 0, Kind::kShared)) return *axis == 0 && *rank > 0;
    return is(n, 0, Kind::kSamples) && is(n, 1, Kind::kShared) && *axis > 0;
  }

  // Ids, segments, the mask and position ids are the samples'; position ids may be one row for all.
  bool embeds(const Node& n) const {
    for (int i = 0; i < n.num_inputs(); ++i) {
      if (!n.has_input(i)) continue;
      const bool of_samples = i == 0 || i == 1 || i == 7 || i == 8;
      const bool shares_row = i == 8 && is(n, i, Kind::kShared) && one_row(n.input(i));
      if (!is(n, i, of_samples ? Kind::kSamples : Kind::kShared) && !shares_row) return false;
    }
    return true;
  }

  // The scale's own shape tells whether there is an axis.
  bool converts_codes(const Node& n) const {
    if (!is(n, 0, Kind::kSamples) || !shared_from(n, 1) || !n.has_input(1)) return false;
    const auto& scale = n.input(1).type().shape;
    if (!scale) return false;
    if (scale->empty() || (scale->size() == 1 && scale->front().value == 1)) return true;
    return scale->size() == 1 && inner_axis(n, 1);
  }

  // Results that are as many as a size says: equal for every sample.
  static bool makes_rows_of_sizes(const Node& n) {
    return n.is("Expand") || n.is("ConstantOfShape");
  }

  // Row-major, so that equal first extents keep what lies behind each.
  bool reshapes(const Node& n) const {
    if (!is(n, 0, Kind::kSamples)) return false;
    if (same_rows(n.input(0), n.output(0)) && has_fixed_rows(n.output(0))) return true;
    const Tensor* shape = n.has_input(1) ? n.input(1).constant() : nullptr;
    if (!shape || shape->count() == 0 || n.attr<int64_t>("allowzero", 0)) return false;
    const std::vector<int64_t> dims = shape->to_ints();
    if (dims[0] == 0) return true;
    int64_t per_row = 1, wanted = 1;
    for (size_t i = 1; i < dims.size(); ++i) {
      if (dims[i] < 1 || dims[i] > kMostInRow || wanted > kMostInRow) return false;
      wanted *= dims[i];
    }
    const auto& from = *n.input(0).type().shape;
    for (size_t i = 1; i < from.size(); ++i) {
      if (from[i].value.value_or(kMostInRow + 1) > kMostInRow || per_row > kMostInRow) return false;
      per_row *= *from[i].value;
    }
    return dims[0] == -1 && per_row == wanted;
  }
  static constexpr int64_t kMostInRow = int64_t{1} << 30;  // products of two stay in 64 bits

  bool moves(const Node& n) const;
  bool reduces(const Node& n) const;
  bool keeps_samples_apart(const Node& n) const;

  std::vector<Kind> kinds_;
  std::vector<std::string> rows_;  // names of the first dimensions of all values of kSamples
  const Node* in_the_way_ = nullptr;
};

template <size_t count>
bool any_of_these(const Node& n, const std::string_view (&ops)[count]) {
  return std::ranges::find(ops, n.op_type()) != std::end(ops);
}

// Operators that only change where elements lie.
bool Batch::moves(const Node& n) const {
  if (n.is("Transpose")) {
    const Attribute* perm = n.attribute("perm");
    const auto* axes = perm ? perm->get<std::vector<int64_t>>() : nullptr;
    return axes && !axes->empty() && axes->front() == 0;
  }
  if (n.is("Reshape")) return n.input(0).type().shape && reshapes(n);
  if (n.is("Expand")) {
    const auto from = rank_of(n.input(0)), to = rank_of(n.output(0));
    if (!from || !to) return false;
    if (is(n, 0, Kind::kSamples))
      return *from == *to && same_rows(n.input(0), n.output(0)) && has_fixed_rows(n.output(0));
    return is(n, 0, Kind::kShared) && has_rows_of_samples(n.output(0)) &&
           (*from < *to || one_row(n.input(0)));
  }
  if (n.is("ConstantOfShape")) return has_rows_of_samples(n.output(0));
  if (n.is("Flatten")) return n.attr<int64_t>("axis", 1) == 1;
  if (n.is("Squeeze")) return inner_axes(n, 1, rank_of(n.input(0)));
  if (n.is("Unsqueeze")) return inner_axes(n, 1, rank_of(n.output(0)));
  if (n.is("Concat")) {
    for (int i = 0; i < n.num_inputs(); ++i)
      if (!is(n, i, Kind::kSamples)) return false;
    return inner_axis(n, 0);
  }
  if (n.is("Split")) return shared_from(n, 1) && inner_axis(n, 0);
  if (n.is("Slice")) {
    return shared_from(n, 1) && inner_axes(n, 3, rank_of(n.input(0)));
  }
  if (n.is("Gather")) return gathers(n);
  if (n.is("GatherElements"))
    return is(n, 0, Kind::kSamples) && is(n, 1, Kind::kSamples) && inner_axis(n, 0);
  if (n.is("Pad") && n.opset() >= 11) {
    const Tensor* pads = n.has_input(1) ? n.input(1).constant() : nullptr;
    if (!pads || !shared_from(n, 1) || n.has_input(3)) return false;
    const std::vector<int64_t> p = pads->to_ints();
    return p.size() >= 2 && p[0] == 0 && p[p.size() / 2] == 0;
  }
  if (n.is("Resize") || n.is("Upsample")) {
    if (!is(n, 0, Kind::kSamples) || !shared_from(n, 1) || n.attribute("axes")) return false;
    if (same_rows(n.input(0), n.output(0))) return true;
    const int at = n.is("Resize") && n.opset() >= 11 ? 2 : 1;
    const Tensor* scales = n.has_input(at) ? n.input(at).constant() : nullptr;
    return scales && !n.has_input(3) && scales->count() == rank_of(n.input(0)) &&
           scales->to_doubles()[0] == 1;
  }
  return false;
}

// Operators that look at all elements along some axes.
bool Batch::reduces(const Node& n) const {
  if (!is(n, 0, Kind::kSamples) || !shared_from(n, 1)) return false;
  if (n.op_type().starts_with("Reduce")) return inner_axes(n, 1, rank_of(n.input(0)));
  if (n.is("Softmax") || n.is("LogSoftmax") || n.is("Hardmax"))
    return inner_axis(n, n.opset() < 13 ? 1 : -1);
  if (n.is("ArgMax") || n.is("ArgMin")) return inner_axis(n, 0);
  if (n.is("TopK") || n.is("LpNormalization") || n.is("LayerNormalization") ||
      n.is("RMSNormalization") || n.is("SimplifiedLayerNormalization"))
    return inner_axis(n, -1);
  if (n.is("CumSum")) {
    const Tensor* axis = n.has_input(1) ? n.input(1).constant() : nullptr;
    const auto at =
        axis && axis->count() == 1 ? normal(axis->to_ints()[0], rank_of(n.input(0))) : std::nullopt;
    return at && *at > 0;
  }
  return false;
}

bool Batch::keeps_samples_apart(const Node& n) const {
  static constexpr std::string_view kElementwise[] = {"Abs",         "Acos",
                                                      "Acosh",       "Add",
                                                      "And",         "Asin",
                                                      "Asinh",       "Atan",
                                                      "Atanh",       "BitShift",
                                                      "BitwiseAnd",  "BitwiseNot",
                                                      "BitwiseOr",   "BitwiseXor",
                                                      "Cast",        "CastLike",
                                                      "Ceil",        "Celu",
                                                      "Clip",        "Cos",
                                                      "Cosh",        "Div",
                                                      "Elu",         "Equal",
                                                      "Erf",         "Exp",
                                                      "Floor",       "Gelu",
                                                      "Greater",     "GreaterOrEqual",
                                                      "HardSigmoid", "HardSwish",
                                                      "Identity",    "IsInf",
                                                      "IsNaN",       "LeakyRelu",
                                                      "Less",        "LessOrEqual",
                                                      "Log",         "Max",
                                                      "Mean",        "Min",
                                                      "Mish",        "Mod",
                                                      "Mul",         "Neg",
                                                      "Not",         "Or",
                                                      "PRelu",       "Pow",
                                                      "Reciprocal",  "Relu",
                                                      "Round",       "Selu",
                                                      "Shrink",      "Sigmoid",
                                                      "Sign",        "Sin",
                                                      "Sinh",        "Softplus",
                                                      "Softsign",    "Sqrt",
                                                      "Sub",         "Sum",
                                                      "Swish",       "Tan",
                                                      "Tanh",        "ThresholdedRelu",
                                                      "Where",       "Xor"};
  // Of the first input's images, each with the same parameters.
  static constexpr std::string_view kByImage[] = {
      "AveragePool",           "Conv",         "ConvTranspose", "DepthToSpace",
      "GlobalAveragePool",     "GlobalLpPool", "GlobalMaxPool", "GroupNormalization",
      "InstanceNormalization", "LRN",          "LpPool",        "MaxPool",
      "SpaceToDepth"};
  if (n.domain() == "com.microsoft") {
    static constexpr std::string_view kTheirs[] = {"BiasGelu", "FastGelu", "Gelu", "QuickGelu"};
    if (any_of_these(n, kTheirs)) return broadcasts(n);
    if (n.op_type() == "FusedMatMul") return multiplies(n);
    if (n.op_type() == "QuantizeLinear" || n.op_type() == "DequantizeLinear")
      return converts_codes(n);
    if (n.op_type() == "MatMulNBits")
      return is(n, 0, Kind::kSamples) && shared_from(n, 1) && rank_of(n.input(0)).value_or(0) >= 2;
    if (n.op_type() == "EmbedLayerNormalization") return embeds(n);
    // [batch, sequence, hidden], the skip perhaps without its batch.
    if (n.op_type() == "SkipLayerNormalization" ||
        n.op_type() == "SkipSimplifiedLayerNormalization")
      return rank_of(n.input(0)) == 3 && is(n, 0, Kind::kSamples) && shared_from(n, 2) &&
             (is(n, 1, Kind::kSamples) ? rank_of(n.input(1)) == 3
                                       : rank_of(n.input(1)) == 2 || one_row(n.input(1)));
    return false;
  }
  if (!n.domain().empty()) return false;
  if (any_of_these(n, kElementwise)) return broadcasts(n);
  // Indices of MaxPool count through all images.
  if (any_of_these(n, kByImage))
    return is(n, 0, Kind::kSamples) && shared_from(n, 1) && !n.has_output(1);
  if (n.is("BatchNormalization"))
    return is(n, 0, Kind::kSamples) && shared_from(n, 1) && n.opset() >= 9 && !n.has_output(1) &&
           !n.attr<int64_t>("training_mode", 0);
  if (n.is("Dropout"))
    return is(n, 0, Kind::kSamples) && shared_from(n, 1) && n.opset() >= 7 && !n.has_input(2);
  if (n.is("MatMul")) return multiplies(n);
  if (n.is("Gemm"))
    return is(n, 0, Kind::kSamples) && shared_from(n, 1) && !n.attr<int64_t>("transA", 0) &&
           (!n.has_input(2) || rank_of(n.input(2)).value_or(2) < 2 || one_row(n.input(2)));
  if (n.is("QuantizeLinear") || n.is("DequantizeLinear")) return converts_codes(n);
  return moves(n) || reduces(n);
}

}  // namespace

bool computes_samples_alone(const Graph& graph, std::span<const Value* const> watched,
                            std::string* why_not) {
  const Batch batch(graph);
  const auto refuse = [&](std::string why) {
    if (why_not) *why_not = std::move(why);
    return false;
  };
  bool any = false;
  for (const Value* v : graph.inputs()) {
    if (v->initializer()) continue;
    if (batch.of(*v) != Kind::kSamples)
      return refuse("input '" + v->name() + "' has no first dimension that may vary");
    any = true;
  }
  if (!any) return refuse("the model has no input");
  for (const Value* v : watched)
    if (batch.of(*v) != Kind::kSamples)
      return refuse(batch.in_the_way()
                        ? batch.in_the_way()->describe() + " is not known to compute samples apart"
                        : "'" + v->name() + "' is the same for every sample");
  return true;
}

}  // namespace onnxtool
