#include "calib/kernels/cpu/reduction.h"

#include <utility>

namespace onnxtool {

Result<Reduction> plan_reduction(const KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const NodeView& node = ctx.node();
  ONNXTOOL_ASSIGN(const std::optional<Dims> given, integers_from(ctx, 1, "axes"));
  std::vector<bool> reduced(x.dims.size(), false);
  if (given && !given->empty()) {
    ONNXTOOL_ASSIGN(const Dims axes, resolve_axes(*given, x.rank()));
    for (const int64_t a : axes) reduced[static_cast<size_t>(a)] = true;
  } else if (node.attr_int("noop_with_empty_axes", 0) == 0) {
    reduced.assign(x.dims.size(), true);
  }
  Reduction r;
  const bool keep_dims = node.attr_int("keepdims", 1) != 0;
  struct Group {
    int64_t extent, stride;
    bool reduced;
  };
  std::vector<Group> groups;
  const Dims strides = contiguous_strides(x.dims);
  for (size_t i = 0; i < x.dims.size(); ++i) {
    if (!reduced[i])
      r.dims.push_back(x.dims[i]);
    else if (keep_dims)
      r.dims.push_back(1);
    if (x.dims[i] == 1 || x.count == 0) continue;
    if (reduced[i]) r.count *= x.dims[i];
    if (!groups.empty() && groups.back().reduced == reduced[i]) {
      groups.back().extent *= x.dims[i];
      groups.back().stride = strides[i];
    } else {
      groups.push_back({x.dims[i], strides[i], reduced[i]});
    }
  }
  // Outputs of a tensor without elements have nothing to combine; their number may be anything.
  if (x.count == 0) {
    r.count = 0;
    groups.push_back({product(r.dims), 0, false});
  }
  for (const Group& g : groups) {
    if (!g.reduced) continue;
    r.reduced.extents.push_back(g.extent);
    r.reduced.strides[0].push_back(g.stride);
  }
  if (!groups.empty() && groups.back().reduced) {
    r.run = groups.back().extent;
    groups.pop_back();
    // Every output is a row of its own.
    groups.push_back({1, 0, false});
  }
  if (groups.empty()) groups.push_back({1, 0, false});
  r.offsets = {0};
  for (const Group& g : groups) {
    if (!g.reduced) {
      r.kept.extents.push_back(g.extent);
      r.kept.strides[0].push_back(g.stride);
      continue;
    }
    Dims next;
    next.reserve(r.offsets.size() * static_cast<size_t>(g.extent));
    for (const int64_t base : r.offsets)
      for (int64_t i = 0; i < g.extent; ++i) next.push_back(base + i * g.stride);
    r.offsets = std::move(next);
  }
  return r;
}

}  // namespace onnxtool
