#include "calib/exec/threads.h"

#include <sched.h>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace onnxtool {
namespace {

// cgroup v2: "QUOTA PERIOD" or "max PERIOD".
int quota_threads() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 1 << 20;
  return std::max(1, static_cast<int>(std::stod(quota) / period));
}

// Arenas live as long as the process: making one costs more than most operators.
tbb::task_arena& arena_of(int threads) {
  // More threads than cores are the user's choice; each arena keeps to its own number.
  static const tbb::global_control no_limit(tbb::global_control::max_allowed_parallelism, 1024);
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<tbb::task_arena>> arenas;
  const std::lock_guard lock(mutex);
  auto& arena = arenas[threads];
  if (!arena) arena = std::make_unique<tbb::task_arena>(threads);
  return *arena;
}

}  // namespace

int available_threads() {
  cpu_set_t set;
  const int affinity = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, std::min(affinity, quota_threads()));
}

void run_gathered(int threads, const std::function<void()>& body) {
  if (threads <= 1)
    body();
  else
    arena_of(threads).execute(body);
}

void run_pieces(int threads, int64_t count, int64_t grain, void (*body)(void*, int64_t, int64_t),
                void* closure) {
  if (count <= 0) return;
  if (threads <= 1 || count <= grain) {
    body(closure, 0, count);
    return;
  }
  arena_of(threads).execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<int64_t>(0, count, static_cast<size_t>(std::max<int64_t>(grain, 1))),
        [&](const tbb::blocked_range<int64_t>& r) { body(closure, r.begin(), r.end()); });
  });
}

}  // namespace onnxtool
