// Blocks whose lanes take steps together, with memory that they share and values of their own
// between the steps: what needs a barrier more often than for_each_block() (device.h) has one.
#pragma once

#include "calib/kernels/cuda/device.h"

namespace onnxtool::device {

#if defined(__CUDACC__)

template <class B>
__global__ void __launch_bounds__(kLanes) step_kernel(const B work) {
  __shared__ typename B::Shared shared;
  typename B::Lane own;
  const int64_t steps = work.steps();
  for (int64_t step = 0; step < steps; ++step) {
    work.take(shared, own, blockIdx.x, step, static_cast<int>(threadIdx.x));
    __syncthreads();
  }
}

/// Blocks of kLanes lanes with a B::Shared each and a B::Lane for every lane, neither of which is
/// initialized: for each of steps() steps every lane takes it before any takes the next one.
template <class B>
void for_each_block_in_steps(int64_t blocks, const B& work) {
  static_assert(sizeof(B) <= 3072 && sizeof(typename B::Shared) <= 48 << 10, "limits of a launch");
  if (blocks <= 0) return;
  step_kernel<<<static_cast<unsigned>(blocks), kLanes, 0, cudaStreamPerThread>>>(work);
  note_error(cudaGetLastError(), "launch");
}

#else

template <class B>
void for_each_block_in_steps(int64_t blocks, const B& work) {
  static_assert(sizeof(B) <= 3072 && sizeof(typename B::Shared) <= 48 << 10, "limits of a launch");
  launch([blocks, work] {
    const Access access;
    const auto shared = std::make_unique<typename B::Shared>();
    const auto lanes = std::make_unique<typename B::Lane[]>(kLanes);
    for (int64_t block = 0; block < blocks; ++block)
      for (int64_t step = 0; step < work.steps(); ++step)
        for (int lane = 0; lane < kLanes; ++lane)
          work.take(*shared, lanes[static_cast<size_t>(lane)], block, step, lane);
  });
}

#endif

}  // namespace onnxtool::device
