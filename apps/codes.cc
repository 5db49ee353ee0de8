#include "apps/codes.h"

namespace onnxtool {
namespace {

constexpr OutcomeCode kAll[] = {
#define CODE(code, exit_code, meaning, advice) {code, exit_code, meaning, advice},
#include "apps/codes.def"
#undef CODE
};

}  // namespace

std::span<const OutcomeCode> outcome_codes() { return kAll; }

}  // namespace onnxtool
