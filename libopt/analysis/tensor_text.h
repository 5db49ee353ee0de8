// Tensors and attributes as short text: by value where they are small, by digest otherwise.
#pragma once

#include <map>
#include <string>

#include "libopt/ir/attribute.h"
#include "libopt/ir/graph.h"

namespace onnxtool {

/// `float[64, 3, 7, 7] sha256:1f0c2a7e93b4d851`; equal for equal type, dims and bytes. Of an unread
/// one (ir/unread.h) `float[64, 3, 7, 7] external, not read`.
std::string tensor_text(const Tensor& tensor);
/// Whether nothing is known to tell them apart: same type, dims and bytes, or one is unread.
bool seem_equal(const Tensor& a, const Tensor& b);
/// Of a graph's sparse initializers, by name: `sparse float[4, 4] sha256:...`, of the values and
/// indices.
std::map<std::string, std::string> sparse_initializer_texts(const Graph& graph);
/// What changed between two constants: types, dims, digests, and SQNR where both are floats of
/// equal dims.
std::string tensor_change(const Tensor& before, const Tensor& after);
/// Kinds as people know them: "float", "ints", "sparse_tensor". They are the fields of
/// AttributeProto; other numbers stand for themselves.
std::string attribute_kind_name(int kind);
/// `[1, 1]`, `0.5`, `"SAME_UPPER"`, a tensor's text; graphs are left out. Equal for equal values,
/// and among attributes of one kind for no others.
std::string attribute_text(const Attribute& attribute);

}  // namespace onnxtool
