// See config.h.

#include "libopt/ort/config.h"

#include <string_view>

#include "libopt/ort/cpu_kernel.h"
#include "libopt/ort/since_version.h"

namespace onnxtool {
namespace {

/// Operators whose kernels are built for chosen types, by what these are chosen.
struct Tracked {
  std::string_view domain;
  std::string_view ops;  // with a space before and behind each
  std::vector<int> inputs, outputs;
};

const std::vector<Tracked>& tracked_operators() {
  static const std::vector<Tracked> kTracked{
      {"ai.onnx",
       " Abs Add ArgMax ArgMin AveragePool BatchNormalization BitShift Ceil Clip Concat Conv "
       "CumSum DequantizeLinear "
       "Div Equal Exp Expand Floor Gemm Greater IsNaN Less Log LogSoftmax LpNormalization MatMul "
       "Max MaxPool Mean "
       "Min Mul Neg NonZero Pad QLinearConv QLinearMatMul Range Reciprocal ReduceL1 ReduceL2 "
       "ReduceLogSum "
       "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu "
       "Resize "
       "ReverseSequence RoiAlign Round Scatter ScatterElements ScatterND Shrink Sigmoid Sign Sin "
       "Softmax Split "
       "SplitToSequence Sqrt Sub Sum Tanh TopK Transpose Unique ",
       {0},
       {}},
      {"com.microsoft", " QLinearAdd QLinearConv QLinearMul ", {0}, {}},
      {"ai.onnx", " Gather GatherElements Pow Slice ", {0, 1}, {}},
      {"ai.onnx", " Cast ", {0}, {0}},
      {"ai.onnx", " Where ", {1}, {}},
      {"ai.onnx",
       " ConstantOfShape DynamicQuantizeLinear Multinomial QuantizeLinear RandomNormal "
       "RandomNormalLike "
       "RandomUniform RandomUniformLike ",
       {},
       {0}}};
  return kTracked;
}

const Tracked* find_tracked(std::string_view domain, const std::string& op) {
  for (const Tracked& t : tracked_operators())
    if (t.domain == domain && t.ops.find(" " + op + " ") != std::string_view::npos) return &t;
  return nullptr;
}

/// The runtime's C++ name; empty where it has none.
std::string cpp_name(DataType type) {
  switch (type) {
    case DataType::kFloat: return "float";
    case DataType::kUint8: return "uint8_t";
    case DataType::kInt8: return "int8_t";
    case DataType::kUint16: return "uint16_t";
    case DataType::kInt16: return "int16_t";
    case DataType::kInt32: return "int32_t";
    case DataType::kInt64: return "int64_t";
    case DataType::kString: return "std::string";
    case DataType::kBool: return "bool";
    case DataType::kFloat16: return "MLFloat16";
    case DataType::kDouble: return "double";
    case DataType::kUint32: return "uint32_t";
    case DataType::kUint64: return "uint64_t";
    case DataType::kBfloat16: return "BFloat16";
    case DataType::kFloat8E4M3FN: return "Float8E4M3FN";
    case DataType::kFloat8E4M3FNUZ: return "Float8E4M3FNUZ";
    case DataType::kFloat8E5M2: return "Float8E5M2";
    case DataType::kFloat8E5M2FNUZ: return "Float8E5M2FNUZ";
    case DataType::kUint4: return "UInt4x2";
    case DataType::kInt4: return "Int4x2";
    default: return {};
  }
}

/// A sequence counts as its elements.
std::string cpp_name(const ValueType& type) {
  switch (type.kind) {
    case ValueType::Kind::kTensor: return cpp_name(type.dtype);
    case ValueType::Kind::kSequence: return type.element ? cpp_name(*type.element) : "";
    case ValueType::Kind::kMap: {
      const std::string key = cpp_name(type.dtype),
                        element = type.element ? cpp_name(*type.element) : "";
      return key.empty() || element.empty() ? "" : "std::map<" + key + "," + element + ">";
    }
    default: return {};
  }
}

Result<std::string> type_of(const Node& node, const Value& value) {
  std::string text = cpp_name(value.type());
  if (text.empty())
    return Error{ErrorCode::kUnsupported,
                 node.describe() + ": type " + format_type(value.type()) + " of '" + value.name() +
                     "' has no name in an operator config",
                 "write the config without types"};
  return text;
}

std::string shown_domain(const Node& node) {
  return node.domain().empty() ? "ai.onnx" : node.domain();
}

/// `["a", "b"]`, spaced as Python's json module does, which wrote all configs that exist.
template <class Strings>
std::string format_list(const Strings& strings) {
  std::string text = "[";
  for (const std::string& s : strings) text += (text.size() > 1 ? ", \"" : "\"") + s + "\"";
  return text + "]";
}

std::string format_arguments(const std::string& key,
                             const std::map<int, std::set<std::string>>& arguments) {
  std::string text;
  for (const auto& [index, types] : arguments)
    text +=
        (text.empty() ? "" : ", ") + ("\"" + std::to_string(index) + "\": ") + format_list(types);
  return text.empty() ? "" : "\"" + key + "\": {" + text + "}";
}

}  // namespace

Status OperatorConfig::add(const Model& model, const std::string& path) {
  ONNXTOOL_TRY(add_graph(model.graph()));
  paths_.insert(path);
  return {};
}

Status OperatorConfig::add_graph(const Graph& graph) {
  for (const Node& node : graph.nodes()) {
    if (node.is("Constant")) continue;
    const std::string domain = shown_domain(node);
    ONNXTOOL_TRY(require_cpu_kernel(node));
    const int version =
        ort_since_version(node.domain(), node.op_type(), node.opset()).value_or(1);  // custom: 1
    operators_[{domain, version}].insert(node.op_type());
    if (with_types_) ONNXTOOL_TRY(add_types(node, types_[{domain, node.op_type()}]));
    Status status;
    node.for_each_subgraph([&](const Graph& g) {
      if (status.ok()) status = add_graph(g);
    });
    ONNXTOOL_TRY(std::move(status));
  }
  return {};
}

Status OperatorConfig::add_types(const Node& node, Types& types) {
  if (node.is("OneHot") && node.has_input(0) && node.has_input(1) && node.has_input(2)) {
    std::vector<std::string> triple;  // indices, values, depth: the order of the kernels' names
    for (const int i : {0, 2, 1}) {
      ONNXTOOL_ASSIGN(std::string type, type_of(node, node.input(i)));
      triple.push_back(std::move(type));
    }
    types.custom.insert(std::move(triple));
    return {};
  }
  const Tracked* tracked = find_tracked(shown_domain(node), node.op_type());
  if (!tracked) return {};
  for (const int i : tracked->inputs) {
    if (!node.has_input(i)) continue;  // an attribute in other versions
    ONNXTOOL_ASSIGN(std::string type, type_of(node, node.input(i)));
    types.inputs[i].insert(std::move(type));
  }
  for (const int i : tracked->outputs) {
    if (!node.has_output(i)) continue;
    ONNXTOOL_ASSIGN(std::string type, type_of(node, node.output(i)));
    types.outputs[i].insert(std::move(type));
  }
  return {};
}

void OperatorConfig::add_operator(const std::string& domain, int since_version,
                                  const std::string& op_type) {
  operators_[{domain, since_version}].insert(op_type);
  types_.try_emplace({domain, op_type});
}

std::string OperatorConfig::format_types(const Operator& op) const {
  const Types& types = types_.at(op);
  std::string text;
  if (!types.custom.empty()) {
    for (const std::vector<std::string>& triple : types.custom)
      text += (text.empty() ? "" : ", ") + format_list(triple);
    return "{\"custom\": [" + text + "]}";
  }
  const std::string inputs = format_arguments("inputs", types.inputs);
  const std::string outputs = format_arguments("outputs", types.outputs);
  if (inputs.empty() && outputs.empty()) return {};
  return "{" + inputs + (inputs.empty() || outputs.empty() ? "" : ", ") + outputs + "}";
}

std::string OperatorConfig::text() const {
  std::string text = "# Operators that these models need:\n";
  for (const std::string& path : paths_) text += "# - " + path + "\n";
  for (const auto& [domain_and_version, ops] : operators_) {
    const auto& [domain, version] = domain_and_version;
    std::string line = domain + ";" + std::to_string(version) + ";";
    for (const std::string& op : ops) {
      if (!line.ends_with(';')) line += ',';
      line += op;
      if (with_types_) line += format_types({domain, op});
    }
    text += line + "\n";
  }
  return text;
}

}  // namespace onnxtool
