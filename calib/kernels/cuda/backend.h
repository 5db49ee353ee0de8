// What the two builds of this directory's sources do in their own way, for the module's entry; and
// what both hand to the plan.
#pragma once

#include <string_view>

#include "calib/exec/recorder.h"

namespace onnxtool::device {

/// Makes the index-th device the one that this process uses. nullptr, or why it cannot be: the text
/// lives as long as the process.
const char* use_device(int index);

/// What kernels were chosen for, as range files name it.
std::string_view architecture();

/// Recordings of what a thread asks for: CUDA graphs in the module.
const RecorderApi& recorder();

/// DeviceApi::count.
Status count(DeviceTally* counts, uint64_t* table, const ConstView& value);

}  // namespace onnxtool::device
