#include "libopt/target/runtime.h"

#include <charconv>

namespace onnxtool {
namespace {

constexpr RuntimeRelease kReleases[] = {
#define RELEASE(name, opset, ml_opset, ir_version) {name, opset, ml_opset, ir_version},
#include "libopt/target/runtime_releases.def"
#undef RELEASE
};

}  // namespace

std::span<const RuntimeRelease> all_runtimes() { return kReleases; }

int RuntimeRelease::number() const {
  const std::string_view digits = name.substr(name.rfind('.') + 1);
  int number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

const RuntimeRelease* find_runtime(std::string_view name) {
  for (const RuntimeRelease& r : kReleases)
    if (r.name == name) return &r;
  return nullptr;
}

}  // namespace onnxtool
