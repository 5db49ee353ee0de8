// How a node looks when what it works on has its axes in another order.
//
// A value v is a Transpose with `perm` of another value v', the base: axis i of v is axis perm[i]
// of v'.
#pragma once

#include <optional>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

using Perm = std::vector<int64_t>;

/// The order of a Transpose, the reverse where none is given; empty: not known, or no permutation.
Perm perm_of(const Node& transpose);
Perm inverse(const Perm& perm);
/// Of a Transpose with `first` and one with `second` behind it.
Perm composed(const Perm& first, const Perm& second);
bool is_identity(const Perm& perm);

/// The elements in another order: axis i of the result is axis perm[i] of the tensor, whose
/// elements are whole bytes.
Tensor transposed(const Tensor& tensor, const Perm& perm);

/// A node that takes bases instead of values and gives bases, or where it `ends` the order the
/// values that it gave: with the axes that are left in the order of the base. One that takes no
/// base begins it: Unsqueeze.
struct Moved {
  enum class Input : uint8_t { kBase, kSame, kConstant };
  std::vector<Input> inputs;
  std::vector<Tensor> constants;  // one for each kConstant, in order
  std::vector<std::pair<std::string, std::vector<int64_t>>> lists;  // attributes that change
  std::vector<std::pair<std::string, int64_t>> numbers;
  bool ends = false;
};

/// Whether an element of the results is made of those at the same place of the inputs, where these
/// have all one shape.
bool is_elementwise(const Node& node);

/// nullopt: the operator depends on the order of its axes, or on what is not known of it.
std::optional<Moved> moved(const Node& node, const Perm& perm);

}  // namespace onnxtool
