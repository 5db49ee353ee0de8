#include "tests/support/devices.h"

#include <doctest/doctest.h>

#include <iostream>

#include "calib/exec/modules.h"

namespace onnxtool::testing {

std::vector<const KernelSet*> devices() {
  std::vector<const KernelSet*> out;
  const auto stand_in = load_device_module("onnxtool-device-on-host.so", 0);
  REQUIRE_MESSAGE(stand_in.ok(), (stand_in.ok() ? "" : stand_in.error().message));
  out.push_back(*stand_in);
  const auto gpu = load_device_module("onnxtool-cuda.so", 0);
  if (gpu.ok())
    out.push_back(*gpu);
  else
    std::cout << "SKIP: no GPU (" << gpu.error().message << ")\n";
  return out;
}

}  // namespace onnxtool::testing
