// The devices that a test runs on.
#pragma once

#include <vector>

#include "calib/exec/kernel.h"

namespace onnxtool::testing {

/// The module that stands in for a GPU (the same functors, lanes and launches as loops, over memory
/// that the host cannot touch), and the GPU's where it can be used; where it cannot, a skip is
/// printed. Each is valid for the life of the process.
std::vector<const KernelSet*> devices();

/// The file that devices() takes for a GPU, beside the tests.
inline constexpr const char* kStandIn = "onnxtool-device-on-host.so";
/// What the stand-in counts under this name (an exported `int ()`), since it was last asked. It is
/// loaded.
int stand_in_count(const char* name);

}  // namespace onnxtool::testing
