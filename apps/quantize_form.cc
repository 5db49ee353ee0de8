// A quantized model in the other form: QDQ as integer operators, or integer operators as QDQ.
#include <array>

#include "apps/quantize_method.h"
#include "libopt/rewrite/driver.h"
#include "libopt/target/target.h"
#include "passes/pass.h"
#include "quant/qoperator.h"

namespace onnxtool {
namespace {

bool is_quantized(const Graph& graph) {
  bool found = false;
  for (const Node& n : graph.nodes()) {
    found = found || n.is("DequantizeLinear") || n.op_type().starts_with("QLinear") ||
            n.is("QGemm", "com.microsoft") || n.is("MatMulIntegerToFloat", "com.microsoft");
    n.for_each_subgraph([&](Graph& g) { found = found || is_quantized(g); });
  }
  return found;
}

// What exporters leave between Q and DQ that does nothing: Identities of shared zero points, Casts
// to the type that is there.
void clear_between(Model& model) {
  constexpr std::array<const PassInfo*, 2> kPasses = {&kEliminateIdentity, &kEliminateNoOp};
  run_passes(model, kPasses, {});
}

class FormMethod final : public QuantizeMethod {
 public:
  FormMethod(Form form, const Target& target) : form_(form), target_(target) {}

  std::string suffix() const override {
    return form_ == Form::kQOperator ? ".qoperator.onnx" : ".qdq.onnx";
  }
  bool needs_samples() const override { return false; }

  Status check(const Model& model) const override {
    if (is_quantized(model.graph())) return {};
    return Error{ErrorCode::kUsage, "no calibration data given",
                 "add --calib PATH; --random N for a first try without data"};
  }

  Status decide(const QuantizeContext& c) override {
    preparation_.opset_before = c.original.opset("");
    preparation_.ir_before = c.original.ir_version;
    preparation_.nodes_before = c.original.graph().num_nodes();
    result_.reference = c.original.clone();
    result_.model = c.original.clone();
    if (form_ == Form::kQOperator) {
      clear_between(*result_.model);
      report_ = lower_to_qoperator(*result_.model, target_);
    } else {
      ONNXTOOL_ASSIGN(report_, raise_to_qdq(*result_.model));
    }
    preparation_.opset_after = result_.model->opset("");
    preparation_.ir_after = result_.model->ir_version;
    preparation_.nodes_after = result_.model->graph().num_nodes();
    if (!report_.rewritten.empty()) return {};
    return Error{ErrorCode::kNegative,
                 form_ == Form::kQOperator
                     ? "no operator stands between DequantizeLinear and QuantizeLinear as '" +
                           std::string(target_.name) + "' has it on integers"
                     : "the model has no operator in QOperator form",
                 "nothing was written: there is nothing to convert"};
  }

  Status quantize(const QuantizeContext&) override { return {}; }
  QuantizedModel& result() override { return result_; }
  const Preparation& preparation() const override { return preparation_; }

  Section section() const override {
    Section s{"form", "Form", {}, {}, {}, false};
    s.fields.push_back(
        {"form", "form", std::string(form_ == Form::kQOperator ? "qoperator" : "qdq"), ""});
    Table t{"rewritten", "rewritten", {{"op", "operator", ""}, {"count", "count", ""}}, {}, 0};
    for (const auto& [op, count] : report_.rewritten) t.rows.push_back({op, int64_t{count}});
    s.tables.push_back(std::move(t));
    return s;
  }

 private:
  Form form_;
  const Target& target_;
  FormReport report_;
  Preparation preparation_;
  QuantizedModel result_;
};

}  // namespace

Result<std::unique_ptr<QuantizeMethod>> make_form_method(const QuantizeFlags& flags) {
  ONNXTOOL_ASSIGN(const Form form, form_of(flags));
  return std::unique_ptr<QuantizeMethod>(
      std::make_unique<FormMethod>(form, *find_target(flags.target)));
}

}  // namespace onnxtool
