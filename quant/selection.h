// Which nodes and tensors a flag of quantization means: selectors of nodes (libopt/ir/selector.h),
// and besides `tensor:GLOB` (what makes such a tensor, or the tensor) and `between:FROM,TO` (what
// lies on a path from one tensor to the other).
#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "libopt/ir/selector.h"

namespace onnxtool {

class Selection {
 public:
  Selection() = default;
  Selection(Selector nodes) : nodes_(std::move(nodes)) {}  // NOLINT: every selector is one

  /// Errors (kUsage) say what is wrong with the text; a file is read here.
  static Result<Selection> parse(const std::vector<std::string>& texts);
  bool matches(const Node& node) const;
  /// By what means tensors; selectors of nodes never do.
  bool matches(const Value& value) const;
  bool empty() const { return nodes_.empty() && tensors_.empty() && paths_.empty(); }
  /// Fails (kUsage) for what matches nothing in the model, listing close names: no node, or no
  /// tensor, which inputs are too, where it `means_tensors`. Paths are those of this model, by the
  /// names of what their nodes make: until this was called they match nothing.
  Status check(const Model& model, bool means_tensors = false) const;

 private:
  struct Path {
    std::string text;  // FROM,TO
    /// Names of what its nodes make; copies share them.
    std::shared_ptr<std::unordered_set<std::string>> results;
  };
  bool matches_name(const std::string& name) const;

  Selector nodes_;
  std::vector<std::string> tensors_;  // patterns
  std::vector<Path> paths_;
};

}  // namespace onnxtool
