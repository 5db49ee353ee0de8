// Copies between the host and a device: what a plan needs of them.
#pragma once

#include "calib/exec/plan_impl.h"

namespace onnxtool {

/// Uploads the constants that steps on a device read, and counts the values that each run copies:
/// every value travels at most once in a direction, however many steps read it. Nothing to do for a
/// plan without a device.
Status place_copies(Plan::Impl& plan);

}  // namespace onnxtool
