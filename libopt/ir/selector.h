// Which nodes a flag means: `op:Conv`, `name:GLOB`, `@FILE` with one selector a line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/graph.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// `*` any characters, `?` one; everything else itself.
bool glob_match(std::string_view pattern, std::string_view text);

class Selector {
 public:
  /// Errors (kUsage) say what is wrong with the text; a file is read here.
  static Result<Selector> parse(const std::vector<std::string>& texts);
  bool matches(const Node& node) const;
  bool empty() const { return terms_.empty(); }
  /// Fails (kUsage) for a term that matches no node of the model, listing close names.
  Status check(const Model& model) const;

 private:
  struct Term {
    bool by_op = false;
    std::string pattern;
  };
  std::vector<Term> terms_;
};

/// Up to three of `known` closest to `text`, by edit distance, for "did you mean".
std::vector<std::string> close_candidates(std::string_view text,
                                          const std::vector<std::string>& known);

}  // namespace onnxtool
