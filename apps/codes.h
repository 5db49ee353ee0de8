// What the codes of errors and of findings mean that are none of check's rules.
#pragma once

#include <span>
#include <string_view>

namespace onnxtool {

struct OutcomeCode {
  std::string_view code;
  int exit_code;
  std::string_view meaning, advice;
};

std::span<const OutcomeCode> outcome_codes();

}  // namespace onnxtool
