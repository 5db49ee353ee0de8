// The one place where work is split over threads.
#pragma once

#include <cstdint>
#include <functional>

namespace onnxtool {

/// Threads that this process may use: affinity and cgroup quota, at least 1.
int available_threads();

/// Calls body() where run_pieces() with the same number of threads finds its workers already
/// gathered: entering and leaving for every operator costs some 30 us each.
void run_gathered(int threads, const std::function<void()>& body);

/// body(closure, begin, end) over [0, count) in pieces of at least `grain`, on up to `threads`
/// threads.
void run_pieces(int threads, int64_t count, int64_t grain, void (*body)(void*, int64_t, int64_t),
                void* closure);

}  // namespace onnxtool
