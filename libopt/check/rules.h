// The rules of check: one line each in rules.def.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace onnxtool {

enum class Severity : uint8_t { kInfo, kWarning, kError };
constexpr std::string_view name(Severity s) {
  return s == Severity::kError ? "error" : s == Severity::kWarning ? "warning" : "info";
}

struct Rule {
  std::string_view code;
  Severity severity;
  std::string_view summary, explanation, fix;  // sentences; the summary without its period
};

enum class RuleId : uint8_t {
#define RULE(id, code, severity, summary, explanation, fix) id,
#include "libopt/check/rules.def"
#undef RULE
};

/// In the order of rules.def.
std::span<const Rule> all_rules();
const Rule& rule(RuleId id);
/// nullptr when there is none of that code.
const Rule* find_rule(std::string_view code);

}  // namespace onnxtool
