#include "calib/exec/modules.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <optional>

#include "calib/exec/recorder.h"
#include "calib/kernels/cpu/cpu_kernels.h"

namespace onnxtool {
namespace {

// Modules of the host, in order of preference.
constexpr const char* kModules[] = {"dnnl"};

std::string binary_directory() {
  char path[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0) return {};
  const std::string_view whole(path, static_cast<size_t>(n));
  return std::string(whole.substr(0, whole.rfind('/')));
}

// nullptr with a reason when the file is absent or cannot be loaded.
void* open_module(const std::string& file, std::string& reason) {
  const std::string directory = binary_directory();
  if (directory.empty() || ::access((directory + "/" + file).c_str(), R_OK) != 0) {
    reason = file + " is not beside the binary";
    return nullptr;
  }
  // Never closed: kernels of a module may run until the process ends.
  void* handle = ::dlopen((directory + "/" + file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) reason = file + " could not be loaded: " + ::dlerror();
  return handle;
}

const KernelSet* kernel_set_of(void* handle, const std::string& file, std::string& reason,
                               const char* symbol = "onnxtool_kernel_set") {
  const auto entry = reinterpret_cast<const KernelSet* (*)(int)>(::dlsym(handle, symbol));
  const KernelSet* set = entry ? entry(kKernelAbi) : nullptr;
  if (!set)
    reason = file + (entry ? " does not fit this build or this machine" : " is no kernel module");
  return set;
}

// nullptr with a reason when the module is absent or refuses this machine.
const KernelSet* load_module(const std::string& name, std::string& reason,
                             const char* symbol = "onnxtool_kernel_set") {
  const std::string file = "onnxtool-" + name + ".so";
  void* handle = open_module(file, reason);
  return handle ? kernel_set_of(handle, file, reason, symbol) : nullptr;
}

// The N of "cuda:N"; nullopt: not of this form.
std::optional<int> device_index(const std::string& device) {
  if (device == "cuda" || device == "auto") return 0;
  if (!device.starts_with("cuda:")) return std::nullopt;
  int index = -1;
  const char *begin = device.data() + 5, *end = device.data() + device.size();
  const auto parsed = std::from_chars(begin, end, index);
  if (parsed.ec != std::errc() || parsed.ptr != end || index < 0) return std::nullopt;
  return index;
}

// What makes a device slower than it could be.
void add_device_note(const std::string& file, KernelSets& out) {
  std::string reason;
  void* handle = open_module(file, reason);
  const auto lacks =
      handle ? reinterpret_cast<const char* (*)()>(::dlsym(handle, "onnxtool_device_lacks_library"))
             : nullptr;
  if (const char* why = lacks ? lacks() : nullptr)
    out.notes.push_back(std::string("without cuDNN (") + why + "): convolutions run slower");
}

Status add_device(const std::string& device, KernelSets& out) {
  if (device == "cpu") return {};
  const std::optional<int> index = device_index(device);
  if (!index)
    return Error{ErrorCode::kUsage, "unknown device '" + device + "'",
                 "known: cpu, cuda, cuda:N, auto"};
  const auto set = load_device_module("onnxtool-cuda.so", *index);
  if (set.ok()) {
    out.sets.push_back(*set);
    add_device_note("onnxtool-cuda.so", out);
    return {};
  }
  if (device != "auto")
    return Error{ErrorCode::kUnsupported, "device '" + device + "': " + set.error().message,
                 "use --device cpu"};
  out.notes.push_back("runs on the CPU (" + set.error().message + ")");
  return {};
}

}  // namespace

Result<const KernelSet*> load_device_module(const std::string& file, int index) {
  const auto failed = [](std::string reason) {
    return Error{ErrorCode::kUnsupported, std::move(reason), {}};
  };
  std::string reason;
  void* handle = open_module(file, reason);
  if (!handle) return failed(reason);
  const auto use = reinterpret_cast<const char* (*)(int)>(::dlsym(handle, "onnxtool_use_device"));
  if (!use) return failed(file + " is no module for a device");
  if (const char* refused = use(index)) return failed(refused);
  const KernelSet* set = kernel_set_of(handle, file, reason);
  if (!set) return failed(reason);
  const auto recorder =
      reinterpret_cast<const RecorderApi* (*)()>(::dlsym(handle, "onnxtool_recorder"));
  set_recorder(set->device, recorder ? recorder() : nullptr);
  return set;
}

Result<KernelSets> load_kernel_sets(const std::string& wanted, const std::string& device) {
  KernelSets out;
  ONNXTOOL_TRY(add_device(device, out));
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
    if (name == "cuda") return Error{ErrorCode::kUsage, "'cuda' is a device", "use --device cuda"};
    if (std::find(std::begin(kModules), std::end(kModules), name) == std::end(kModules))
      return Error{ErrorCode::kUsage, "unknown kernel set '" + name + "'",
                   "known: cpu, dnnl, auto"};
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

Result<const KernelSet*> load_reduced_kernels(const std::string& file,
                                              const std::string& precision) {
  std::string reason;
  void* handle = open_module(file, reason);
  const auto entry = handle ? reinterpret_cast<const KernelSet* (*)(int, const char*)>(
                                  ::dlsym(handle, "onnxtool_reduced_kernel_set"))
                            : nullptr;
  const KernelSet* set = entry ? entry(kKernelAbi, precision.c_str()) : nullptr;
  if (set) return set;
  if (reason.empty()) reason = file + " has no products in " + precision;
  return Error{ErrorCode::kUnsupported, std::move(reason), "leave --calib-precision at f32"};
}

Status use_precision(KernelSets& sets, const std::string& precision) {
  if (precision == "f32") return {};
  if (sets.sets[0]->device) {
    ONNXTOOL_ASSIGN(const KernelSet* reduced, load_reduced_kernels("onnxtool-cuda.so", precision));
    sets.sets.insert(sets.sets.begin(), reduced);
    return {};
  }
  if (precision != "bf16")
    return Error{ErrorCode::kUsage, "products in " + precision + " need a GPU",
                 "use --device cuda, or leave --calib-precision at f32"};
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
