// QOperator to QDQ.
//
//   QLinearOp(x, ...)        =>  QuantizeLinear(op(DequantizeLinear(x), ...))
//   op that moves codes      =>  QuantizeLinear(op(DequantizeLinear(x)))    scale of its input

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "libopt/analysis/qdq.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/convert_opset.h"
#include "libopt/ir/code_type.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/node_names.h"
#include "libopt/rewrite/rewriter.h"
#include "libopt/rewrite/visit.h"
#include "quant/attributes.h"
#include "quant/integer_operators.h"
#include "quant/qoperator.h"
#include "quant/scheme.h"

namespace onnxtool {
namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";

std::string base_of(std::string name) {
  for (const std::string_view suffix : {"_QuantizeLinear_Output", "_quantized"})
    if (name.size() > suffix.size() && name.ends_with(suffix))
      return name.substr(0, name.size() - suffix.size());
  return name;
}

struct Codes {
  Value* scale = nullptr;
  Value* zero_point = nullptr;  // nullptr: 0
};

class Raiser {
 public:
  Raiser(Graph& graph, FormReport& report) : graph_(graph), report_(report), names_(graph) {}

  void run() {
    visit_nodes(graph_, [this](Node& n) {
      n.for_each_subgraph([&](Graph& g) { Raiser(g, report_).run(); });
      if (is_quantize(n) && n.has_output(0) && n.has_input(1)) {
        codes_[&n.output(0)] = {&n.input(1), n.has_input(2) ? &n.input(2) : nullptr};
        return;
      }
      if (is_mover(n)) {
        raise_mover(n);
        return;
      }
      if (!n.has_output(0)) return;  // nothing to keep the name of
      if (n.is("QLinearConcat", kMicrosoft))
        raise_concat(n);
      else if (n.is("QLinearWhere", kMicrosoft))
        raise_where(n);
      else if (n.is("MatMulIntegerToFloat", kMicrosoft))
        raise_to_float(n);
      else if (const IntegerOperator* e = find_integer_operator(n))
        raise(n, *e);
    });
  }

 private:
  static Codes codes_at(const Node& n, int scale) {
    return {n.has_input(scale) ? &n.input(scale) : nullptr,
            n.has_input(scale + 1) ? &n.input(scale + 1) : nullptr};
  }

  // A vector of scales wants a vector of zero points.
  Value* fitting_zero_point(Rewriter& rw, const Codes& c, DataType type) {
    const Tensor* scale = c.scale->constant();
    const Tensor* zero = c.zero_point ? c.zero_point->constant() : nullptr;
    if (!scale || (zero && zero->dims() == scale->dims()) || (c.zero_point && !zero))
      return c.zero_point;
    std::vector<std::byte> bytes;
    const auto width = static_cast<size_t>(size_bytes_of(type, 1));
    for (int64_t i = 0; i < scale->count(); ++i)
      for (size_t b = 0; b < width; ++b)
        bytes.push_back(zero && zero->size_bytes() >= width ? zero->bytes()[b] : std::byte{0});
    return &rw.add_constant(Tensor::from_bytes(type, scale->dims(), std::move(bytes)),
                            c.scale->name() + "_zero_point");
  }

  // The floats of codes, before `reader`; one node for all who read them so.
  Value& floats(Node& reader, Value& q, Codes c, std::optional<int64_t> axis = std::nullopt) {
    Value*& known = floats_[{&q, c.scale, c.zero_point, axis.value_or(-1)}];
    if (known) return *known;
    Rewriter rw(graph_, &reader);
    const std::string name = base_of(q.name()) + "_DequantizeLinear";
    std::vector<Value*> inputs = {&q, c.scale};
    if (Value* zero = fitting_zero_point(rw, c, q.type().dtype)) inputs.push_back(zero);
    std::vector<Attribute> attributes;
    if (axis) attributes.push_back(Attribute::of("axis", *axis));
    Node& dq = rw.add_node("DequantizeLinear", inputs, std::move(attributes), 1, name + "_Output");
    graph_.set_node_name(dq, names_.fresh(name));
    ValueType type = q.type();
    type.kind = ValueType::Kind::kTensor;
    type.dtype = DataType::kFloat;
    dq.output(0).set_type(type);
    return *(known = &dq.output(0));
  }

  // The axis along which the second operand's scales run; nullopt: there is one scale.
  static std::optional<int64_t> scale_axis(const Value& codes, const Value& scale, int axis) {
    const Tensor* s = scale.constant();
    if (!s || s->count() == 1) return std::nullopt;
    if (axis != kNoInput) return axis;
    return codes.type().rank().value_or(2) - 1;
  }

  // Each (codes, scale, zero point) from index `first` on as floats.
  Value& operand(Node& n, int first, int axis = 0) {
    const Codes c = codes_at(n, first + 1);
    return floats(n, n.input(first), c, scale_axis(n.input(first), *c.scale, axis));
  }

  static bool has_operand(const Node& n, int first) {
    if (!n.has_input(first) || !n.has_input(first + 1)) return false;
    // More than one dimension of scales has no equal.
    const Tensor* scale = n.input(first + 1).constant();
    return !scale || scale->rank() <= 1;
  }

  void raise(Node& n, const IntegerOperator& e) {
    for (const int first : e.operands)
      if (!has_operand(n, first)) return;
    if (!has_float_form(n)) return;
    Value* bias = nullptr;
    if (e.bias != kNoInput && n.has_input(e.bias)) {
      bias = bias_of(n, e);
      if (!bias) return;
    }
    std::vector<Value*> inputs;
    for (const int first : e.operands) {
      int axis = e.channel_axis;
      if (e.float_op == "Gemm" && first > 0) axis = n.attr<int64_t>("transB", 0) ? 0 : 1;
      inputs.push_back(&operand(n, first, first == 0 ? 0 : axis));
    }
    if (bias) inputs.push_back(bias);
    if (n.has_input(e.result_scale))
      quantize_result(n, e.float_op, inputs, codes_at(n, e.result_scale));
    else if (e.float_op == "Gemm")
      to_float(n, e.float_op, inputs);
  }

  // int32 in steps of alpha x a_scale x b_scale, as floats; nullptr: the steps are not constant.
  Value* bias_of(Node& n, const IntegerOperator& e) {
    const Tensor* a = n.input(e.operands[0] + 1).constant();
    const Tensor* b = n.input(e.operands[1] + 1).constant();
    if (!a || !b || a->count() != 1 || a->dtype() != DataType::kFloat ||
        b->dtype() != DataType::kFloat)
      return nullptr;
    std::vector<float> steps = b->values<float>();
    for (float& s : steps) s *= n.attr<float>("alpha", 1) * a->values<float>()[0];
    Rewriter rw(graph_, &n);
    std::vector<int64_t> dims;
    Value& codes = n.input(e.bias);
    const bool vector = steps.size() > 1;
    if (vector) dims = {static_cast<int64_t>(steps.size())};
    Value& scale = rw.add_constant(Tensor::from(dims, steps), codes.name() + "_scale");
    return &floats(
        n, codes, {&scale, nullptr},
        vector ? std::optional<int64_t>(codes.type().rank().value_or(1) - 1) : std::nullopt);
  }

  static bool is_float_attribute(const Attribute& a) {
    return a.name != "channels_last" && a.name != "opset";
  }

  // `n` becomes the QuantizeLinear behind a new float operator: its result keeps its name.
  void quantize_result(Node& n, std::string_view op, const std::vector<Value*>& inputs, Codes c) {
    Rewriter rw(graph_, &n);
    const std::string base = base_of(n.output(0).name());
    std::vector<Attribute> attributes;
    std::vector<std::string> names;
    for (const Attribute& a : n.attributes()) {
      names.push_back(a.name);
      if (!is_float_attribute(a)) continue;
      if (auto copy = copy_of(a)) attributes.push_back(*std::move(copy));
    }
    Node& core = rw.add_node(op, inputs, std::move(attributes), 1, base);
    ValueType type = n.output(0).type();
    type.kind = ValueType::Kind::kTensor;
    type.dtype = DataType::kFloat;
    core.output(0).set_type(type);
    core.metadata = std::move(n.metadata);
    n.metadata.clear();
    if (!n.name().empty()) graph_.set_node_name(core, names_.fresh(float_name(n.name())));
    ++report_.rewritten[std::string(op)];
    for (const std::string& name : names) rw.remove_attribute(n, name);
    rw.set_op(n, "QuantizeLinear");
    rw.set_input(n, 0, &core.output(0));
    rw.set_input(n, 1, c.scale);
    rw.set_input(n, 2, c.zero_point);
    rw.resize_inputs(n, c.zero_point ? 3 : 2);
    graph_.set_node_name(n, names_.fresh(base + "_QuantizeLinear"));
    codes_[&n.output(0)] = c;
  }

  static std::string float_name(const std::string& name) {
    constexpr std::string_view kSuffix = "_quant";
    return name.size() > kSuffix.size() && name.ends_with(kSuffix)
               ? name.substr(0, name.size() - kSuffix.size())
               : name + "_float";
  }

  // `n` becomes the float operator.
  void to_float(Node& n, std::string_view op, const std::vector<Value*>& inputs) {
    Rewriter rw(graph_, &n);
    rw.set_op(n, op);
    const int count = static_cast<int>(inputs.size());
    for (int i = 0; i < n.num_inputs(); ++i)
      rw.set_input(n, i, i < count ? inputs[static_cast<size_t>(i)] : nullptr);
    rw.resize_inputs(n, count);
    if (!n.name().empty()) graph_.set_node_name(n, names_.fresh(float_name(n.name())));
    ++report_.rewritten[std::string(op)];
  }

  // (y_scale, y_zero_point, (x, x_scale, x_zero_point)...)
  void raise_concat(Node& n) {
    for (int i = 2; i < n.num_inputs(); i += 3)
      if (!has_operand(n, i)) return;
    if (!n.has_input(0) || n.num_inputs() < 5) return;
    std::vector<Value*> inputs;
    for (int i = 2; i < n.num_inputs(); i += 3) inputs.push_back(&operand(n, i));
    quantize_result(n, "Concat", inputs, codes_at(n, 0));
  }

  // (condition, x, x_scale, x_zero_point, y, y_scale, y_zero_point, z_scale, z_zero_point)
  void raise_where(Node& n) {
    if (!n.has_input(0) || !has_operand(n, 1) || !has_operand(n, 4) || !n.has_input(7)) return;
    quantize_result(n, "Where", {&n.input(0), &operand(n, 1), &operand(n, 4)}, codes_at(n, 7));
  }

  // MatMulIntegerToFloat (a, b, a_scale, b_scale, a_zero_point?, b_zero_point?, bias?)
  void raise_to_float(Node& n) {
    for (int i = 0; i < 4; ++i)
      if (!n.has_input(i)) return;
    const auto codes = [&](int i) {
      return Codes{&n.input(i + 2), n.has_input(i + 4) ? &n.input(i + 4) : nullptr};
    };
    for (int i = 2; i < 4; ++i)
      if (const Tensor* s = n.input(i).constant(); s && s->rank() > 1) return;
    Value& a = floats(n, n.input(0), codes(0));
    Value& b = floats(n, n.input(1), codes(1), scale_axis(n.input(1), n.input(3), kNoInput));
    if (!n.has_input(6)) return to_float(n, "MatMul", {&a, &b});
    Rewriter rw(graph_, &n);
    Node& product = rw.add_node("MatMul", {&a, &b}, {}, 1, n.output(0).name() + "_product");
    product.output(0).set_type(n.output(0).type());
    Value& bias = n.input(6);
    to_float(n, "Add", {&product.output(0), &bias});
  }

  // Codes that an operator only moves have the scale that they had.
  void raise_mover(Node& n) {
    if (!n.has_input(0) || n.num_outputs() == 0 || !is_8bit(n.input(0).type().dtype)) return;
    const auto known = codes_.find(&n.input(0));
    if (known == codes_.end()) return;
    if (n.is("MaxPool") && n.num_outputs() > 1 && n.has_output(1)) return;
    const Codes c = known->second;
    if (const Tensor* s = c.scale->constant(); !s || s->count() != 1) return;
    Value& x = floats(n, n.input(0), c);
    for (Value* v : n.outputs()) {
      if (!v) continue;
      const ValueType codes_type = v->type();
      ValueType type = codes_type;
      type.dtype = DataType::kFloat;
      Rewriter rw(graph_, n.next());
      std::vector<Value*> inputs = {v, c.scale};
      if (c.zero_point) inputs.push_back(c.zero_point);
      const std::string base = base_of(v->name());
      Node& q = rw.add_node("QuantizeLinear", inputs, {}, 1, base + "_QuantizeLinear_Output");
      graph_.set_node_name(q, names_.fresh(base + "_QuantizeLinear"));
      q.output(0).set_type(codes_type);
      rw.replace_uses(*v, q.output(0));
      rw.set_input(q, 0, v);
      v->set_type(type);
      codes_[&q.output(0)] = c;
    }
    Rewriter(graph_).set_input(n, 0, &x);
    if (!n.name().empty() && n.name().ends_with("_quant"))
      graph_.set_node_name(n, names_.fresh(float_name(n.name())));
    ++report_.rewritten[n.op_type()];
  }

  Graph& graph_;
  FormReport& report_;
  NodeNames names_;
  std::unordered_map<const Value*, Codes> codes_;  // scale of values that hold codes
  // By address, for look-ups only: ids are unique in one graph, and bodies read values of others.
  std::map<std::tuple<const Value*, const Value*, const Value*, int64_t>, Value*> floats_;
};

}  // namespace

Result<FormReport> raise_to_qdq(Model& model) {
  const int needed = has_vector_scale(model.graph()) ? kPerChannelOpset : kPerTensorOpset;
  if (model.opset("") < needed) {
    ONNXTOOL_ASSIGN([[maybe_unused]] const ConversionReport converted,
                    convert_opset(model, needed));
  }
  FormReport report;
  Raiser(model.graph(), report).run();
  remove_unused_values(model.graph());
  return report;
}

}  // namespace onnxtool
