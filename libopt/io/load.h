// Models from files.
#pragma once

#include <memory>
#include <string>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Reads a model; "-" is stdin, where external data is refused. Tensors refer to the mapped files.
Result<std::unique_ptr<Model>> load_model(const std::string& path);

}  // namespace onnxtool
