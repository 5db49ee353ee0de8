// Matching of subgraphs that become one node: from the last node up to what feeds them.
//
//   Pattern p(mul);                                    // Mul(x, Sigmoid(x))
//   const Value* x = nullptr;
//   const Node* sigmoid = p.take_either(mul, {"Sigmoid"}, x);
//   if (!sigmoid || &sigmoid->input(0) != x) return no_match();
//   if (!p.closed()) return no_match(Pattern::kOtherUse);
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// The number that a constant of one float or integer element holds.
std::optional<double> scalar_of(const Value& value);
/// Whether the value is such a constant, close to the number: exporters write few digits of
/// irrational ones.
bool is_scalar(const Value& value, double number, double tolerance = 0);
/// The number that the other input of a node of two is: "x" of Mul(x, 2) is in `x`.
std::optional<double> scalar_operand(const Node& node, const Value*& x);

/// The node that alone reads the value, in the value's graph; nullptr: there is none, or the value
/// is an output.
const Node* only_reader(const Value& value);

/// Whether the node reads what DequantizeLinear makes: runtimes have it compute on integers then,
/// under the name that it has.
bool reads_dequantized(const Node& node);

/// The nodes of a match.
class Pattern {
 public:
  using Ops = std::initializer_list<std::string_view>;
  static constexpr const char* kOtherUse = "an intermediate result has another use";

  explicit Pattern(const Node& last) : last_(last) {}

  /// The standard's operator, one of `ops`, that makes the value in the last node's graph; it is
  /// part of the match from now on. nullptr: something else makes it.
  const Node* take(const Value& value, Ops ops);
  /// The same of an operator of com.microsoft too.
  const Node* take_any(const Value& value, Ops ops);
  /// Of a node of two inputs, whichever is made by one of `ops`; the other input is in `other`.
  const Node* take_either(const Node& node, Ops ops, const Value*& other);
  /// Another node that goes with the last one: what it makes is a result of the match.
  void take_result(const Node& node) { results_.push_back(&node); }
  /// Whether nothing outside reads what the taken nodes make, so that they go with the last node.
  bool closed() const;

 private:
  bool holds(const Node* node) const;

  const Node& last_;
  std::vector<const Node*> taken_, results_;
};

}  // namespace onnxtool
