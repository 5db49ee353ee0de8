// What kernels of this directory are written in: work on independent indices, on lines that a block
// of threads reduces together, and on blocks that count in memory of their own.
//
// The same sources build twice. nvcc makes the module: work runs as grids on the calling thread's
// stream. A host compiler makes the module of the tests: the same functors run as loops, with the
// same partition into lanes and the same order of additions, over memory that the host cannot touch
// otherwise. So index arithmetic, element functions and orders of summation are tested where there
// is no device; what is left untested is named in docs/cuda.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "calib/exec/kernel.h"
#include "calib/kernels/cpu/host_device.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include <functional>
#endif

namespace onnxtool::device {

/// The device's memory and copies, for the plan.
const DeviceApi& api();

/// Remembers the first error of a launch; the next api().finish() gives it.
void note_error(int code, const char* what);

/// Copies and fills of device memory, in order with the launches of this thread.
void copy_bytes(void* to, const void* from, size_t size);
void fill_bytes(void* to, int value, size_t size);
/// Host to device, of parameters; the host's memory may go when it returns.
void upload(void* to, const void* from, size_t size);
/// Device to host; waits.
Status download(void* to, const void* from, size_t size);

/// Threads of a block, and lanes that reduce a line together: a power of two.
inline constexpr int kLanes = 256;

/// *p grows; integers only, so that the order does not matter.
ONNXTOOL_HD inline void atomic_add(uint32_t* p, uint32_t n) {
#if defined(__CUDA_ARCH__)
  atomicAdd(p, n);
#else
  __atomic_fetch_add(p, n, __ATOMIC_RELAXED);
#endif
}
ONNXTOOL_HD inline void atomic_add(uint64_t* p, uint64_t n) {
#if defined(__CUDA_ARCH__)
  atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(n));
#else
  __atomic_fetch_add(p, n, __ATOMIC_RELAXED);
#endif
}
ONNXTOOL_HD inline void atomic_max(uint32_t* p, uint32_t value) {
#if defined(__CUDA_ARCH__)
  atomicMax(p, value);
#else
  uint32_t seen = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (seen < value &&
         !__atomic_compare_exchange_n(p, &seen, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
#endif
}
/// *p while other threads may change it: many lanes read one word at once, which atomic operations
/// would take in turns.
ONNXTOOL_HD inline uint32_t atomic_read(const uint32_t* p) {
#if defined(__CUDA_ARCH__)
  uint32_t value;
  asm volatile("ld.relaxed.cta.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
  return value;
#else
  return __atomic_load_n(p, __ATOMIC_RELAXED);
#endif
}
/// Makes a zero *p `value`; what was there before.
ONNXTOOL_HD inline uint32_t atomic_claim(uint32_t* p, uint32_t value) {
#if defined(__CUDA_ARCH__)
  return atomicCAS(p, 0u, value);
#else
  uint32_t seen = 0;
  __atomic_compare_exchange_n(p, &seen, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return seen;
#endif
}

#if defined(__CUDACC__)

/// Multiprocessors of the current device.
int multiprocessors();

template <class F>
__global__ void __launch_bounds__(kLanes) index_kernel(const F f, const int64_t n) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kLanes;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kLanes + threadIdx.x; i < n; i += step) f(i);
}

template <class L>
__global__ void __launch_bounds__(kLanes) line_kernel(const L line, const int64_t lines) {
  __shared__ typename L::Part parts[kLanes];
  const int lane = static_cast<int>(threadIdx.x);
  for (int64_t at = blockIdx.x; at < lines; at += gridDim.x) {
    typename L::Part part = line.start();
    for (int64_t i = lane; i < line.length(); i += kLanes) line.add(part, at, i);
    parts[lane] = part;
    __syncthreads();
    for (int width = kLanes / 2; width > 0; width /= 2) {
      if (lane < width) line.merge(parts[lane], parts[lane + width]);
      __syncthreads();
    }
    if (lane == 0) line.finish(at, parts[0]);
    __syncthreads();  // the next line writes parts
  }
}

template <class B>
__global__ void __launch_bounds__(kLanes) block_kernel(const B work) {
  __shared__ typename B::Shared shared;
  const int lane = static_cast<int>(threadIdx.x);
  work.start(shared, lane);
  __syncthreads();
  work.add(shared, blockIdx.x, lane);
  __syncthreads();
  work.finish(shared, lane);
}

/// f(i) for every i in [0, n), in any order.
template <class F>
void for_each_index(int64_t n, const F& f) {
  static_assert(sizeof(F) <= 3072, "launch parameters are limited");
  if (n <= 0) return;
  const int64_t blocks = (n + kLanes - 1) / kLanes, most = int64_t{32} * multiprocessors();
  index_kernel<<<static_cast<unsigned>(blocks < most ? blocks : most), kLanes, 0,
                 cudaStreamPerThread>>>(f, n);
  note_error(cudaGetLastError(), "launch");
}

/// One block a line: lane t adds elements t, t + kLanes, ... to a part of its own, then parts are
/// merged pair by pair at falling distance, so a result depends on the length alone.
template <class L>
void for_each_line(int64_t lines, const L& line) {
  static_assert(sizeof(L) <= 3072, "launch parameters are limited");
  if (lines <= 0) return;
  const int64_t most = int64_t{16} * multiprocessors();
  line_kernel<<<static_cast<unsigned>(lines < most ? lines : most), kLanes, 0,
                cudaStreamPerThread>>>(line, lines);
  note_error(cudaGetLastError(), "launch");
}

/// Blocks of kLanes lanes with a B::Shared each, which is not initialized: every lane starts, then
/// every lane adds, then every lane finishes.
template <class B>
void for_each_block(int64_t blocks, const B& work) {
  static_assert(sizeof(B) <= 3072 && sizeof(typename B::Shared) <= 48 << 10, "limits of a launch");
  if (blocks <= 0) return;
  block_kernel<<<static_cast<unsigned>(blocks), kLanes, 0, cudaStreamPerThread>>>(work);
  note_error(cudaGetLastError(), "launch");
}

#else

/// Opens device memory to the host for as long as it lives.
class Access {
 public:
  Access();
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;
};

/// Runs the launch, or leaves it to the replays of what this thread records.
void launch(std::function<void()> work);

template <class F>
void for_each_index(int64_t n, const F& f) {
  launch([n, f] {
    const Access access;
    for (int64_t i = 0; i < n; ++i) f(i);
  });
}

template <class L>
void for_each_line(int64_t lines, const L& line) {
  launch([lines, line] {
    const Access access;
    typename L::Part parts[kLanes];
    for (int64_t at = 0; at < lines; ++at) {
      for (int lane = 0; lane < kLanes; ++lane) {
        parts[lane] = line.start();
        for (int64_t i = lane; i < line.length(); i += kLanes) line.add(parts[lane], at, i);
      }
      for (int width = kLanes / 2; width > 0; width /= 2)
        for (int lane = 0; lane < width; ++lane) line.merge(parts[lane], parts[lane + width]);
      line.finish(at, parts[0]);
    }
  });
}

template <class B>
void for_each_block(int64_t blocks, const B& work) {
  launch([blocks, work] {
    const Access access;
    for (int64_t block = 0; block < blocks; ++block) {
      typename B::Shared shared;
      for (int lane = 0; lane < kLanes; ++lane) work.start(shared, lane);
      for (int lane = 0; lane < kLanes; ++lane) work.add(shared, block, lane);
      for (int lane = 0; lane < kLanes; ++lane) work.finish(shared, lane);
    }
  });
}

#endif

/// Short lines, and lines whose elements lie apart where neighbouring lines lie side by side: one
/// thread a line, its elements in order.
template <class L>
struct SerialLine {
  L line;
  ONNXTOOL_HD void operator()(int64_t at) const {
    typename L::Part part = line.start();
    for (int64_t i = 0; i < line.length(); ++i) line.add(part, at, i);
    line.finish(at, part);
  }
};

/// By the shape alone, so that results do not depend on anything else. `strided`: neighbouring
/// elements of a line do not lie side by side.
template <class L>
void reduce_lines(int64_t lines, const L& line, bool strided) {
  constexpr int64_t kShort = 32, kManyLines = 4096;
  if (line.length() <= kShort || (strided && lines >= kManyLines))
    for_each_index(lines, SerialLine<L>{line});
  else
    for_each_line(lines, line);
}

}  // namespace onnxtool::device
