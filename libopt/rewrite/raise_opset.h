// The driver's step to a later version of the standard's operators, where that pays.
#pragma once

#include <span>

#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/pins.h"

namespace onnxtool {

/// Raises the model to the version that matches wait for (PassState::wanted_opset), if the passes
/// then make up for what the conversion adds; where the latest that they wait for is out of reach,
/// context.allowed_opset falls, so that the next sweep asks for an earlier one. Returns
/// whether to look again.
bool raise_opset(Model& model, std::span<const PassInfo* const> passes, PassContext& context,
                 const Pins& pins);

}  // namespace onnxtool
