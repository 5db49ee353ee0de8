// What keeps a graph from running: operators that nothing here has a kernel for.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>

#include "calib/exec/kernel.h"
#include "libopt/ir/graph.h"

namespace onnxtool {

class MissingKernels {
 public:
  void add(const Node& node);
  bool empty() const { return first_nodes_.empty(); }
  /// Names every operator with the first node that wants it; the hint has operators of close names,
  /// or the types that the operator does run on.
  Error error(std::span<const KernelSet* const> sets) const;

 private:
  std::map<std::string, std::string> first_nodes_;           // by operator, opset and type
  std::set<std::pair<std::string, std::string>> operators_;  // domain, operator
};

}  // namespace onnxtool
