// Shell completions as text.
#pragma once

#include <string>

namespace onnxtool {

/// For "bash", "zsh" or "fish", generated from the command tree.
std::string completions_for(const std::string& shell);

}  // namespace onnxtool
