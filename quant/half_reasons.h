// Why a node stays in float32.
#pragma once

#include <set>
#include <string_view>
#include <vector>

#include "quant/half.h"

namespace onnxtool {

/// What values, constants and operators say about the nodes of one model.
class HalfReasons {
 public:
  /// `nodes` as all_nodes() gives them. Everything given must outlive it.
  HalfReasons(const Graph& graph, const std::vector<Node*>& nodes, const HalfOptions& options,
              const MeasuredRanges* ranges, HalfConstants& constants);

  /// nullptr: it may be 16-bit.
  const char* why_not(const Node& node, const HalfPlaces& places);
  /// Of a value whose type is free; nullptr as far as is known.
  const char* why_not_value(const Value& value) const;

 private:
  // A value is measured on some samples; others reach further.
  struct Limits {
    double largest;      // magnitude that still leaves room
    double smallest;     // of a value whose largest element is below, too few digits are left
    double exact_count;  // integers up to it are exact
  };
  static Limits limits_of(DataType type);

  void mark_counts();
  bool small_counts(const Value& v) const;
  const Range* range_of(const Value& v) const;
  bool is_measured(const Node& n) const;
  bool reads_guarded(const Node& n);
  bool leaves_by_constant(const Node& n);
  const char* why_not_constant(const Tensor& t, bool mask);
  const char* why_not_filling(const Node& n);

  const Graph& graph_;
  const std::vector<Node*>& nodes_;
  const HalfOptions& options_;
  const MeasuredRanges* ranges_;
  HalfConstants& constants_;
  const Limits limits_;
  std::set<const Node*> scores_, counts_;
  const std::set<const Node*> coded_;  // quantized already
};

/// What 16 bits are for: matrix products and what is made of them.
bool is_half_core(const Node& node);

}  // namespace onnxtool
