// Models from files.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Reads a model, .onnx or .ort by its bytes; "-" is stdin, where external data is refused. Tensors
/// refer to the mapped files.
Result<std::unique_ptr<Model>> load_model(const std::string& path);

/// What the bytes are, where they are plainly something else than a model: "is a zip archive, ...".
std::optional<Error> recognize_other_format(std::span<const std::byte> bytes);

}  // namespace onnxtool
