#include "tests/support/devices.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <filesystem>
#include <iostream>

#include "calib/exec/modules.h"

namespace onnxtool::testing {

std::vector<const KernelSet*> devices() {
  std::vector<const KernelSet*> out;
  const auto stand_in = load_device_module(kStandIn, 0);
  REQUIRE_MESSAGE(stand_in.ok(), (stand_in.ok() ? "" : stand_in.error().message));
  out.push_back(*stand_in);
  const auto gpu = load_device_module("onnxtool-cuda.so", 0);
  if (gpu.ok()) {
    out.push_back(*gpu);
    return out;
  }
  // A case that asks again and again is one skip.
  static const void* told = nullptr;
  const void* test = doctest::getContextOptions()->currentTest;
  if (test != told) std::cout << "SKIP: no GPU (" << gpu.error().message << ")\n";
  told = test;
  return out;
}

int stand_in_count(const char* name) {
  const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / kStandIn;
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  REQUIRE(handle != nullptr);
  const auto count = reinterpret_cast<int (*)()>(::dlsym(handle, name));
  REQUIRE(static_cast<bool>(count));
  return count();
}

}  // namespace onnxtool::testing
