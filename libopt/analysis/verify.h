// A node against its operator's schema, every fault at once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/attribute.h"

namespace onnxtool {

/// What of an attribute the schema speaks about.
struct AttributeHeader {
  std::string_view name;
  AttributeKind kind = AttributeKind::kUndefined;  // as declared
  bool has_value = false;                          // a field of that kind is there
  bool is_reference = false;                       // to an attribute of the function around it
};

/// A node as its file has it; nothing is resolved.
struct NodeHeader {
  std::string_view op_type, domain;
  std::span<const std::string_view> inputs, outputs;  // empty: left out
  std::vector<AttributeHeader> attributes;
};

struct SchemaFault {
  enum class Kind : uint8_t {
    kUnknownOperator,
    kDeprecated,
    kInputCount,
    kMissingInput,
    kOutputCount,
    kMissingOutput,
    kUnknownAttribute,
    kAttributeType,
    kMissingAttribute,
    kOther,
  };
  Kind kind;
  std::string message;
  std::string hint;
};

/// What the standard says of the node at the opset version. Operators of domains that are not the
/// standard's are never unknown; experimental ones, which the standard dropped, are not looked at.
std::vector<SchemaFault> verify_node(const NodeHeader& node, int opset);

/// Whether the standard defines this domain's operators.
bool is_standard_domain(std::string_view domain);
/// Operators that old exporters used and no opset ever had.
bool is_experimental(std::string_view op_type, std::string_view domain);
/// The newest opset of a standard domain that this build knows; 0 for other domains.
int newest_opset(std::string_view domain);
/// The newest IR version that this build knows.
int newest_ir_version();

}  // namespace onnxtool
