// Running the pieces that a kernel cut its work into.
#pragma once

#include <algorithm>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "calib/kernels/dnnl/engine.h"

namespace onnxtool {

/// Calls run(i, scratch) for i in [0, count), on up to node().threads() threads at a time, with
/// oneDNN held to the calling one. `scratch_bytes` is what one piece needs. The first failure is
/// returned.
template <class Run>
Status run_all_pieces(KernelContext& ctx, size_t count, size_t scratch_bytes, const Run& run) {
  scratch_bytes = (scratch_bytes + 63) / 64 * 64;
  // As many as can run at a time; pieces take turns in them.
  std::vector<std::byte*> free(
      std::min(count, static_cast<size_t>(std::max(ctx.node().threads(), 1))), nullptr);
  if (scratch_bytes && count) {
    ONNXTOOL_ASSIGN(void* block, ctx.scratch(scratch_bytes * free.size()));
    for (size_t i = 0; i < free.size(); ++i)
      free[i] = static_cast<std::byte*>(block) + i * scratch_bytes;
  }
  std::mutex mutex;
  std::optional<Error> failed;
  ctx.parallel(static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
    hold_to_one_thread();
    std::byte* scratch = nullptr;
    {
      const std::lock_guard lock(mutex);
      ONNXTOOL_CHECK(!free.empty());
      scratch = free.back();
      free.pop_back();
    }
    std::optional<Error> error;
    for (int64_t i = begin; i < end && !error; ++i) {
      try {
        run(static_cast<size_t>(i), scratch);
      } catch (const dnnl::error& e) {
        error = as_error(e);
      }
    }
    const std::lock_guard lock(mutex);
    free.push_back(scratch);
    if (error && !failed) failed = std::move(error);
  });
  if (failed) return *std::move(failed);
  return {};
}

/// Arguments of one execution.
class Arguments {
 public:
  Arguments& add(int argument, const dnnl::memory::desc& desc, const void* data) {
    map_.emplace(argument, dnnl::memory(desc, host_engine(), const_cast<void*>(data)));
    return *this;
  }
  Arguments& add_scratch(size_t size_bytes, void* data) {
    if (!size_bytes) return *this;
    const dnnl::memory::desc bytes({static_cast<dnnl::memory::dim>(size_bytes)},
                                   dnnl::memory::data_type::u8, dnnl::memory::format_tag::a);
    return add(DNNL_ARG_SCRATCHPAD, bytes, data);
  }
  void execute(const dnnl::primitive& primitive) const { primitive.execute(host_stream(), map_); }

 private:
  std::unordered_map<int, dnnl::memory> map_;
};

}  // namespace onnxtool
