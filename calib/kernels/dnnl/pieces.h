// Running the pieces that a kernel cut its work into.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "calib/kernels/dnnl/engine.h"

namespace onnxtool {

/// Calls run(i, scratch), which returns a Status, for i in [0, count), on up to node().threads()
/// threads at a time, with oneDNN held to the calling one. `scratch_bytes` is what one piece needs.
/// The first failure is returned.
template <class Run>
Status run_all_pieces(KernelContext& ctx, size_t count, size_t scratch_bytes, const Run& run) {
  scratch_bytes = (scratch_bytes + 63) / 64 * 64;
  if (count == 1) {
    void* scratch = nullptr;
    if (scratch_bytes) {
      ONNXTOOL_ASSIGN(scratch, ctx.scratch(scratch_bytes));
    }
    hold_to_one_thread();
    return catching([&]() -> Status { return run(size_t{0}, static_cast<std::byte*>(scratch)); });
  }
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
      Status s = catching([&]() -> Status { return run(static_cast<size_t>(i), scratch); });
      if (!s.ok()) error = std::move(s).error();
    }
    const std::lock_guard lock(mutex);
    free.push_back(scratch);
    if (error && !failed) failed = std::move(error);
  });
  if (failed) return *std::move(failed);
  return {};
}

/// A primitive and the memory objects that it runs on. Making those takes longer than a small
/// primitive does, so a set of them is kept for each thread that runs it at a time.
class Executable {
 public:
  struct Argument {
    int index;                   // DNNL_ARG_...
    dnnl::memory::desc desc;     // of no bytes: there is no such argument
    const void* data = nullptr;  // the same for every run; nullptr: each run says
  };

  Executable() = default;
  Executable(const dnnl::primitive& code, std::vector<Argument> arguments)
      : shared_(std::make_unique<Shared>()) {
    shared_->code = code;
    shared_->arguments = std::move(arguments);
  }

  /// `data` follows the arguments; what an argument has, or that it is not there, wins.
  void execute(std::initializer_list<const void*> data) const {
    std::unique_ptr<Set> set = shared_->take();
    const auto* given = data.begin();
    for (size_t i = 0, used = 0; i < shared_->arguments.size(); ++i, ++given) {
      if (!shared_->present(i)) continue;
      dnnl::memory& memory = set->memories[used++];
      if (!shared_->arguments[i].data) memory.set_data_handle(const_cast<void*>(*given));
    }
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(shared_->code.get(), host_stream().get(),
                               static_cast<int>(set->arguments.size()), set->arguments.data()),
        "could not execute a primitive");
    const std::lock_guard lock(shared_->mutex);
    shared_->idle.push_back(std::move(set));
  }

 private:
  struct Set {
    std::vector<dnnl::memory> memories;
    std::vector<dnnl_exec_arg_t> arguments;
  };
  struct Shared {
    dnnl::primitive code;
    std::vector<Argument> arguments;
    std::mutex mutex;
    std::vector<std::unique_ptr<Set>> idle;

    bool present(size_t i) const { return arguments[i].desc.get_size() != 0; }
    std::unique_ptr<Set> take() {
      {
        const std::lock_guard lock(mutex);
        if (!idle.empty()) {
          std::unique_ptr<Set> set = std::move(idle.back());
          idle.pop_back();
          return set;
        }
      }
      auto set = std::make_unique<Set>();
      for (size_t i = 0; i < arguments.size(); ++i) {
        if (!present(i)) continue;
        void* data = arguments[i].data ? const_cast<void*>(arguments[i].data) : DNNL_MEMORY_NONE;
        set->memories.emplace_back(arguments[i].desc, host_engine(), data);
        set->arguments.push_back({arguments[i].index, set->memories.back().get()});
      }
      return set;
    }
  };
  std::unique_ptr<Shared> shared_;
};

/// A scratchpad of this many bytes as an argument's desc.
inline dnnl::memory::desc scratch_desc(size_t size_bytes) {
  if (!size_bytes) return {};
  return dnnl::memory::desc({static_cast<dnnl::memory::dim>(size_bytes)},
                            dnnl::memory::data_type::u8, dnnl::memory::format_tag::a);
}

}  // namespace onnxtool
