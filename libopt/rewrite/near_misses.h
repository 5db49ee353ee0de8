// What the passes of a run came close to and did not do.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/rewrite/rule.h"

namespace onnxtool {

struct NearMiss {
  std::string_view pass;
  std::string node;    // `node 'conv1' (Conv)`
  std::string reason;  // the first precondition that failed
  std::string found;   // what the node reads: types, constants, who made it, how many read it
};

using WantedMiss = std::function<bool(const PassInfo&, const Node&)>;

/// Of a model on which the passes find nothing any more, in the order of passes and nodes; each
/// node once for a pass and a reason, where `wanted` says so.
std::vector<NearMiss> find_near_misses(Model& model, std::span<const PassInfo* const> passes,
                                       const PassContext& context, const WantedMiss& wanted);

}  // namespace onnxtool
