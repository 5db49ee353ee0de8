#include "quant/dynamic_sites.h"

#include <map>

#include "quant/placement.h"
#include "quant/weight_reasons.h"

namespace onnxtool {
namespace {

constexpr const char* kNoMatrix = "the weight is no float32 matrix";
constexpr const char* kSlower = "would not run faster on integers";
constexpr const char* kConvSlower =
    "would run slower on integers; --include op:Conv quantizes it all the same";

// Weights of W and R from which on DynamicQuantizeLSTM is faster (onnxruntime 1.31, one thread:
// 1.02 times the float's time at 64 inputs and hidden units in single steps, 0.7 in 32 steps).
constexpr int64_t kMinLstmWeights = 32768;

// Data behind an operator that nobody knows has the type of the weight, which is float32.
bool is_float32(const Value& v) {
  return v.type().dtype == DataType::kFloat || v.type().dtype == DataType::kUndefined;
}

const char* constant_obstacle(const Value& v, int64_t rank) {
  const Tensor* t = v.constant();
  if (!t) return why_not_constant(v);
  if (t->dtype() != DataType::kFloat || t->count() == 0) return kNoMatrix;
  return t->rank() == rank ? nullptr : kNoMatrix;
}

const char* product_obstacle(const Node& node) {
  if (const char* why = constant_obstacle(node.input(1), 2)) return why;
  if (node.input(0).constant()) return kConstantData;
  if (!is_float32(node.input(0))) return "its data is not float32";
  if (node.is("Gemm") && node.opset() < 7) return kOldBroadcast;
  return nullptr;
}

const char* lstm_obstacle(const Node& node) {
  for (const int i : {1, 2})
    if (const char* why = constant_obstacle(node.input(i), 3)) return why;
  if (!is_float32(node.input(0))) return "its data is not float32";
  if (node.attr<int64_t>("layout", 0)) return "DynamicQuantizeLSTM has no layout 1";
  if (node.attr<int64_t>("input_forget", 0)) return "DynamicQuantizeLSTM has no coupled gates";
  constexpr const char* kDefaults[] = {"Sigmoid", "Tanh", "Tanh"};
  if (const Attribute* a = node.attribute("activations"))
    if (const auto* names = a->get<std::vector<std::string>>())
      for (size_t i = 0; i < names->size(); ++i)
        if ((*names)[i] != kDefaults[i % 3]) return "its activations are not the usual ones";
  return nullptr;
}

const char* conv_obstacle(const Node& node) {
  const Tensor* w = node.input(1).constant();
  if (!w) return why_not_constant(node.input(1));
  if (w->dtype() != DataType::kFloat || w->rank() < 3 || w->count() == 0) return kNoMatrix;
  if (!is_float32(node.input(0))) return "its data is not float32";
  return nullptr;
}

class Finder {
 public:
  Finder(const Model& model, const DynamicOptions& options) : o_(options) {
    QuantizeOptions q;
    q.input_shapes = options.input_shapes;
    shapes_ = typical_shapes(model, q);
  }

  DynamicSites run(const Graph& graph) {
    collect(graph);
    for (const auto& [value, readers] : products_) weigh(*value, readers);
    DynamicSites out;
    for (Candidate& c : candidates_) {
      out.decisions.push_back(
          {c.node, !c.reason, c.reason ? "" : c.kernel, c.reason ? c.reason : ""});
      if (!c.reason) out.nodes.push_back(c.node);
    }
    return out;
  }

 private:
  struct Candidate {
    Node* node;
    const char* reason;  // nullptr: quantized
    std::string_view kernel;
    bool forced;
  };

  void collect(const Graph& graph) {
    for (Node& node : graph.nodes()) {
      look_at(node);
      node.for_each_subgraph([&](Graph& g) { collect(g); });
    }
  }

  void look_at(Node& node) {
    const bool product = node.is("MatMul") || node.is("Gemm");
    if (!product && !node.is("LSTM") && !node.is("Conv")) return;
    if (!node.has_input(0) || !node.has_input(1) || (node.is("LSTM") && !node.has_input(2))) return;
    if (!node.is("LSTM") && !node.has_output(0)) return;  // nothing to keep the name of
    const bool forced = o_.include.matches(node);
    Candidate c{&node, nullptr, "DynamicQuantizeMatMul", forced};
    if (o_.exclude.matches(node))
      c.reason = kExcluded;
    else if (!o_.include.empty() && !forced)
      c.reason = kNotIncluded;
    else if (product)
      c.reason = product_obstacle(node);
    else if (node.is("LSTM"))
      c.reason = lstm_reason(node, forced);
    else
      c.reason = forced ? conv_obstacle(node) : kConvSlower;
    if (node.is("LSTM")) c.kernel = "DynamicQuantizeLSTM";
    if (node.is("Conv")) c.kernel = "ConvInteger";
    // A transposed input is another tensor; each counts for itself.
    if (product && !c.reason) products_[&node.input(0)].push_back(candidates_.size());
    candidates_.push_back(c);
  }

  static const char* lstm_reason(const Node& node, bool forced) {
    if (const char* why = lstm_obstacle(node)) return why;
    const int64_t weights = node.input(1).constant()->count() + node.input(2).constant()->count();
    return forced || weights >= kMinLstmWeights ? nullptr : kSlower;
  }

  // The products of one tensor: those that gain on their own, if together they gain more than
  // quantizing the tensor costs.
  void weigh(const Value& input, const std::vector<size_t>& readers) {
    const CostModel* cost = o_.target->cost;
    const ShapeOf shape_of = [this](const Value& v) { return shape(v); };
    double gain = 0;
    bool forced = false;
    std::vector<size_t> kept;
    for (const size_t i : readers) {
      Candidate& c = candidates_[i];
      forced = forced || c.forced;
      const NodeCost ns = cost ? cost->node(*c.node, shape_of) : NodeCost{1, 0};
      if (!c.forced && ns.integer_ns >= ns.float_ns) {
        c.reason = kSlower;
        continue;
      }
      gain += ns.float_ns - ns.integer_ns;
      kept.push_back(i);
    }
    const bool worth = forced || (cost ? gain > cost->dynamic_ns(input, shape_of) : gain > 0);
    for (const size_t i : kept) {
      if (!worth) candidates_[i].reason = kSlower;
      if (kept.size() > 1) candidates_[i].kernel = "MatMulIntegerToFloat";
    }
  }

  std::vector<int64_t> shape(const Value& v) const {
    if (const Tensor* t = v.constant()) return t->dims();
    if (const auto it = shapes_.find(v.name()); it != shapes_.end()) return it->second;
    std::vector<int64_t> dims;
    if (v.type().shape)
      for (const Dim& d : *v.type().shape) dims.push_back(d.value.value_or(1));
    return dims;
  }

  const DynamicOptions& o_;
  TypicalShapes shapes_;
  std::vector<Candidate> candidates_;
  std::map<const Value*, std::vector<size_t>> products_;  // what happens to one depends on no other
};

}  // namespace

DynamicSites find_dynamic_sites(const Model& model, const DynamicOptions& options) {
  return Finder(model, options).run(model.graph());
}

}  // namespace onnxtool
