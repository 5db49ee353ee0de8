// --max-memory: how much memory a command may take.
#pragma once

#include <string>

#include "libopt/support/status.h"

namespace onnxtool {

/// Limits what this process allocates from now on (files that are mapped do not count). `text` is
/// a flag's value: bytes, or a number with K, M or G (powers of 1024); empty: the cgroup's limit,
/// if there is one. Asking for more then fails as in a machine without memory.
Status limit_memory(const std::string& text);

/// The error for a command that got no memory, which names the limit where there is one.
Error out_of_memory(Error error);

}  // namespace onnxtool
