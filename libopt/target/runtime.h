// Releases of runtimes, and the newest versions that each loads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace onnxtool {

struct RuntimeRelease {
  std::string_view name;  // "ort-1.17"
  int64_t opset, ml_opset, ir_version;
  /// The N of 1.N.
  int number() const;
};

/// Oldest first.
std::span<const RuntimeRelease> all_runtimes();
/// nullptr when there is none of that name.
const RuntimeRelease* find_runtime(std::string_view name);

}  // namespace onnxtool
