#include "calib/kernels/dnnl/engine.h"

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
#include <omp.h>
#endif

#include <mutex>
#include <new>

#include "libopt/support/headroom.h"

namespace onnxtool {
namespace {

using dnnl::memory;

memory::format_tag plain_tag(size_t rank) {
  using tag = memory::format_tag;
  constexpr tag kTags[] = {tag::undef, tag::a,     tag::ab,    tag::abc,
                           tag::abcd,  tag::abcde, tag::abcdef};
  return kTags[rank];
}

memory::dims minus_one(memory::dims dilations) {
  for (auto& d : dilations) --d;
  return dilations;
}

void append_eltwise(dnnl::post_ops& ops, dnnl::algorithm algorithm, float alpha, float beta) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(algorithm, alpha, beta);
#else
  ops.append_eltwise(1.0f, algorithm, alpha, beta);
#endif
}

// Where it gets no memory, oneDNN reads through a null pointer.
void require_headroom() {
  if (!has_headroom(0)) throw std::bad_alloc();
}

// One at a time: v2's brgconv keeps the granularity of input channels, which is the element type's,
// in a variable that all threads share (brg_blocking_t::last_ic_block_size). Where one thread
// describes a float convolution and another one an int8 one, both may get the wrong weights.
// Generating the code, which is what takes time, needs no turns.
template <class Primitive, class Describe>
Described<Primitive> described(const Describe& describe) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  require_headroom();
  typename Primitive::primitive_desc desc = describe();
  std::string implementation = desc.impl_info_str();
  return {std::move(desc), std::move(implementation)};
}

}  // namespace

bool dnnl_usable() {
  return DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP ||
         DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_SEQ;
}

std::string_view dnnl_isa() {
  // Each level's bits include those of the levels below. What lies beyond AVX-512 Core adds integer
  // and 16-bit instructions, which change no float32 result.
  const auto has = [isa =
                        static_cast<unsigned>(dnnl::get_effective_cpu_isa())](dnnl::cpu_isa level) {
    return (isa & static_cast<unsigned>(level)) == static_cast<unsigned>(level);
  };
  if (has(dnnl::cpu_isa::avx512_core)) return "avx512_core";
  if (has(dnnl::cpu_isa::avx2)) return "avx2";
  if (has(dnnl::cpu_isa::avx)) return "avx";
  return has(dnnl::cpu_isa::sse41) ? "sse41" : "default";
}

const dnnl::engine& host_engine() {
  // Never destroyed: kernel states that outlive static destruction still refer to it.
  static const auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::stream& host_stream() {
  thread_local dnnl::stream stream(host_engine());
  return stream;
}

void hold_to_one_thread() {
#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
  if (omp_get_max_threads() != 1) omp_set_num_threads(1);
#endif
}

bool has_exact_int8() {
#if DNNL_VERSION_MAJOR >= 3
  return false;  // zero points are arguments of the execution there, which nothing here passes
#else
  constexpr auto kVnni = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_vnni);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & kVnni) == kVnni;
#endif
}

memory::desc plain_desc(const memory::dims& dims, DnnlType type) {
  return memory::desc(dims, type, plain_tag(dims.size()));
}

memory::desc channels_last_desc(const memory::dims& dims, DnnlType type) {
  using tag = memory::format_tag;
  return memory::desc(dims, type,
                      dims.size() == 3   ? tag::nwc
                      : dims.size() == 4 ? tag::nhwc
                                         : tag::ndhwc);
}

memory::desc any_desc(const memory::dims& dims, DnnlType type) {
  return memory::desc(dims, type, memory::format_tag::any);
}

dnnl::algorithm algorithm_of(PostOp::Kind kind) {
  using dnnl::algorithm;
  switch (kind) {
    case PostOp::Kind::kRelu:
    case PostOp::Kind::kLeakyRelu: return algorithm::eltwise_relu;
    case PostOp::Kind::kClip:
    case PostOp::Kind::kHardSigmoid: return algorithm::eltwise_clip;
    case PostOp::Kind::kSigmoid: return algorithm::eltwise_logistic;
    case PostOp::Kind::kTanh: return algorithm::eltwise_tanh;
    case PostOp::Kind::kSilu: return algorithm::eltwise_swish;
    case PostOp::Kind::kHardSwish: return algorithm::eltwise_hardswish;
    case PostOp::Kind::kAdd: break;
  }
  return algorithm::undef;
}

dnnl::primitive_attr make_attributes(std::span<const PostOp> post_ops, int32_t source_zero_point) {
  dnnl::post_ops ops;
  for (const PostOp& p : post_ops) {
    const auto append = [&](float alpha, float beta) {
      append_eltwise(ops, algorithm_of(p.kind), alpha, beta);
    };
    switch (p.kind) {
      case PostOp::Kind::kAdd: ops.append_sum(1.0f); break;
      case PostOp::Kind::kRelu:
      case PostOp::Kind::kSigmoid:
      case PostOp::Kind::kTanh: append(0, 0); break;
      case PostOp::Kind::kLeakyRelu: append(p.alpha, 0); break;
      case PostOp::Kind::kClip: append(p.alpha, p.beta); break;
      case PostOp::Kind::kSilu: append(1, 0); break;
      case PostOp::Kind::kHardSwish: append(1.0f / 6, 0.5f); break;
      case PostOp::Kind::kHardSigmoid:
        append_eltwise(ops, dnnl::algorithm::eltwise_linear, p.alpha, p.beta);
        append(0, 1);
        break;
    }
  }
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(ops);
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR < 3
  if (source_zero_point != 0) attributes.set_zero_points(DNNL_ARG_SRC, 0, {source_zero_point});
#else
  ONNXTOOL_CHECK(source_zero_point == 0);
#endif
  return attributes;
}

Described<dnnl::convolution_forward> describe_convolution(const ConvolutionDescs& d,
                                                          const dnnl::primitive_attr& attributes) {
  using C = dnnl::convolution_forward;
  return described<C>([&] {
#if DNNL_VERSION_MAJOR >= 3
    return C::primitive_desc(host_engine(), dnnl::prop_kind::forward_inference,
                             dnnl::algorithm::convolution_direct, d.source, d.weights, d.bias,
                             d.target, d.strides, minus_one(d.dilations), d.pads_begin, d.pads_end,
                             attributes);
#else
    return C::primitive_desc(
        {dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, d.source,
         d.weights, d.bias, d.target, d.strides, minus_one(d.dilations), d.pads_begin, d.pads_end},
        attributes, host_engine());
#endif
  });
}

Described<dnnl::matmul> describe_matmul(const memory::desc& a, const memory::desc& b,
                                        const memory::desc& y,
                                        const dnnl::primitive_attr& attributes) {
  return described<dnnl::matmul>([&] {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl::matmul::primitive_desc(host_engine(), a, b, y, attributes);
#else
    return dnnl::matmul::primitive_desc({a, b, y}, attributes, host_engine());
#endif
  });
}

void reorder(const memory::desc& from, const void* source, const memory::desc& to, void* target) {
  require_headroom();
  memory a(from, host_engine(), const_cast<void*>(source)), b(to, host_engine(), target);
  dnnl::reorder(a, b).execute(host_stream(), a, b);
}

Error as_error(const dnnl::error& e) {
  if (e.status == dnnl_out_of_memory)
    return kernel_error(ErrorCode::kOutOfMemory, "out of memory in oneDNN");
  return kernel_error(ErrorCode::kUnsupported, std::string("oneDNN: ") + e.what());
}

}  // namespace onnxtool
