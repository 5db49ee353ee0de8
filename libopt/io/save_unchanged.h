// A model's file as it was.
#pragma once

#include <string>

#include "libopt/io/save.h"

namespace onnxtool {

/// Writes the bytes of `source`, a model in one file, to `path` as save_model() does.
Result<SavedFiles> save_unchanged(const std::string& source, const std::string& path,
                                  const SaveOptions& options);

}  // namespace onnxtool
