// `diff --structure`: what differs between two models without running them.
#pragma once

#include <string>

#include "apps/model_flags.h"

namespace onnxtool {

/// Exit code 1 where the models differ. Without a second model its lines go to stdout, as git's
/// textconv wants them.
Result<int> diff_structure(const std::string& reference, const std::string& test,
                           const CommonFlags& flags, const std::vector<ReportTarget>& targets,
                           const Streams& streams);

}  // namespace onnxtool
