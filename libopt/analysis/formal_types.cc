#include "libopt/analysis/formal_types.h"

#include <algorithm>

#include "libopt/analysis/seam_internal.h"

namespace onnxtool {
namespace {

FormalType formal(const onnx::OpSchema::FormalParameter& p, const std::string& wanted) {
  const auto& types = p.GetTypes();
  return {p.GetTypeStr(), std::any_of(types.begin(), types.end(),
                                      [&](const auto& t) { return t && *t == wanted; })};
}

std::vector<FormalType> expand(const std::vector<onnx::OpSchema::FormalParameter>& formals,
                               int count, const std::string& wanted) {
  std::vector<FormalType> out;
  for (int i = 0; i < count; ++i) {
    if (formals.empty()) break;
    const size_t last = formals.size() - 1;
    const auto at = std::min(static_cast<size_t>(i), last);
    out.push_back(formal(formals[at], wanted));
  }
  return out;
}

}  // namespace

FormalTypes formal_types(const Node& node, DataType type) {
  const onnx::OpSchema* schema = seam::standard_schema(node.op_type(), node.domain(), node.opset());
  if (!schema) return {};
  const std::string wanted = "tensor(" + std::string(name(type)) + ")";
  return {expand(schema->inputs(), node.num_inputs(), wanted),
          expand(schema->outputs(), node.num_outputs(), wanted)};
}

}  // namespace onnxtool
