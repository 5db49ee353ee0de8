// Models in ONNX Runtime's format (.ort).
#pragma once

#include <memory>
#include <span>
#include <string>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// What a file says of itself beside the model.
struct OrtFacts {
  std::string format_version;  // "6"
};

/// Whether the bytes carry the format's identifier.
bool is_ort(std::span<const std::byte> bytes);

/// Reads a file of format version 5 or 6, or older as far as the tables are the same. FlatBuffers'
/// verifier runs first (64 tables deep, 1,000,000 of them, as in the runtime), and everything is
/// checked that it does not know: names that are defined and only once, sizes of payloads, types,
/// indices; what tables share does not make the model larger than the file by orders. What only the
/// runtime's kernels need (edges, since_version, argument counts, the kernel type strings) is left
/// where it is. `bytes` start at a multiple of 8 and stay valid while `owner` lives: tensors refer
/// to them.
Result<std::unique_ptr<Model>> read_ort(std::span<const std::byte> bytes,
                                        std::shared_ptr<const Storage> owner,
                                        OrtFacts* facts = nullptr);

}  // namespace onnxtool
