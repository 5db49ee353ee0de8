// Names of operators as reports and messages write them.
#pragma once

#include <string>
#include <string_view>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// `Conv`, and `com.microsoft.Gelu` of another domain.
inline std::string operator_name(std::string_view op, std::string_view domain) {
  return domain.empty() ? std::string(op) : std::string(domain) + "." + std::string(op);
}
inline std::string operator_name(const Node& node) {
  return operator_name(node.op_type(), node.domain());
}

/// With a domain always: `ai.onnx.Conv`, as ONNX Runtime names what it may leave out.
inline std::string full_operator_name(const Node& node) {
  return operator_name(node.op_type(), node.domain().empty() ? "ai.onnx" : node.domain());
}

}  // namespace onnxtool
