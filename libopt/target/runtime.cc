#include "libopt/target/runtime.h"

#include <algorithm>
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

// Domains besides ai.onnx and ai.onnx.ml, measured as these: with the wheels of 1.15, 1.17, 1.23 to
// 1.28 and 1.31.
std::optional<int64_t> RuntimeRelease::newest(std::string_view domain) const {
  if (domain.empty() || domain == "ai.onnx") return opset;
  if (domain == "ai.onnx.ml") return ml_opset;
  // The operators of ai.onnx in the layout of some accelerators.
  if (domain == "com.ms.internal.nhwc") return opset;
  if (domain == "ai.onnx.preview") return number() >= 28 ? std::optional(1) : std::nullopt;
  constexpr std::string_view kAtOne[] = {
      "com.microsoft",    "com.microsoft.nchwc", "com.microsoft.experimental",
      "org.pytorch.aten", "ai.onnx.training",    "ai.onnx.preview.training"};
  return std::ranges::find(kAtOne, domain) != std::end(kAtOne) ? std::optional(1) : std::nullopt;
}

const RuntimeRelease* find_runtime(std::string_view name) {
  for (const RuntimeRelease& r : kReleases)
    if (r.name == name) return &r;
  return nullptr;
}

}  // namespace onnxtool
