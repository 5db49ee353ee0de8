// Running the pieces that a kernel cut its work into.
#pragma once

#include <mutex>
#include <optional>
#include <unordered_map>

#include "calib/kernels/dnnl/engine.h"

namespace onnxtool {

/// Calls run(i, scratch) for i in [0, count), on up to node().threads() threads at a time, with oneDNN
/// held to the calling one. `scratch_bytes` is what one piece needs. The first failure is returned.
template <class Run>
Status run_all_pieces(KernelContext& ctx, size_t count, size_t scratch_bytes, const Run& run) {
  scratch_bytes = (scratch_bytes + 63) / 64 * 64;
  // Pieces that run one after the other share their scratch memory.
  const bool together = ctx.node().threads() > 1 && count > 1;
  std::byte* scratch = nullptr;
  if (scratch_bytes) {
    ONNXTOOL_ASSIGN(void* block, ctx.scratch(scratch_bytes * (together ? count : 1)));
    scratch = static_cast<std::byte*>(block);
  }
  std::mutex mutex;
  std::optional<Error> failed;
  ctx.parallel(static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
    hold_to_one_thread();
    for (int64_t i = begin; i < end; ++i) {
      const auto piece = static_cast<size_t>(i);
      try {
        run(piece, together && scratch ? scratch + piece * scratch_bytes : scratch);
      } catch (const dnnl::error& e) {
        const std::lock_guard lock(mutex);
        if (!failed) failed = as_error(e);
      }
    }
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
    const dnnl::memory::desc bytes({static_cast<dnnl::memory::dim>(size_bytes)}, dnnl::memory::data_type::u8, dnnl::memory::format_tag::a);
    return add(DNNL_ARG_SCRATCHPAD, bytes, data);
  }
  void execute(const dnnl::primitive& primitive) const { primitive.execute(host_stream(), map_); }

 private:
  std::unordered_map<int, dnnl::memory> map_;
};

}  // namespace onnxtool
