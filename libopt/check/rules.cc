#include "libopt/check/rules.h"

namespace onnxtool {
namespace {

constexpr Rule kRules[] = {
#define RULE(id, code, severity, summary, explanation, fix) \
  {code, Severity::severity, summary, explanation, fix},
#include "libopt/check/rules.def"
#undef RULE
};

}  // namespace

std::span<const Rule> all_rules() { return kRules; }

const Rule& rule(RuleId id) { return kRules[static_cast<size_t>(id)]; }

const Rule* find_rule(std::string_view code) {
  for (const Rule& r : kRules)
    if (r.code == code) return &r;
  return nullptr;
}

}  // namespace onnxtool
