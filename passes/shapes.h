// What passes ask of shapes and of small constants that nodes are given.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Whether the two extents are equal in every run: the same number, or the same name.
bool same_dim(const Dim& a, const Dim& b);

/// Whether the two have the same shape in every run.
bool same_shape(const Value& a, const Value& b);

/// Why a match of scalars gives up where the two have not the same rank: a constant of one element
/// may have more axes than what it is added to.
inline constexpr const char* kMayEnlarge = "a constant may enlarge the result";
bool same_rank(const Value& x, const Value& y);

/// Whether `row` is a vector of just the last extent of x.
bool is_row_of(const Value& row, const Value& x);

/// The integers of a constant input; nullopt: it is absent or not constant.
std::optional<std::vector<int64_t>> constant_ints(const Node& node, int input);

/// The integers of an attribute; nullopt: it is absent.
std::optional<std::vector<int64_t>> attribute_ints(const Node& node, std::string_view name);

/// A list that moved from an attribute to an input: from opset `since` on it is input `input`.
std::optional<std::vector<int64_t>> ints_of(const Node& node, std::string_view attribute, int input,
                                            int since);

/// A constant target with which Reshape makes `to` of `from` in every run: numbers, 0 where the
/// extent at the same place is taken over, -1 at most once. Since runtimes refuse -1 where another
/// extent turns out to be 0, it stands beside numbers only, or at the place `open` where the caller
/// had one already. nullopt: there is none (extents that are 0 too, since Reshape reads that
/// otherwise).
std::optional<std::vector<int64_t>> reshape_target(const ValueType& from, const ValueType& to,
                                                   std::optional<size_t> open = std::nullopt);

}  // namespace onnxtool
