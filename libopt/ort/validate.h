// Whether ONNX Runtime can load and run a .ort file, in minimal builds too: these repair nothing.
//
// A full build hides most faults, since it resolves the graph anew. Everything that it would add is
// compared with what the file has: types, edges, implicit inputs, versions, argument counts,
// default attributes, kernel type strings. Source of the rules: the loaders of onnxruntime 1.30,
// and its operators and kernels (since_version.h, cpu_kernel.h).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

struct OrtFault {
  std::string place;    // "graph: node 3 (If): then_branch: value 'x'"
  std::string message;  // lower-case, no final period: found, expected
  bool fatal = true;    // false: it works, but costs time or memory, or only some builds take it
};

struct OrtFaults {
  std::vector<OrtFault> list;  // in the order of the file
  size_t left_out = 0;         // fatal ones beyond a limit
  size_t waste_left_out = 0;   // others beyond it
  bool any_fatal() const;
};

/// Never fails: whatever the bytes are, they have faults. `bytes` start at a multiple of 8.
OrtFaults validate_ort(std::span<const std::byte> bytes);

/// For a file that has just been written: its first fatal fault as an error, with the number of the
/// others.
Status require_valid_ort(std::span<const std::byte> bytes);

}  // namespace onnxtool
