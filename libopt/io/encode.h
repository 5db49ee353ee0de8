// From the IR to bytes, with fields in a fixed order: the same model gives the same bytes.
#pragma once

#include <functional>
#include <string>

#include "libopt/io/wire.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// Where a tensor's bytes stand when they are not in the model's own file.
struct ExternalPlace {
  std::string location;
  uint64_t offset = 0;
};

/// Asked for each tensor: nullptr keeps it inside.
using PlaceTensor = std::function<const ExternalPlace*(const Tensor&)>;

/// A serialized ModelProto.
wire::Rope encode_model(const Model& model, const PlaceTensor& place = {});
/// A serialized NodeProto; with_subgraphs false leaves graph attributes out.
wire::Rope encode_node(const Node& node, bool with_subgraphs = true, const PlaceTensor& place = {});
wire::Rope encode_attribute(const Attribute& attribute);
wire::Rope encode_tensor(const std::string& name, const Tensor& tensor,
                         const PlaceTensor& place = {});
wire::Rope encode_type(const ValueType& type);

}  // namespace onnxtool
