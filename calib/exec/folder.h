// Computes constant nodes: the executor as libopt's Folder.
#pragma once

#include <memory>

#include "libopt/rewrite/rule.h"

namespace onnxtool {

/// Folds with the portable `cpu` kernels, so the bytes written into a model are the same
/// everywhere.
std::unique_ptr<Folder> make_folder();

}  // namespace onnxtool
