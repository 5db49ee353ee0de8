// What needs the graph: whether inference agrees with a .ort file's types, and kernels. See
// validate.h.

#include "libopt/analysis/seam.h"
#include "libopt/io/mapped_file.h"
#include "libopt/ort/cpu_kernel.h"
#include "libopt/ort/read.h"
#include "libopt/ort/validate_parts.h"

namespace onnxtool::ort_validation {
namespace {

void check_kernels(Faults& faults, const Graph& graph) {
  for (const Node& node : graph.nodes()) {
    if (Status s = require_cpu_kernel(node); !s.ok()) faults.must("graph", s.error().message);
    node.for_each_subgraph([&](const Graph& g) { check_kernels(faults, g); });
  }
}

}  // namespace

void check_types_and_kernels(Faults& faults, std::span<const std::byte> bytes) {
  struct Borrowed final : Storage {};  // the caller keeps the bytes
  const auto model = read_ort(bytes, std::make_shared<Borrowed>());
  if (!model.ok()) return faults.must("graph", model.error().message);
  check_kernels(faults, (*model)->graph());
  infer_strictly((*model)->graph(), [&](const Node&, const Error& error, bool certain) {
    if (certain)
      faults.must("graph", error.message);
    else
      faults.advise("graph", error.message);
  });
}

}  // namespace onnxtool::ort_validation
