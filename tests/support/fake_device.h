// A kernel set in a second memory space: the cpu kernels over memory that only they and explicit
// copies reach, with a few operators missing, so that values travel back and forth. Its addresses
// fault where the host reads them.
#pragma once

#include <cstdint>

#include "calib/exec/kernel.h"

namespace onnxtool::testing {

/// Valid for the life of the process.
const KernelSet& fake_device_set();

/// Copies made so far, both ways: a test that counts none has tested nothing.
int64_t fake_device_copies();
/// Allocations that were not released.
int64_t fake_device_live();
/// Pointers that came from the wrong space.
int64_t fake_device_violations();

}  // namespace onnxtool::testing
