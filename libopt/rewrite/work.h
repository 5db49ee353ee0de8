// The work of a model's nodes, calls of its own functions included.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "libopt/ir/model.h"

namespace onnxtool {

/// For the nodes of one model, which must not change meanwhile.
class WorkCounter {
 public:
  /// As macs_of(), and for a call what the function's body comes to with the call's inputs and
  /// attributes: 0 where nothing in it multiplies, nullopt too where the bodies are too many nodes
  /// to look at.
  std::optional<int64_t> macs(const Node& node);

 private:
  bool multiplies(const Function& function);
  std::optional<int64_t> macs_of_call(const Node& call);

  std::optional<std::unordered_set<const Function*>> multiplying_;
  std::unique_ptr<Model> bench_;  // with the model's functions, and the call being looked at
  std::unordered_map<std::string, std::optional<int64_t>> known_;  // by call_key()
  uint64_t expanded_ = 0;                                          // nodes so far
};

}  // namespace onnxtool
