// Models as lines, for tools that compare lines.
#include <fmt/format.h>

#include "libopt/analysis/difference.h"
#include "libopt/analysis/tensor_text.h"
#include "libopt/ir/operator_name.h"
#include "libopt/ir/unread.h"

namespace onnxtool {
namespace {

// What would break the line.
std::string quoted(const std::string& name) {
  std::string out = "'";
  for (const char c : name)
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f
               ? fmt::format("\\x{:02x}", static_cast<unsigned char>(c))
               : std::string(1, c);
  return out + "'";
}

// Data in other files is not looked at, so that the lines are the same with and without it.
std::string constant_text(const Tensor& t) {
  const UnreadData* data = unread_data(t);
  if (!data) return tensor_text(t);
  return std::string(name(t.dtype())) + format_dims(t.dims()) +
         fmt::format(" external {} offset {} length {}, not read", quoted(data->location),
                     data->offset, t.size_bytes());
}

std::string float_text(float v) {
  const std::string text = attribute_text(Attribute::of("", v));
  return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
}

std::string value_text(const Attribute& a) {
  if (!a.ref.empty()) return attribute_text(a);
  if (const auto* t = a.get<NamedTensor>()) return constant_text(t->tensor);
  // 1.0 is another attribute than 1.
  if (const auto* v = a.get<float>()) return float_text(*v);
  if (const auto* list = a.get<std::vector<float>>()) {
    std::string out = "floats[";
    for (const float v : *list) out += (out.ends_with('[') ? "" : ", ") + float_text(v);
    return out + "]";
  }
  return attribute_text(a);
}

void append_graph(std::string& out, const Graph& graph, const std::string& indent) {
  for (const Value* v : graph.inputs())
    out += indent + "input " + quoted(v->name()) + " " + format_type(v->type()) + "\n";
  for (const Value* v : graph.outputs())
    out += indent + "output " + quoted(v->name()) + " " + format_type(v->type()) + "\n";
  for (const Value* v : graph.initializers())
    out += indent + "constant " + quoted(v->name()) + " " + constant_text(*v->initializer()) + "\n";
  for (const auto& [name, text] : sparse_initializer_texts(graph))
    out += indent + "constant " + quoted(name) + " " + text + "\n";
  for (const Node& n : graph.nodes()) {
    out += indent;
    for (const Value* v : n.outputs()) out += (v ? quoted(v->name()) : "-") + " ";
    out += "= " + operator_name(n);
    for (const Value* v : n.inputs()) out += " " + (v ? quoted(v->name()) : "-");
    for (const Attribute& a : n.attributes())
      if (a.kind != AttributeKind::kGraph && a.kind != AttributeKind::kGraphs)
        out += " " + a.name + "=" + value_text(a);
    out += "\n";
    n.for_each_subgraph([&](Graph& g) { append_graph(out, g, indent + "  "); });
  }
}

}  // namespace

std::string outline(const Model& model) {
  std::string out = "ir_version " + std::to_string(model.ir_version) + "\n";
  for (const OpsetImport& o : model.opsets)
    out += "opset " + (o.domain.empty() ? "ai.onnx" : o.domain) + " " + std::to_string(o.version) +
           "\n";
  for (const auto& [key, value] : model.metadata)
    out += "metadata " + quoted(key) + " " + quoted(value) + "\n";
  append_graph(out, model.graph(), "");
  for (const Function& f : model.functions) {
    out += "function " + quoted(f.domain + "." + f.name) + "\n";
    append_graph(out, *f.body, "  ");
  }
  return out;
}

}  // namespace onnxtool
