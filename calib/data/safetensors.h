// The safetensors format: a JSON header, then the payloads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calib/data/arrays.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Whether the first bytes (9 at least) could be a safetensors header in a file of this size.
bool looks_like_safetensors(std::span<const std::byte> head, uint64_t file_size);

/// The arrays in order of their payloads. The header is at most 100 MB; payloads must follow each
/// other without overlap or hole and end with the file.
/// Source: the safetensors README, section "Format".
Result<std::vector<StoredArray>> open_safetensors(const std::string& path);

}  // namespace onnxtool
