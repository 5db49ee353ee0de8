// SHA-1, for the checksums that ONNX gives of external data files. Nothing here trusts it.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace onnxtool {

/// 40 lower-case hex digits.
std::string sha1_hex(std::span<const std::byte> bytes);

}  // namespace onnxtool
