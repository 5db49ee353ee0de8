// Shell completions as text.
#pragma once

#include <string>

#include "libopt/support/status.h"

namespace onnxtool {

/// For "bash", "zsh" or "fish", generated from the command tree.
Result<std::string> completions_for(const std::string& shell);

}  // namespace onnxtool
