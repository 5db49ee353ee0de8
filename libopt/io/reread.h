// A model as a reader of its file would get it.
#pragma once

#include <memory>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Writes the model into memory and reads it back: what names alone can break breaks here.
Result<std::unique_ptr<Model>> reread(const Model& model);

}  // namespace onnxtool
