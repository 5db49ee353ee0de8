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

/// Whether a device failed or ran out of memory, as opposed to the model or the data: on the CPU
/// the same may work. Told from the hint, with which all such errors begin it.
inline bool is_of_device(const Error& error) { return error.hint.starts_with("use --device cpu"); }

/// A module beside the binary and its device, for tests; an error says why it cannot be used.
Result<const KernelSet*> load_device_module(const std::string& file, int index);

/// Of such a module, once it is loaded: its products in a precision below float32.
Result<const KernelSet*> load_reduced_kernels(const std::string& file,
                                              const std::string& precision);

/// Lets matrix products and convolutions round their operands to "bf16", "tf32" or "fp16", with
/// sums in float32; "f32" changes nothing. On a device all three; else bf16 by oneDNN (dnnl-bf16).
/// An error says why not: no dnnl, or a CPU without the instructions.
Status use_precision(KernelSets& sets, const std::string& precision);

}  // namespace onnxtool
