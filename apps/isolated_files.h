// A part of a model in a directory of its own, for whoever looks at what went wrong there.
#pragma once

#include <string>
#include <vector>

#include "libopt/ir/attribute.h"
#include "libopt/ir/model.h"
#include "libopt/support/atomic_directory.h"

namespace onnxtool {

/// One file, weights inside. Errors (kLimit): above 2 GB; `flag` names who asked for it.
Status write_isolated_model(const Model& model, const AtomicDirectory& directory,
                            const std::string& name, const std::string& flag);

/// test_data_set_0: what the model is fed, and what it should give.
Status write_isolated_data(const AtomicDirectory& directory, const std::string& sample,
                           const std::vector<NamedTensor>& inputs,
                           const std::vector<NamedTensor>& expected);

}  // namespace onnxtool
