#include "calib/exec/modules.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "calib/kernels/cpu/cpu_kernels.h"

namespace onnxtool {
namespace {

// Modules in order of preference.
constexpr const char* kModules[] = {"cuda", "dnnl"};

std::string binary_directory() {
  char path[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0) return {};
  const std::string_view whole(path, static_cast<size_t>(n));
  return std::string(whole.substr(0, whole.rfind('/')));
}

// nullptr with a reason when the module is absent or refuses this machine.
const KernelSet* load_module(const std::string& name, std::string& reason,
                             const char* symbol = "onnxtool_kernel_set") {
  const std::string directory = binary_directory();
  const std::string file = "onnxtool-" + name + ".so";
  if (directory.empty() || ::access((directory + "/" + file).c_str(), R_OK) != 0) {
    reason = file + " is not beside the binary";
    return nullptr;
  }
  // Never closed: kernels of a module may run until the process ends.
  void* handle = ::dlopen((directory + "/" + file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    reason = file + " could not be loaded: " + ::dlerror();
    return nullptr;
  }
  const auto entry =
      reinterpret_cast<const KernelSet* (*)(int)>(::dlsym(handle, symbol));
  const KernelSet* set = entry ? entry(kKernelAbi) : nullptr;
  if (!set)
    reason = file + (entry ? " does not fit this build or this machine" : " is no kernel module");
  return set;
}

}  // namespace

Result<KernelSets> load_kernel_sets(const std::string& wanted) {
  KernelSets out;
  std::vector<std::string> names;
  const bool automatic = wanted.empty() || wanted == "auto";
  if (automatic) {
    names.assign(std::begin(kModules), std::end(kModules));
  } else {
    for (size_t start = 0; start <= wanted.size();) {
      const size_t end = std::min(wanted.find(',', start), wanted.size());
      names.push_back(wanted.substr(start, end - start));
      start = end + 1;
    }
  }
  for (const std::string& name : names) {
    if (name == "cpu") continue;
    if (std::find(std::begin(kModules), std::end(kModules), name) == std::end(kModules))
      return Error{ErrorCode::kUsage, "unknown kernel set '" + name + "'",
                   "known: cpu, dnnl, cuda, auto"};
    std::string reason;
    if (const KernelSet* set = load_module(name, reason))
      out.sets.push_back(set);
    else if (!automatic)
      return Error{ErrorCode::kUnsupported, "kernel set '" + name + "': " + reason,
                   "use --kernels cpu"};
    else if (name == "dnnl")
      out.notes.push_back("without oneDNN (" + reason + "): models run slower");
  }
  out.sets.push_back(&cpu_kernel_set());
  return out;
}

Status prefer_bf16(KernelSets& sets) {
  const auto dnnl = std::find_if(sets.sets.begin(), sets.sets.end(),
                                 [](const KernelSet* set) { return set->name == "dnnl"; });
  if (dnnl == sets.sets.end())
    return Error{ErrorCode::kUsage, "products in bfloat16 need the kernel set dnnl",
                 "use --kernels auto, or leave --calib-precision at f32"};
  std::string reason;
  const KernelSet* bf16 = load_module("dnnl", reason, "onnxtool_bf16_kernel_set");
  if (!bf16)
    return Error{ErrorCode::kUnsupported, "this CPU has no instructions for bfloat16",
                 "leave --calib-precision at f32, which is faster here"};
  sets.sets.insert(dnnl, bf16);
  return {};
}

}  // namespace onnxtool
