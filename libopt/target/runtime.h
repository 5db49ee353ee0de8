// Releases of runtimes, and the newest versions that each loads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace onnxtool {

struct RuntimeRelease {
  std::string_view name;  // "ort-1.17"
  int64_t opset, ml_opset, ir_version;
  /// The N of 1.N.
  int number() const;
  /// Of a domain that it knows the newest version, above which it refuses an import; nullopt: it
  /// does not know the domain, and loads any.
  std::optional<int64_t> newest(std::string_view domain) const;
};

/// Oldest first.
std::span<const RuntimeRelease> all_runtimes();
/// nullptr when there is none of that name.
const RuntimeRelease* find_runtime(std::string_view name);

}  // namespace onnxtool
