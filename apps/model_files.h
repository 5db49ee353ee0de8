// The models of commands that take many of them: files and directories.
#pragma once

#include <string>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

/// A model and the directory of the command line under which it was found ("": it was named
/// itself).
struct FoundModel {
  std::string path, root;
};

/// Files as they are named; directories are searched for files ending in one of `suffixes`
/// (".onnx"), in any case, and what is found is sorted. Links to directories are not followed. A
/// directory without models is an error, and so is a path that is not there.
Result<std::vector<FoundModel>> find_models(const std::vector<std::string>& paths,
                                            const std::vector<std::string>& suffixes);

}  // namespace onnxtool
