// The operators that ONNX Runtime registers: which schema a node of a model resolves to there, and
// what the .ort format stores of it.
//
// Source: the schemas of onnxruntime 1.31.1, listed by scripts/generate_ort_operators.py. They
// differ from the standard's in what they leave out (opset 28, training) and in operators that
// stand in the standard's domain without being part of it (LayerNormalization before opset 17,
// SimplifiedLayerNormalization).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "libopt/ir/attribute.h"

namespace onnxtool {

/// One version of an operator.
struct OrtSchema {
  std::string_view domain, op;  // "" is ai.onnx
  int since_version = 0;
  bool deprecated = false;
  int formal_inputs = 0;                    // a variadic one counts once
  std::string_view kernel_types, defaults;  // read by the functions below
};

/// The formal parameters whose types a kernel type string stands for.
struct OrtTypeArgs {
  std::string_view name;
  std::vector<int> inputs, outputs;
};

/// The schema of `op` for models that import version `opset` of `domain` ("ai.onnx" is ""): the
/// newest that is not newer. nullptr where there is none, or where it is deprecated there (Upsample
/// from 10 on).
const OrtSchema* find_ort_schema(std::string_view domain, std::string_view op, int64_t opset);
/// The version that a node of the .ort format carries.
std::optional<int> ort_since_version(std::string_view domain, std::string_view op, int64_t opset);

/// The entry of a schema in the kernel type string resolver, sorted by name.
std::vector<OrtTypeArgs> ort_type_args(const OrtSchema& schema);
/// Every attribute that has a default, as the schema has it, sorted by name.
std::vector<Attribute> ort_default_attributes(const OrtSchema& schema);

}  // namespace onnxtool
