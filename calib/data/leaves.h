// The tensors that a value consists of, under paths that name them: `scores`, `scores[3]`.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libopt/ir/attribute.h"
#include "libopt/ir/datum.h"
#include "libopt/ir/types.h"

namespace onnxtool {

struct Leaf {
  std::string path;
  Tensor values;
  std::optional<Tensor> keys;  // of a map: key i has element i of values, keys ascending
};

/// A tensor is one leaf, a sequence those of its elements, a map one, an optional without a value
/// none.
std::vector<Leaf> leaves_of(const std::string& name, const Datum& value);

/// The path of one element of a map: `scores[3]["cat"]`.
std::string element_path(const Leaf& map, int64_t index);

/// Leaves as tensors: a map becomes a scalar for each of its keys.
std::vector<NamedTensor> tensors_of(const std::string& name, const Datum& value);

/// What RunContext::run_data() takes.
std::vector<Datum> as_data(std::span<const Tensor> tensors);

/// The type of the tensors that a value of this type consists of.
DataType leaf_type(const ValueType& type);
/// Whether it is a sequence, a map or an optional.
bool is_container(const ValueType& type);

}  // namespace onnxtool
