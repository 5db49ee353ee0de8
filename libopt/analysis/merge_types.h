// What is inferred of a type, put into what is declared.
#pragma once

#include "libopt/ir/types.h"

namespace onnxtool {

struct MergeRules {
  /// A main graph's output keeps a declared symbol where a number is inferred: its type is a
  /// promise to callers.
  bool keep_symbols;
  /// Zero is what some exporters write for an extent that they do not know.
  bool zero_is_unknown;
};

/// Whether the two can be the same type; merges into `declared`.
bool merge_types(ValueType& declared, const ValueType& inferred, const MergeRules& rules);

/// Whether inference gave the name to an extent that had none.
bool is_invented(const std::string& symbol);

}  // namespace onnxtool
