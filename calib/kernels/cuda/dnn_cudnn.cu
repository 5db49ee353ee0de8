// Convolutions and pools by cuDNN 9, where its library is found when the device is chosen.
//
// The module does not link it (it is larger than everything else together): the functions below are
// looked up in libcudnn.so.9, wherever the dynamic linker finds that. All tensors are NCHW, as the
// plan's are; what cuDNN would rather have (NHWC for tensor cores) it makes by itself.
//
// Algorithms are chosen by cuDNN's heuristic for the shapes, once a thread and shape: the first one
// that is deterministic, sums products of the operands themselves (no FFT, no Winograd, whose
// results are not exact where sums are) and works in kMostWorkspace. float32 is computed by FMA,
// with TF32 only where it is asked for.

#include "calib/kernels/cuda/dnn.h"

#if defined(ONNXTOOL_HAS_CUDNN)

#include <cudnn.h>
#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace onnxtool::device {
namespace {

constexpr size_t kMostWorkspace = size_t{256} << 20;

#define ONNXTOOL_CUDNN_FUNCTIONS(F)          \
  F(cudnnGetVersion)                         \
  F(cudnnGetCudartVersion)                   \
  F(cudnnGetErrorString)                     \
  F(cudnnCreate)                             \
  F(cudnnDestroy)                            \
  F(cudnnSetStream)                          \
  F(cudnnCreateTensorDescriptor)             \
  F(cudnnSetTensorNdDescriptor)              \
  F(cudnnDestroyTensorDescriptor)            \
  F(cudnnCreateFilterDescriptor)             \
  F(cudnnSetFilterNdDescriptor)              \
  F(cudnnDestroyFilterDescriptor)            \
  F(cudnnCreateConvolutionDescriptor)        \
  F(cudnnSetConvolutionNdDescriptor)         \
  F(cudnnSetConvolutionGroupCount)           \
  F(cudnnSetConvolutionMathType)             \
  F(cudnnDestroyConvolutionDescriptor)       \
  F(cudnnCreateActivationDescriptor)         \
  F(cudnnSetActivationDescriptor)            \
  F(cudnnDestroyActivationDescriptor)        \
  F(cudnnGetConvolutionForwardAlgorithm_v7)  \
  F(cudnnGetConvolutionForwardWorkspaceSize) \
  F(cudnnConvolutionForward)                 \
  F(cudnnConvolutionBiasActivationForward)   \
  F(cudnnCreatePoolingDescriptor)            \
  F(cudnnSetPoolingNdDescriptor)             \
  F(cudnnDestroyPoolingDescriptor)           \
  F(cudnnPoolingForward)

struct Library {
#define ONNXTOOL_MEMBER(name) decltype(&::name) name = nullptr;
  ONNXTOOL_CUDNN_FUNCTIONS(ONNXTOOL_MEMBER)
#undef ONNXTOOL_MEMBER
  std::string refusal;  // empty: it is used

  Library() { refusal = load(); }

 private:
  std::string load() {
    // For comparisons, and for a library that misbehaves.
    const char* wanted = std::getenv("ONNXTOOL_CUDNN");
    if (wanted && std::string(wanted) == "off") return "ONNXTOOL_CUDNN is off";
    const std::string file = "libcudnn.so." + std::to_string(CUDNN_MAJOR);
    void* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed
    if (!handle) return ::dlerror();
#define ONNXTOOL_LOOK_UP(name)                                     \
  name = reinterpret_cast<decltype(name)>(::dlsym(handle, #name)); \
  if (!name) return file + " has no " #name;
    ONNXTOOL_CUDNN_FUNCTIONS(ONNXTOOL_LOOK_UP)
#undef ONNXTOOL_LOOK_UP
    if (cudnnGetVersion() / 10000 != CUDNN_MAJOR)
      return file + " has version " + std::to_string(cudnnGetVersion());
    if (cudnnGetCudartVersion() / 1000 != CUDART_VERSION / 1000)
      return file + " is for CUDA " + std::to_string(cudnnGetCudartVersion() / 1000) +
             ", expected " + std::to_string(CUDART_VERSION / 1000);
    // Its parts are libraries of their own, loaded when it starts.
    cudnnHandle_t first = nullptr;
    if (const cudnnStatus_t s = cudnnCreate(&first); s != CUDNN_STATUS_SUCCESS)
      return file + " does not start: " + cudnnGetErrorString(s);
    (void)cudnnDestroy(first);
    return {};
  }
};

const Library& library() {
  static const auto* const loaded = new Library;
  return *loaded;
}

Error failed(cudnnStatus_t status, const char* what) {
  return Error{ErrorCode::kUnsupported,
               std::string("the device failed: cuDNN: ") + what + ": " +
                   library().cudnnGetErrorString(status),
               "use --device cpu"};
}
#define ONNXTOOL_CUDNN(call)                                               \
  do {                                                                     \
    if (const cudnnStatus_t s = library().call; s != CUDNN_STATUS_SUCCESS) \
      return failed(s, #call);                                             \
  } while (false)

// One a thread: a handle belongs to the device that was current when it was made.
struct Handle {
  cudnnHandle_t handle = nullptr;
  cudnnStatus_t made = library().cudnnCreate(&handle);
  Handle() {
    if (made == CUDNN_STATUS_SUCCESS) made = library().cudnnSetStream(handle, cudaStreamPerThread);
  }
  ~Handle() {  // at the end of the process the driver may be gone
    if (handle) (void)library().cudnnDestroy(handle);
  }
};
Result<cudnnHandle_t> handle_of_thread() {
  thread_local Handle handle;
  if (handle.made != CUDNN_STATUS_SUCCESS) return failed(handle.made, "starting");
  return handle.handle;
}

bool is_unsupported(cudnnStatus_t status) {
  return status / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000;
}

// Owners of cuDNN's descriptions.
#define ONNXTOOL_OWNER(Kind)                                             \
  struct Kind {                                                          \
    cudnn##Kind##Descriptor_t desc = nullptr;                            \
    cudnnStatus_t made = library().cudnnCreate##Kind##Descriptor(&desc); \
    Kind() = default;                                                    \
    Kind(const Kind&) = delete;                                          \
    Kind& operator=(const Kind&) = delete;                               \
    ~Kind() {                                                            \
      if (desc) (void)library().cudnnDestroy##Kind##Descriptor(desc);    \
    }                                                                    \
  }
ONNXTOOL_OWNER(Tensor);
ONNXTOOL_OWNER(Filter);
ONNXTOOL_OWNER(Convolution);
ONNXTOOL_OWNER(Activation);
ONNXTOOL_OWNER(Pooling);
#undef ONNXTOOL_OWNER

cudnnDataType_t cudnn_type(DataType type) {
  return type == DataType::kFloat16    ? CUDNN_DATA_HALF
         : type == DataType::kBfloat16 ? CUDNN_DATA_BFLOAT16
                                       : CUDNN_DATA_FLOAT;
}

// [first, second, extents...], dense. The one place that knows of layouts, with describe_weights().
using Extents = std::array<int, 5>;
Extents extents_of(const DnnWindow& w, int64_t first, int64_t second, const int (&spatial)[3]) {
  Extents e{static_cast<int>(first), static_cast<int>(second)};
  for (int a = 0; a < w.axes; ++a) e[static_cast<size_t>(2 + a)] = spatial[a];
  return e;
}
Status describe(const Tensor& t, DataType type, int rank, const Extents& extents) {
  if (t.made != CUDNN_STATUS_SUCCESS) return failed(t.made, "describing");
  Extents strides{};
  int step = 1;
  for (int a = rank - 1; a >= 0; --a) {
    strides[static_cast<size_t>(a)] = step;
    step *= extents[static_cast<size_t>(a)];
  }
  ONNXTOOL_CUDNN(
      cudnnSetTensorNdDescriptor(t.desc, cudnn_type(type), rank, extents.data(), strides.data()));
  return {};
}
Status describe_weights(const Filter& f, DataType type, int rank, const Extents& extents) {
  if (f.made != CUDNN_STATUS_SUCCESS) return failed(f.made, "describing");
  ONNXTOOL_CUDNN(cudnnSetFilterNdDescriptor(f.desc, cudnn_type(type), CUDNN_TENSOR_NCHW, rank,
                                            extents.data()));
  return {};
}

// Descriptions count elements in int.
bool is_small(int64_t batch, int64_t channels, const DnnWindow& w, const int (&spatial)[3]) {
  int64_t count = 1;
  for (const int64_t n : {batch, channels}) {
    if (n < 1 || n > INT32_MAX / count) return false;
    count *= n;
  }
  for (int a = 0; a < w.axes; ++a) {
    if (spatial[a] > INT32_MAX / count) return false;
    count *= spatial[a];
  }
  return true;
}

using Key = std::array<int64_t, 26>;
Key key_of(const DnnWindow& w, std::initializer_list<int64_t> more) {
  Key key{};
  size_t at = 0;
  key[at++] = w.axes;
  for (int a = 0; a < w.axes; ++a)
    for (const int v : {w.in[a], w.out[a], w.kernel[a], w.stride[a], w.dilation[a], w.pad[a]})
      key[at++] = v;
  at = 19;
  for (const int64_t v : more) key[at++] = v;
  return key;
}

// What a thread has seen of one kind, by shape: choosing costs the host tens of microseconds.
template <class Call, class Choose>
Result<Call*> call_for(const Key& key, const Choose& choose) {
  thread_local std::map<Key, Call> calls;
  constexpr size_t kMostCalls = 4096;
  if (const auto it = calls.find(key); it != calls.end()) return &it->second;
  if (calls.size() >= kMostCalls) calls.clear();
  Call& call = calls[key];
  if (Status s = choose(call); !s.ok()) {
    calls.erase(key);
    return std::move(s).error();
  }
  return &call;
}

struct ConvolutionCall {
  Tensor x, y, bias;
  Filter weights;
  Convolution convolution;
  Activation activation;
  cudnnConvolutionFwdAlgo_t algo{};
  size_t workspace = 0;
  bool exists = false;  // an algorithm
};

bool sums_products(cudnnConvolutionFwdAlgo_t algo) {
  return algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM ||
         algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM ||
         algo == CUDNN_CONVOLUTION_FWD_ALGO_GEMM || algo == CUDNN_CONVOLUTION_FWD_ALGO_DIRECT;
}

// Asks for a workspace only where the algorithm works for the shape with this kind of arithmetic.
bool try_algorithm(cudnnHandle_t handle, ConvolutionCall& call, cudnnConvolutionFwdAlgo_t algo,
                   cudnnMathType_t math) {
  const Library& l = library();
  size_t size = 0;
  if (l.cudnnSetConvolutionMathType(call.convolution.desc, math) != CUDNN_STATUS_SUCCESS ||
      l.cudnnGetConvolutionForwardWorkspaceSize(handle, call.x.desc, call.weights.desc,
                                                call.convolution.desc, call.y.desc, algo,
                                                &size) != CUDNN_STATUS_SUCCESS ||
      size > kMostWorkspace)
    return false;
  call.algo = algo, call.workspace = size, call.exists = true;
  return true;
}

Status choose_convolution(cudnnHandle_t handle, const DnnConvolution& c, ConvolutionCall& call) {
  const DnnWindow& w = c.window;
  const int rank = 2 + w.axes;
  ONNXTOOL_TRY(describe(call.x, c.type, rank, extents_of(w, c.batch, c.channels, w.in)));
  ONNXTOOL_TRY(describe(call.y, c.type, rank, extents_of(w, c.batch, c.out_channels, w.out)));
  const int ones[3] = {1, 1, 1};
  ONNXTOOL_TRY(describe(call.bias, c.type, rank, extents_of(w, 1, c.out_channels, ones)));
  ONNXTOOL_TRY(describe_weights(call.weights, c.type, rank,
                                extents_of(w, c.out_channels, c.channels / c.group, w.kernel)));
  if (call.convolution.made != CUDNN_STATUS_SUCCESS)
    return failed(call.convolution.made, "describing");
  ONNXTOOL_CUDNN(cudnnSetConvolutionNdDescriptor(call.convolution.desc, w.axes, w.pad, w.stride,
                                                 w.dilation, CUDNN_CROSS_CORRELATION,
                                                 CUDNN_DATA_FLOAT));
  ONNXTOOL_CUDNN(cudnnSetConvolutionGroupCount(call.convolution.desc, static_cast<int>(c.group)));
  if (call.activation.made != CUDNN_STATUS_SUCCESS)
    return failed(call.activation.made, "describing");
  ONNXTOOL_CUDNN(cudnnSetActivationDescriptor(
      call.activation.desc, c.relu ? CUDNN_ACTIVATION_RELU : CUDNN_ACTIVATION_IDENTITY,
      CUDNN_PROPAGATE_NAN, 0));

  const bool fma = c.type == DataType::kFloat && !c.tf32;
  const cudnnMathType_t math = fma ? CUDNN_FMA_MATH : CUDNN_DEFAULT_MATH;
  // A bias alone is added by this algorithm only.
  if (c.bias && !c.relu) {
    try_algorithm(handle, call, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, math);
    return {};
  }
  ONNXTOOL_CUDNN(cudnnSetConvolutionMathType(call.convolution.desc, math));
  cudnnConvolutionFwdAlgoPerf_t found[CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
  int count = 0;
  const cudnnStatus_t status = library().cudnnGetConvolutionForwardAlgorithm_v7(
      handle, call.x.desc, call.weights.desc, call.convolution.desc, call.y.desc,
      CUDNN_CONVOLUTION_FWD_ALGO_COUNT, &count, found);
  if (is_unsupported(status)) return {};
  if (status != CUDNN_STATUS_SUCCESS) return failed(status, "choosing an algorithm");
  for (int i = 0; i < count; ++i) {
    const cudnnConvolutionFwdAlgoPerf_t& f = found[i];
    if (f.status != CUDNN_STATUS_SUCCESS || f.determinism != CUDNN_DETERMINISTIC ||
        !sums_products(f.algo) || f.mathType == CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION ||
        (fma && f.mathType == CUDNN_TENSOR_OP_MATH))
      continue;
    if (try_algorithm(handle, call, f.algo, fma ? CUDNN_FMA_MATH : f.mathType)) return {};
  }
  return {};
}

struct PoolCall {
  Tensor x, y;
  Pooling pooling;
};

Status describe_pool(const DnnPool& p, PoolCall& call) {
  const DnnWindow& w = p.window;
  const int rank = 2 + w.axes;
  ONNXTOOL_TRY(describe(call.x, p.type, rank, extents_of(w, p.batch, p.channels, w.in)));
  ONNXTOOL_TRY(describe(call.y, p.type, rank, extents_of(w, p.batch, p.channels, w.out)));
  if (call.pooling.made != CUDNN_STATUS_SUCCESS) return failed(call.pooling.made, "describing");
  const cudnnPoolingMode_t mode = p.kind == DnnPool::Kind::kMax ? CUDNN_POOLING_MAX_DETERMINISTIC
                                  : p.kind == DnnPool::Kind::kAverage
                                      ? CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING
                                      : CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING;
  ONNXTOOL_CUDNN(cudnnSetPoolingNdDescriptor(call.pooling.desc, mode, CUDNN_PROPAGATE_NAN, w.axes,
                                             w.kernel, w.pad, w.stride));
  return {};
}

constexpr float kOne = 1, kZero = 0;

}  // namespace

const char* library_refusal() {
  return library().refusal.empty() ? nullptr : library().refusal.c_str();
}

std::string library_name() {
  const size_t v = library().cudnnGetVersion();
  return "cuDNN " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." +
         std::to_string(v % 100);
}

Result<bool> convolve(KernelContext& ctx, const DnnConvolution& c) {
  const DnnWindow& w = c.window;
  if (library_refusal() || !is_small(c.batch, c.channels, w, w.in) ||
      !is_small(c.batch, c.out_channels, w, w.out) ||
      !is_small(c.out_channels, c.channels / c.group, w, w.kernel))
    return false;
  ONNXTOOL_ASSIGN(const cudnnHandle_t handle, handle_of_thread());
  const Key key = key_of(w, {static_cast<int64_t>(c.type), c.tf32, c.batch, c.channels,
                             c.out_channels, c.group, (c.bias ? 1 : 0) + (c.relu ? 2 : 0)});
  ONNXTOOL_ASSIGN(ConvolutionCall * call,
                  call_for<ConvolutionCall>(key, [&](ConvolutionCall& fresh) {
                    return choose_convolution(handle, c, fresh);
                  }));
  if (!call->exists) return false;
  void* workspace = nullptr;
  if (call->workspace) {
    ONNXTOOL_ASSIGN(workspace, ctx.scratch(call->workspace));
  }
  cudnnStatus_t status;
  if (c.bias)
    status = library().cudnnConvolutionBiasActivationForward(
        handle, &kOne, call->x.desc, c.x, call->weights.desc, c.weights, call->convolution.desc,
        call->algo, workspace, call->workspace, c.added ? &kOne : &kZero, call->y.desc,
        c.added ? c.added : c.y, call->bias.desc, c.bias, call->activation.desc, call->y.desc, c.y);
  else
    status = library().cudnnConvolutionForward(
        handle, &kOne, call->x.desc, c.x, call->weights.desc, c.weights, call->convolution.desc,
        call->algo, workspace, call->workspace, &kZero, call->y.desc, c.y);
  if (status == CUDNN_STATUS_SUCCESS) return true;
  // Nothing was launched. What it cannot do for a shape it never can.
  if (!is_unsupported(status)) return failed(status, "convolution");
  call->exists = false;
  return false;
}

Result<bool> pool(KernelContext&, const DnnPool& p) {
  const DnnWindow& w = p.window;
  if (library_refusal() || !is_small(p.batch, p.channels, w, w.in) ||
      !is_small(p.batch, p.channels, w, w.out))
    return false;
  ONNXTOOL_ASSIGN(const cudnnHandle_t handle, handle_of_thread());
  const Key key =
      key_of(w, {static_cast<int64_t>(p.type), static_cast<int64_t>(p.kind), p.batch, p.channels});
  ONNXTOOL_ASSIGN(const PoolCall* call, call_for<PoolCall>(key, [&](PoolCall& fresh) {
                    return describe_pool(p, fresh);
                  }));
  const cudnnStatus_t status = library().cudnnPoolingForward(
      handle, call->pooling.desc, &kOne, call->x.desc, p.x, &kZero, call->y.desc, p.y);
  if (status == CUDNN_STATUS_SUCCESS) return true;
  if (!is_unsupported(status)) return failed(status, "pool");
  return false;
}

}  // namespace onnxtool::device

#else

namespace onnxtool::device {

const char* library_refusal() { return "it was not there when the module was built"; }
std::string library_name() { return {}; }
Result<bool> convolve(KernelContext&, const DnnConvolution&) { return false; }
Result<bool> pool(KernelContext&, const DnnPool&) { return false; }

}  // namespace onnxtool::device

#endif
