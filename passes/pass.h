// What every pass file includes; declares the constants listed in passes.def.
#pragma once

#include <span>
#include <vector>

#include "libopt/rewrite/rule.h"

namespace onnxtool {

#define PASS(id) extern const PassInfo id;
#include "passes/passes.def"
#undef PASS

/// All passes, in the order of passes.def.
std::span<const PassInfo* const> all_passes();
/// nullptr when there is none of that name.
const PassInfo* find_pass(std::string_view name);

/// What runs before quantization and whenever a graph is prepared for running: each line of the
/// list in pipeline.cc says why it stands there.
std::span<const PassInfo* const> preparation_pipeline();

/// What optimize runs: the passes up to a level, each line of the list with the reason for its
/// place.
std::vector<const PassInfo*> optimization_pipeline(Level level = Level::kBasic);

}  // namespace onnxtool
