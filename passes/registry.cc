#include "passes/pass.h"

namespace onnxtool {
namespace {

#define PASS(id) &id,
constexpr const PassInfo* kAll[] = {
#include "passes/passes.def"
};
#undef PASS

}  // namespace

std::span<const PassInfo* const> all_passes() { return kAll; }

const PassInfo* find_pass(std::string_view name) {
  for (const PassInfo* pass : kAll)
    if (pass->name == name) return pass;
  return nullptr;
}

}  // namespace onnxtool
