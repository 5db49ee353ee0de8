#include "calib/compare/oracle.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "calib/data/arrays.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

constexpr bool widens(DataType t) {
  return t == DataType::kFloat || t == DataType::kFloat16 || t == DataType::kBfloat16;
}

// Inputs that are float whatever the data's type is.
bool stays_float(const Use& use) {
  const Node& n = *use.user;
  return (n.is("Resize") && n.opset() >= 11 && use.index == 2) ||
         (n.is("Resize") && n.opset() < 11 && use.index == 1) ||
         (n.is("Upsample") && use.index == 1);
}

Result<Tensor> widened(const Tensor& t) {
  return widens(t.dtype()) ? convert_tensor(t, DataType::kDouble) : Result<Tensor>(t);
}

ValueType widened(ValueType type) {
  if (type.is_tensor() && widens(type.dtype)) type.dtype = DataType::kDouble;
  return type;
}

// Attributes that name an element type.
constexpr std::array<std::string_view, 2> kTypeAttributes = {"to", "dtype"};

Status widen_attributes(Node& node) {
  std::vector<Attribute> changed;
  for (const Attribute& a : node.attributes()) {
    const bool names_type = std::ranges::find(kTypeAttributes, a.name) != kTypeAttributes.end();
    const auto* number = a.get<int64_t>();
    if (names_type && number && widens(static_cast<DataType>(*number))) {
      changed.push_back(Attribute::of(a.name, static_cast<int64_t>(DataType::kDouble)));
    } else if (const auto* t = a.get<NamedTensor>(); t && widens(t->tensor.dtype())) {
      ONNXTOOL_ASSIGN(Tensor wide, widened(t->tensor));
      changed.push_back(Attribute::of(a.name, NamedTensor{t->name, std::move(wide)}));
    } else if (node.is("Constant") && a.get<float>()) {
      changed.push_back(Attribute::of(
          "value", NamedTensor{"", Tensor::scalar(static_cast<double>(*a.get<float>()))}));
    } else if (node.is("Constant") && a.get<std::vector<float>>()) {
      const auto& v = *a.get<std::vector<float>>();
      changed.push_back(Attribute::of(
          "value", NamedTensor{"", Tensor::vector(std::vector<double>(v.begin(), v.end()))}));
    }
  }
  if (node.is("ConstantOfShape") && !node.attribute("value"))
    changed.push_back(
        Attribute::of("value", NamedTensor{"", Tensor::vector(std::vector<double>{0})}));
  if (node.is("Constant") && !changed.empty()) node.remove_attribute(node.attributes()[0].name);
  for (Attribute& a : changed) node.set_attribute(std::move(a));
  return {};
}

Status widen(Graph& graph) {
  for (Value* v : graph.values()) {
    if (const Tensor* t = v->initializer(); t && widens(t->dtype())) {
      // Who needs a float keeps one.
      std::vector<Use> narrow;
      for (const Use& use : v->uses())
        if (stays_float(use)) narrow.push_back(use);
      if (!narrow.empty()) {
        Value& copy = graph.add_initializer(*t, {}, v->name());
        for (const Use& use : narrow) use.user->graph().set_input(*use.user, use.index, &copy);
      }
      ONNXTOOL_ASSIGN(Tensor wide, widened(*t));
      graph.set_initializer(*v, std::move(wide));
    }
    // Shapes stay known; element types follow from the inputs.
    v->set_type(widened(v->type()));
  }
  for (Node& n : graph.nodes()) {
    ONNXTOOL_TRY(widen_attributes(n));
    Status status;
    n.for_each_subgraph([&](Graph& sub) {
      if (status.ok()) status = widen(sub);
    });
    ONNXTOOL_TRY(std::move(status));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Model>> in_double_precision(const Model& model) {
  if (!model.functions.empty())
    return Error{ErrorCode::kUnsupported, "local functions are not widened", {}};
  std::unique_ptr<Model> wide = model.clone();
  ONNXTOOL_TRY(widen(wide->graph()));
  ONNXTOOL_TRY(infer_graph(wide->graph()));
  return wide;
}

}  // namespace onnxtool
