#include "quant/emit.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "libopt/analysis/qdq_movers.h"
#include "libopt/ir/code_type.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/node_names.h"
#include "libopt/rewrite/rewriter.h"
#include "libopt/target/joined_sum.h"
#include "quant/float8.h"
#include "quant/weight_plan.h"

namespace onnxtool {
namespace {

Tensor integers(DataType type, std::vector<int64_t> dims, const std::vector<int32_t>& values) {
  std::vector<std::byte> bytes(static_cast<size_t>(size_bytes_of(type, values.size())));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto code = static_cast<uint32_t>(values[i]);
    switch (bits_of(type)) {
      case 4: bytes[i / 2] |= static_cast<std::byte>((code & 15) << (i % 2 * 4)); break;
      case 8: bytes[i] = static_cast<std::byte>(code & 255); break;
      case 16:
        bytes[i * 2] = static_cast<std::byte>(code & 255);
        bytes[i * 2 + 1] = static_cast<std::byte>(code >> 8 & 255);
        break;
      case 32: std::memcpy(bytes.data() + i * 4, &code, 4); break;
      default: ONNXTOOL_CHECK(!"integers of 4 to 32 bits");
    }
  }
  return Tensor::from_bytes(type, std::move(dims), std::move(bytes));
}

ValueType with_type(const ValueType& like, DataType type) {
  ValueType t = like;
  t.dtype = type;
  return t;
}

// Of a step, and some rounding.
constexpr double kHalfStep = 0.51;

// The scale and zero point beside a tensor's integers.
struct Codes {
  Value* scale = nullptr;
  Value* zero_point = nullptr;
};

class Emitter {
 public:
  Emitter(Model& model, const Placement& placement, const std::vector<TensorParams>& params,
          const QuantizeOptions& options)
      : model_(model),
        graph_(model.graph()),
        placement_(placement),
        params_(params),
        options_(options),
        node_names_(model.graph()) {
    for (size_t i = 0; i < placement.tensors.size(); ++i)
      tensor_index_[placement.tensors[i].value] = i;
    for (const IntegerNode& n : placement.nodes) {
      for (int i = 0; i < n.node->num_outputs(); ++i)
        if (n.node->has_output(i))
          made_by_integer_.insert(i == 0 ? &n.result() : &n.node->output(i));
    }
  }

  Result<EmitReport> run() {
    // Weights first: they read the activations' scales, and nothing here renames a value yet.
    for (const IntegerNode& n : placement_.nodes) ONNXTOOL_TRY(emit_weights(n));
    for (const IntegerNode& n : placement_.nodes) {
      for (const int i : data_inputs(*n.handler, *n.node)) {
        if (!n.node->has_input(i) ||
            (i == n.handler->weight_input && weights_done_.contains(n.node)))
          continue;
        read_as_data_[&n.node->input(i)].push_back({n.node, i});
      }
    }
    for (const IntegerNode& n : placement_.nodes)
      if (n.activation && n.quantized_output && expresses_activation(n.result()))
        absorbed_.insert(n.activation);
    for (size_t i = 0; i < placement_.tensors.size(); ++i) emit_tensor(i);
    remove_absorbed();
    if (options_.target->is_onnxruntime && !options_.ort_compat) {
      keep_products_apart();
      keep_wheres_in_float();
    }
    if (options_.target->quantizes_parameters && model_.opset("") >= kPerChannelOpset &&
        !options_.ort_compat)
      shield_float_layers();
    remove_unused_values(graph_);
    if (report_.pairs.layers > 0) report_.notes.push_back(report_.pairs.text());
    report_.predicted = fuse_qdq(model_, *options_.target);
    return std::move(report_);
  }

 private:
  const TensorParams& params_of(const Value& v) const { return params_[tensor_index_.at(&v)]; }

  // Whether the grid ends where the Clip or Relu does that makes the value, to half a step: a
  // symmetric one goes below, and so may the one of a value that was zero on all samples.
  bool expresses_activation(const Value& v) const {
    const QuantizedTensor& t = placement_.tensors[tensor_index_.at(&v)];
    const TensorParams& p = params_of(v);
    const Range range = representable(p.params, p.scheme);
    const double step = kHalfStep * static_cast<double>(p.params.scale);
    return !p.scheme.symmetric && range.min >= t.low - step && range.max <= t.high + step;
  }

  // onnxruntime's quantizer names scales in QOperator form by the layer, whatever follows it.
  const Value& named_by(const Value& v) const {
    const Node* p = v.producer();
    return options_.ort_compat && options_.form == Form::kQOperator && p && absorbed_.contains(p)
               ? p->input(0)
               : v;
  }

  Codes codes_of(size_t index) {
    const Value* owner = placement_.tensors[index].range_owner;
    auto& codes = codes_[owner];
    if (!codes.scale) {
      Rewriter rw(graph_);
      const TensorParams& p = params_[index];
      const std::string base = base_name(named_by(*owner));
      codes.scale = &rw.add_constant(Tensor::scalar(p.params.scale), base + "_scale");
      codes.zero_point =
          &rw.add_constant(integers(p.type, {}, {p.params.zero_point}), base + "_zero_point");
    }
    return codes;
  }

  // A graph output's value gives its name away while we work; names are made of what the user
  // knows.
  std::string base_name(const Value& v) {
    const auto it = names_.find(&v);
    return it != names_.end() ? it->second : names_.emplace(&v, v.name()).first->second;
  }

  Status emit_weights(const IntegerNode& n) {
    const int index = n.handler->weight_input;
    if (index < 0 || !n.node->has_input(index) || !n.node->input(index).constant()) return {};
    Value& w = n.node->input(index);
    const Tensor tensor = *w.constant();
    const std::vector<float> values = tensor.values<float>();
    const auto [weight_options, axis] = plan_weight(n, options_, model_.opset(""));
    auto quantized = quantize_weights(values, tensor.dims(), axis, weight_options);
    if (!quantized.ok())
      return std::move(quantized).error().at(n.node->describe() + ", weight '" + w.name() + "'");
    std::optional<QuantizedBias> bias;
    std::vector<float> bias_values;
    if (n.handler->bias_input >= 0 && n.node->has_input(n.handler->bias_input) &&
        !options_.target->float_bias && !is_quantized_float(weight_options.type)) {
      bias_values = n.node->input(n.handler->bias_input).constant()->values<float>();
      const int64_t channels =
          axis ? tensor.dims()[static_cast<size_t>(*axis)] : output_channels(*n.node, tensor);
      if (bias_values.size() == 1 && channels > 1)
        bias_values.assign(static_cast<size_t>(channels), bias_values[0]);
      auto b = quantize_bias(bias_values, params_of(n.node->input(0)).params.scale, *quantized,
                             values, tensor.dims(), weight_options);
      if (!b.ok()) return std::move(b).error().at(n.node->describe() + ", bias");
      if (!b->raised.empty())
        report_.notes.push_back(n.node->describe() + ": weight scale raised for " +
                                std::to_string(b->raised.size()) +
                                " channels, so that the bias fits");
      bias = *std::move(b);
    }
    report_.quantized_weights += tensor.count();
    if (weight_options.pairs) report_.pairs.add(*quantized);
    Rewriter rw(graph_, n.node);
    rw.set_input(*n.node, index, &dequantized_weight(rw, w, tensor, *quantized));
    if (bias)
      rw.set_input(*n.node, n.handler->bias_input,
                   &dequantized_bias(rw, n.node->input(n.handler->bias_input), *bias));
    weights_done_.insert(n.node);
    return {};
  }

  static int64_t output_channels(const Node& node, const Tensor& weight) {
    if (node.is("Conv") || weight.rank() == 1) return weight.dims()[0];  // or of a normalization
    if (node.is("ConvTranspose")) return weight.dims()[1] * node.attr<int64_t>("group", 1);
    return weight.dims()[node.attr<int64_t>("transB", 0) ? 0 : 1];
  }

  Value& dequantize(Rewriter& rw, const std::string& base, Value& q, Value& scale,
                    Value& zero_point, std::optional<int64_t> axis, const ValueType& type) {
    std::vector<Attribute> attributes;
    if (axis) attributes.push_back(Attribute::of<int64_t>("axis", *axis));
    Node& dq = rw.add_node("DequantizeLinear", {&q, &scale, &zero_point}, std::move(attributes), 1,
                           base + "_DequantizeLinear_Output");
    graph_.set_node_name(dq, node_names_.fresh(base + "_DequantizeLinear"));
    dq.output(0).set_type(type);
    return dq.output(0);
  }

  Value& dequantized_weight(Rewriter& rw, const Value& w, const Tensor& tensor,
                            const QuantizedWeights& q) {
    const std::vector<std::byte> bytes(
        reinterpret_cast<const std::byte*>(q.bytes.data()),
        reinterpret_cast<const std::byte*>(q.bytes.data()) + q.bytes.size());
    // A weight that several layers share is stored once, as long as they agree on its integers.
    // onnxruntime's quantizer dequantizes it once, too.
    for (const Stored& s : stored_[&w])
      if (s.axis == q.axis && s.type == q.type && s.scales == q.scales &&
          std::ranges::equal(s.integers->constant()->bytes(), bytes))
        return options_.ort_compat ? *s.floats
                                   : dequantize(rw, w.name(), *s.integers, *s.codes.scale,
                                                *s.codes.zero_point, q.axis, w.type());
    std::vector<int64_t> dims;
    if (q.axis) dims = {static_cast<int64_t>(q.scales.size())};
    Stored s{
        q.axis,
        q.type,
        q.scales,
        &rw.add_constant(Tensor::from_bytes(q.type, tensor.dims(), bytes), w.name() + "_quantized"),
        {&rw.add_constant(Tensor::from(dims, q.scales), w.name() + "_scale"),
         &rw.add_constant(integers(q.type, dims, q.zero_points), w.name() + "_zero_point")}};
    s.floats = &dequantize(rw, w.name(), *s.integers, *s.codes.scale, *s.codes.zero_point, q.axis,
                           w.type());
    stored_[&w].push_back(s);
    return *s.floats;
  }

  // A bias that several layers share has other codes for each. onnxruntime's quantizer numbers its
  // copies, from the largest number that any initializer has behind its name.
  std::string bias_name(const Value& b) {
    const auto [known, is_first] = bias_copies_.try_emplace(&b, -1);
    if (is_first || !options_.ort_compat || options_.form != Form::kQdq) return b.name();
    int64_t& last = known->second;
    if (last < 0)
      for (const Value* v : graph_.initializers())
        if (v->name().starts_with(b.name()))
          last = std::max(last, number_of(std::string_view(v->name()).substr(b.name().size())));
    return b.name() + std::to_string(++last);
  }

  // -1: it is none, or has none above it.
  static int64_t number_of(std::string_view digits) {
    const bool fits = digits.size() <= std::numeric_limits<int64_t>::digits10;
    if (!fits || !std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; }))
      return -1;
    int64_t n = -1;
    std::from_chars(digits.data(), digits.data() + digits.size(), n);
    return n;
  }

  Value& dequantized_bias(Rewriter& rw, const Value& b, const QuantizedBias& q) {
    const std::string name = bias_name(b);
    std::vector<int64_t> dims;
    if (q.scales.size() > 1) dims = {static_cast<int64_t>(q.scales.size())};
    const std::vector<int64_t> shape = {static_cast<int64_t>(q.values.size())};
    // A per-channel layer of one channel has a vector of one scale for its weight: the bias agrees.
    std::optional<int64_t> axis;
    if (!dims.empty()) axis = 0;
    Value& integers_value =
        rw.add_constant(integers(DataType::kInt32, shape, q.values), name + "_quantized");
    // onnxruntime's quantizer writes one scale as a vector, beside a scalar zero point.
    const std::vector<int64_t> scale_dims =
        options_.ort_compat ? std::vector<int64_t>{static_cast<int64_t>(q.scales.size())} : dims;
    Value& scale = rw.add_constant(Tensor::from(scale_dims, q.scales), name + "_quantized_scale");
    Value& zero =
        rw.add_constant(integers(DataType::kInt32, dims, std::vector<int32_t>(q.scales.size(), 0)),
                        name + "_quantized_zero_point");
    return dequantize(rw, name, integers_value, scale, zero, axis,
                      ValueType::tensor(DataType::kFloat, shape));
  }

  // Integers of a constant operand, as onnxruntime stores them: an initializer in the activation
  // type.
  void emit_constant(size_t index) {
    Value& v = *placement_.tensors[index].value;
    const TensorParams& p = params_[index];
    const auto values = v.constant()->values<float>();
    std::vector<int32_t> q;
    for (float x : values) q.push_back(quantize_value(x, p.params, p.scheme));
    const Codes codes = codes_of(index);
    Value* shared = nullptr;
    for (const Use& use : read_as_data_[&v]) {
      Rewriter rw(graph_, use.user);
      Value*& stored = constant_integers_[&v];
      if (!stored)
        stored =
            &rw.add_constant(integers(p.type, v.constant()->dims(), q), v.name() + "_quantized");
      // onnxruntime's quantizer has one for all readers.
      if (!shared || !options_.ort_compat)
        shared = &dequantize(rw, v.name(), *stored, *codes.scale, *codes.zero_point, std::nullopt,
                             v.type());
      rw.set_input(*use.user, use.index, shared);
    }
  }

  void emit_tensor(size_t index) {
    Value& v = *placement_.tensors[index].value;
    if (v.constant()) return emit_constant(index);
    // onnxruntime's quantizer lets all readers have what it dequantized.
    const bool for_all = (options_.ort_compat && options_.form == Form::kQdq) ||
                         (made_by_integer_.contains(&v) && quantized_result(v));
    const std::string base = base_name(v);
    const Codes codes = codes_of(index);
    const ValueType type = v.type();
    // The raw result: what an absorbed activation read, else the value itself.
    Value* raw = &v;
    if (Node* p = v.producer(); p && absorbed_.contains(p)) raw = &p->input(0);
    Node* after = v.producer() ? v.producer()->next() : first_node();
    Rewriter rw(graph_, after);
    Node& q = rw.add_node("QuantizeLinear", {raw, codes.scale, codes.zero_point}, {}, 1,
                          base + "_QuantizeLinear_Output");
    graph_.set_node_name(q, node_names_.fresh(base + "_QuantizeLinear"));
    q.output(0).set_type(with_type(type, params_[index].type));
    Value& dq =
        dequantize(rw, base, q.output(0), *codes.scale, *codes.zero_point, std::nullopt, type);
    if (for_all) {
      // Extents are those of the integers: no need to dequantize for them.
      const std::vector<Use> uses = v.uses();
      // No kernel takes the shape of 8-bit floats.
      const bool readable = !is_quantized_float(params_[index].type);
      for (const Use& use : uses)
        if (readable && !options_.ort_compat && (use.user->is("Shape") || use.user->is("Size")) &&
            &use.user->graph() == &graph_)
          rw.set_input(*use.user, use.index, &q.output(0));
      if (v.is_graph_input() && v.is_graph_output()) {
        // Callers know both by this name: the output stays what was given.
        for (const Use& use : uses)
          if (use.user != &q) rw.set_input(*use.user, use.index, &dq);
        return;
      }
      rw.replace_uses(v, dq);
      rw.set_input(q, 0, raw);  // the Q itself keeps reading the result
    } else {
      for (const Use& use : read_as_data_[&v]) rw.set_input(*use.user, use.index, &dq);
    }
  }

  Node* first_node() {
    for (Node& n : graph_.nodes()) return &n;
    return nullptr;
  }

  bool quantized_result(const Value& v) const { return tensor_index_.contains(&v); }

  // Whether its only reader is a Q, past activations.
  static bool leads_to_quantize(const Node& layer) {
    const Node* n = &layer;
    do {
      if (!n->has_output(0) || n->output(0).uses().size() != 1) return false;
      n = n->output(0).uses()[0].user;
    } while (is_activation(*n));
    return n->is("QuantizeLinear");
  }

  // As a Gemm with the sum behind it, a product would run in float: its addend is none of integers.
  // A float one would get its weights quantized (see below). Nobody joins a Sum of two.
  void keep_products_apart() {
    for (Node& n : graph_.nodes()) {
      Node* sum = joined_sum(n);
      if (!sum) continue;
      const Node* before = before_movers(n.input(0)).producer();
      if (before && before->is("DequantizeLinear")) Rewriter(graph_).set_op(*sum, "Sum");
    }
  }

  // Between DQ and Q onnxruntime gives a scalar that a Where picks codes of its own, and runs the
  // Where on integers whatever that costs. It does not where the scalar is a vector of one.
  void keep_wheres_in_float() {
    for (Node& n : graph_.nodes()) {
      if (!n.is("Where") || n.num_inputs() != 3 || !n.has_output(0) || !leads_to_quantize(n))
        continue;
      for (const int i : {1, 2}) {
        const Tensor* scalar = n.has_input(i) ? n.input(i).constant() : nullptr;
        const Node* dq = n.has_input(3 - i) ? n.input(3 - i).producer() : nullptr;
        if (!scalar || scalar->rank() != 0 || !dq || !dq->is("DequantizeLinear")) continue;
        if (n.input(3 - i).type().rank().value_or(0) < 1) continue;  // the result is to be a scalar
        Rewriter rw(graph_, &n);
        rw.set_input(n, i, &rw.add_constant(scalar->reshaped({1}), n.input(i).name() + "_vector"));
      }
    }
  }

  // A layer that stays float between DQ and Q would get its weights quantized by the runtime, per
  // tensor and without a word. It does not where the scale of the DQ is a vector, whose elements
  // are all equal.
  void shield_float_layers() {
    for (Node& n : graph_.nodes()) {
      if (!n.is("Conv") && !n.is("ConvTranspose") && !n.is("Gemm")) continue;
      Node* dq = n.has_input(0) ? n.input(0).producer() : nullptr;
      const Tensor* w = n.has_input(1) ? n.input(1).constant() : nullptr;
      if (!dq || !dq->is("DequantizeLinear") || !w || w->rank() < 2 || !dq->has_input(2)) continue;
      const Tensor* dq_scale = dq->input(1).constant();
      const Tensor* dq_zero = dq->input(2).constant();
      if (!dq_scale || dq_scale->rank() != 0 || !dq_zero || !leads_to_quantize(n)) continue;
      if (n.is("Gemm") && n.attr<int64_t>("transA", 0)) continue;  // its channels are not on axis 1
      int64_t channels = w->dims()[0];
      if (n.is("Conv")) channels = w->dims()[1] * n.attr<int64_t>("group", 1);
      if (n.is("Gemm") && n.attr<int64_t>("transB", 0)) channels = w->dims()[1];
      const auto count = static_cast<size_t>(channels);
      const Tensor zero = *dq_zero;
      const std::vector<float> scales(count, dq_scale->values<float>()[0]);
      const std::vector<int32_t> zeros(count, static_cast<int32_t>(zero.to_ints()[0]));
      Rewriter rw(graph_, &n);
      const std::string base = n.input(0).name();
      Value& scale = rw.add_constant(Tensor::vector(scales), base + "_scale");
      Value& zero_point =
          rw.add_constant(integers(zero.dtype(), {channels}, zeros), base + "_zero_point");
      rw.set_input(n, 0,
                   &dequantize(rw, base, dq->input(0), scale, zero_point, 1, n.input(0).type()));
      if (dq->output(0).unused()) rw.remove(*dq);
    }
  }

  void remove_absorbed() {
    for (const IntegerNode& integer : placement_.nodes) {
      Node* n = integer.activation;
      if (!n || !absorbed_.contains(n)) continue;
      if (!n->output(0).unused()) continue;
      Rewriter rw(graph_);
      rw.remove(*n);
    }
  }

  struct Stored {
    std::optional<int64_t> axis;
    DataType type;
    std::vector<float> scales;
    Value* integers;
    Codes codes;
    Value* floats = nullptr;  // of the first reader
  };

  Model& model_;
  Graph& graph_;
  const Placement& placement_;
  const std::vector<TensorParams>& params_;
  const QuantizeOptions& options_;
  EmitReport report_;
  std::unordered_map<const Value*, size_t> tensor_index_;
  std::unordered_set<const Value*> made_by_integer_;
  std::unordered_map<const Value*, Codes> codes_;
  std::unordered_map<const Value*, std::string> names_;
  std::unordered_map<const Value*, std::vector<Use>> read_as_data_;
  std::unordered_map<const Value*, std::vector<Stored>> stored_;
  std::unordered_map<const Value*, int64_t> bias_copies_;  // the last one's number
  std::unordered_map<const Value*, Value*> constant_integers_;
  std::unordered_set<const Node*> weights_done_;
  std::unordered_set<const Node*> absorbed_;  // activations that the result's range expresses
  NodeNames node_names_;
};

}  // namespace

Result<EmitReport> emit_qdq(Model& model, const Placement& placement,
                            const std::vector<TensorParams>& params,
                            const QuantizeOptions& options) {
  return Emitter(model, placement, params, options).run();
}

}  // namespace onnxtool
