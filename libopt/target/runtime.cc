#include "libopt/target/runtime.h"

namespace onnxtool {
namespace {

constexpr RuntimeRelease kReleases[] = {
#define RELEASE(name, opset, ml_opset, ir_version) {name, opset, ml_opset, ir_version},
#include "libopt/target/runtime_releases.def"
#undef RELEASE
};

}  // namespace

std::span<const RuntimeRelease> all_runtimes() { return kReleases; }

const RuntimeRelease* find_runtime(std::string_view name) {
  for (const RuntimeRelease& r : kReleases)
    if (r.name == name) return &r;
  return nullptr;
}

}  // namespace onnxtool
