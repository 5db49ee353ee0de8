// What this module needs of oneDNN, in one place: its v2 and v3 interfaces differ in how primitives
// are described, and nothing outside engine.cc knows which one is installed.
//
// oneDNN always runs on one thread here. Kernels cut their work into pieces, each a primitive of
// its own, and hand them to the executor's threads: no second thread pool competes with oneTBB for
// the cores, and a result cannot depend on how oneDNN would have divided it.
#pragma once

#include <dnnl.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "calib/exec/kernel.h"

namespace onnxtool {

/// False where oneDNN was built on a threading runtime that cannot be held to one thread per
/// caller.
bool dnnl_usable();
/// The widest instruction set that oneDNN dispatches to here, as range files record it.
std::string_view dnnl_isa();

/// One engine per process and one stream per thread.
const dnnl::engine& host_engine();
dnnl::stream& host_stream();
/// Makes oneDNN, called from this thread, use this thread only: both when primitives are made (they
/// are laid out for a number of threads) and when they run.
void hold_to_one_thread();

inline constexpr auto kDnnlFloat = dnnl::memory::data_type::f32;

using DnnlType = dnnl::memory::data_type;

/// Contiguous, in the order of the dims.
dnnl::memory::desc plain_desc(const dnnl::memory::dims& dims, DnnlType type = kDnnlFloat);
/// [N, spatial..., C] for the logical dims [N, C, spatial...].
dnnl::memory::desc channels_last_desc(const dnnl::memory::dims& dims, DnnlType type = kDnnlFloat);
/// The primitive chooses.
dnnl::memory::desc any_desc(const dnnl::memory::dims& dims, DnnlType type = kDnnlFloat);

/// Whether sums of products of 8-bit codes are exact here: instructions before VNNI add pairs in 16
/// bits, which saturate. Of signed sources and of those with a zero point, see sums_fit_float().
bool has_exact_int8();

/// What a function becomes, the last step of it where there are two; kAdd has none.
dnnl::algorithm algorithm_of(PostOp::Kind kind);

/// Scratchpads are the caller's. kAdd is a sum onto what the destination already holds. The zero
/// point is the integer source's: padding counts as it.
dnnl::primitive_attr make_attributes(std::span<const PostOp> post_ops,
                                     int32_t source_zero_point = 0);

struct ConvolutionDescs {
  dnnl::memory::desc source, weights, bias, target;  // bias: zero dims where there is none
  dnnl::memory::dims strides, dilations, pads_begin, pads_end;  // dilations as in ONNX: 1 is dense
};

/// What is known of a primitive before code is generated for it.
template <class Primitive>
struct Described {
  typename Primitive::primitive_desc desc;
  std::string implementation;
};

// These throw dnnl::error where oneDNN has no implementation.
Described<dnnl::convolution_forward> describe_convolution(const ConvolutionDescs& d,
                                                          const dnnl::primitive_attr& attributes);
Described<dnnl::matmul> describe_matmul(const dnnl::memory::desc& a, const dnnl::memory::desc& b,
                                        const dnnl::memory::desc& y,
                                        const dnnl::primitive_attr& attributes);

/// Copies between two forms of one tensor, on this thread.
void reorder(const dnnl::memory::desc& from, const void* source, const dnnl::memory::desc& to,
             void* target);

/// The kernel error for what oneDNN threw.
Error as_error(const dnnl::error& e);

/// Calls f, which returns a Status or Result; what oneDNN throws becomes an Error.
template <class F>
auto catching(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const dnnl::error& e) {
    return as_error(e);
  }
}

}  // namespace onnxtool
