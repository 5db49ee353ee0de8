// Kernel sets that this process can use.
#pragma once

#include <string>
#include <vector>

#include "calib/exec/kernel.h"
#include "libopt/support/status.h"

namespace onnxtool {

struct KernelSets {
  std::vector<const KernelSet*> sets;  // preferred first; `cpu` is always the last
  std::vector<std::string> notes;      // one per module that was wanted and is missing
};

/// `wanted`: "auto" (every module that is there, then cpu), or a comma-separated list such as "cpu"
/// or "dnnl,cpu". `device`: "cpu"; "cuda" or "cuda:N", whose kernels then come first; or "auto": an
/// NVIDIA GPU where one can be used, else a note that says why not. Modules are loaded from beside
/// the binary only, once per process.
Result<KernelSets> load_kernel_sets(const std::string& wanted, const std::string& device = "cpu");

/// A module beside the binary and its device, for tests; an error says why it cannot be used.
Result<const KernelSet*> load_device_module(const std::string& file, int index);

/// Lets matrix products and convolutions run in bfloat16 with sums in float32 (dnnl-bf16), before
/// dnnl. An error that says why where there is no dnnl, or the CPU lacks the instructions.
Status prefer_bf16(KernelSets& sets);

}  // namespace onnxtool
