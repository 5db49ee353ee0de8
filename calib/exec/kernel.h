// The contract between the executor and its kernels.
//
// Header-only and plain: a kernel set may live in a module (oneDNN, CUDA) that links neither libopt
// nor protobuf. A kernel sees tensor views and decoded attributes, never a node.
//
//   prepare()  once per plan and node: decodes attributes, checks what is static, prepacks weights
//   run()      once per sample: checks shapes, asks for its outputs, computes
//
// A prepared state is immutable after prepare(), so that samples run in parallel on one plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/dtype.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Where bytes live. Plans insert copies between spaces; kernels declare theirs (KernelSet::space).
enum class MemorySpace : uint8_t { kHost, kDevice };

/// Physical order of a tensor of logical shape [N, C, spatial...]; dims are always the logical
/// ones. kChannelsLast: [N, spatial..., C], no padding. kBlocked8/16: [N, ceil(C/b), spatial..., b]
/// with the last block padded by zeros.
enum class Layout : uint8_t { kPlain, kChannelsLast, kBlocked8, kBlocked16 };

struct ConstView {
  DataType dtype = DataType::kUndefined;
  std::span<const int64_t> dims;
  const void* data =
      nullptr;        // aligned for its elements (results: to 64 bytes); strings: std::string[]
  int64_t count = 0;  // product of dims
  MemorySpace space = MemorySpace::kHost;
  Layout layout = Layout::kPlain;

  int64_t rank() const { return static_cast<int64_t>(dims.size()); }
  template <class T>
  std::span<const T> as() const {
    return {static_cast<const T*>(data), static_cast<size_t>(count)};
  }
};

struct MutableView {
  DataType dtype = DataType::kUndefined;
  std::span<const int64_t> dims;
  void* data = nullptr;
  int64_t count = 0;
  MemorySpace space = MemorySpace::kHost;
  Layout layout = Layout::kPlain;

  template <class T>
  std::span<T> as() const {
    return {static_cast<T*>(data), static_cast<size_t>(count)};
  }
};

/// Inputs that fusion adds to a node start here, behind every operator's own: an optional input
/// that is absent stays absent.
inline constexpr int kFirstFusedInput = 8;

/// What a plan fused behind a convolution or matrix product, applied in this order to each element.
struct PostOp {
  enum class Kind : uint8_t {
    kAdd,
    kRelu,
    kLeakyRelu,
    kClip,
    kSigmoid,
    kTanh,
    kHardSwish,
    kHardSigmoid,
    kSilu
  };  // kSilu: x * sigmoid(x)
  Kind kind;
  float alpha = 0;  // kLeakyRelu slope; kClip lower bound; kHardSigmoid alpha
  float beta = 0;   // kClip upper bound; kHardSigmoid beta
  int input = -1;   // kAdd: index of the extra input, same shape as the output
};

/// Read-only view of a node: attributes by name, static facts about its inputs.
class NodeView {
 public:
  virtual ~NodeView() = default;
  virtual std::string_view op_type() const = 0;
  virtual std::string_view domain() const = 0;
  /// The opset version that the model declares for domain(): kernels serve a range of them.
  virtual int opset() const = 0;
  virtual int num_inputs() const = 0;  // trailing absent ones included
  virtual int num_outputs() const = 0;
  virtual bool has_input(int i) const = 0;
  virtual bool wants_output(int i) const = 0;
  /// The input's value when it is a constant in host memory, plain layout; nullptr otherwise.
  virtual const ConstView* constant(int i) const = 0;
  /// Says that prepare() has packed constant input i and run() never reads it: the plan then need
  /// not keep an aligned copy, and input(i) of the context must not be called.
  virtual void drop_constant(int i) const = 0;
  /// kUndefined where unknown before running.
  virtual DataType input_dtype(int i) const = 0;
  /// Extents as far as they are known before running, -1 elsewhere; empty: not even the rank is.
  virtual std::span<const int64_t> input_dims(int i) const = 0;

  virtual bool has_attribute(std::string_view name) const = 0;
  virtual int64_t attr_int(std::string_view name, int64_t fallback) const = 0;
  virtual float attr_float(std::string_view name, float fallback) const = 0;
  virtual std::string_view attr_string(std::string_view name, std::string_view fallback) const = 0;
  virtual std::span<const int64_t> attr_ints(std::string_view name) const = 0;  // empty if absent
  virtual std::span<const float> attr_floats(std::string_view name) const = 0;
  virtual std::vector<std::string_view> attr_strings(std::string_view name) const = 0;
  virtual const ConstView* attr_tensor(std::string_view name) const = 0;

  virtual std::span<const PostOp> post_ops() const = 0;
  /// Most threads that run() may use; 1 when samples run in parallel.
  virtual int threads() const = 0;
};

/// What prepare() leaves for run(). Kernels derive their own.
class KernelState {
 public:
  virtual ~KernelState() = default;
};

/// One execution of one node.
class KernelContext {
 public:
  virtual ~KernelContext() = default;
  virtual const NodeView& node() const = 0;
  /// nullptr when nothing was prepared.
  virtual const KernelState* state() const = 0;
  virtual bool has_input(int i) const = 0;
  virtual const ConstView& input(int i) const = 0;  // must be present
  virtual bool wants_output(int i) const = 0;
  /// Allocates output i (uninitialised). Fails when dims overflow or the memory limit is hit.
  virtual Result<MutableView> output(int i, DataType dtype, std::span<const int64_t> dims,
                                     Layout layout) = 0;
  /// As output(), but takes over input `in`'s buffer when this is its last use and sizes are equal.
  virtual Result<MutableView> output_in_place(int i, int in, DataType dtype,
                                              std::span<const int64_t> dims) = 0;
  /// Output i is input `in`'s bytes under other dims (equal count and type): no copy.
  virtual Status output_view(int i, int in, std::span<const int64_t> dims) = 0;
  /// Working memory of this run, aligned to 64 bytes, freed when run() returns.
  virtual Result<void*> scratch(size_t size_bytes) = 0;
  /// Runs body(begin, end) over [0, count) on up to node().threads() threads, in pieces of at least
  /// `grain` elements. Pieces must be independent: results may not depend on the split.
  virtual void parallel_for(int64_t count, int64_t grain, void (*body)(void*, int64_t, int64_t),
                            void* closure) = 0;

  Result<MutableView> output(int i, DataType dtype, std::span<const int64_t> dims) {
    return output(i, dtype, dims, Layout::kPlain);
  }
  template <class Body>
  void parallel(int64_t count, int64_t grain, Body&& body) {
    parallel_for(
        count, grain,
        [](void* c, int64_t b, int64_t e) {
          (*static_cast<std::remove_reference_t<Body>*>(c))(b, e);
        },
        &body);
  }
};

/// What a kernel of a device wants of an input: its elements where the device sees them; its
/// elements in host memory, since run() itself looks at them (shapes, axes, indices); or its type
/// and dims only, with no data at all. Kernels of the host are given host memory, whatever they
/// ask; kDims spares them copies too.
enum class InputUse : uint8_t { kData, kHost, kDims };

/// One operator implementation. Constants of this type are listed in a kernel set's kernels.def.
struct KernelInfo {
  std::string_view domain = "";  // "" is ai.onnx
  std::string_view op;
  int since = 1;                                // first opset served
  int until = std::numeric_limits<int>::max();  // last opset served
  /// Element types accepted by input 0 (or, with no input, by output 0); empty: any.
  std::initializer_list<DataType> types = {};
  /// nullptr: nothing to prepare. An error here is the node's error.
  Result<std::unique_ptr<KernelState>> (*prepare)(const NodeView&) = nullptr;
  Status (*run)(KernelContext&) = nullptr;
  /// Whether this kernel can serve this node at all (a module may decline a shape or an attribute);
  /// nullptr: always.
  bool (*accepts)(const NodeView&) = nullptr;
  /// Whether the post-op may be fused behind this node; nullptr: none may.
  bool (*fuses)(const NodeView&, const PostOp&) = nullptr;
  /// Layouts that input i may have besides kPlain; nullptr: plain only. Elementwise
  /// kernels take all of them and pass the layout on.
  bool (*takes_layout)(int input, Layout layout) = nullptr;
  /// nullptr: kData for every input.
  InputUse (*use)(const NodeView&, int input) = nullptr;
};

/// What a device counts of tensors for calibration, in its own memory. All zero: nothing yet.
/// Extrema are of the finite values, as keys that grow with the value; the lowest is kept as the
/// complement of its key, so that both only ever grow.
struct DeviceTally {
  uint64_t finite, zeros, nan, positive_infinity, negative_infinity;
  uint32_t highest, lowest_complement;

  static constexpr uint32_t key(uint32_t pattern) {
    return pattern >> 31 ? ~pattern : pattern | 0x80000000u;
  }
  static constexpr uint32_t pattern(uint32_t key) {
    return key >> 31 ? key & 0x7fffffffu : ~key;
  }
  /// Of a table of counts: one for each pattern of a float's upper 17 bits. Zeros are left out.
  static constexpr size_t kBuckets = size_t{1} << 17;
};

/// A memory space other than the host's. All functions may be called from any thread. What one
/// thread asks for happens in that order; host memory may be changed or freed as soon as a copy
/// from it has returned, and holds the result when a copy to it has.
struct DeviceApi {
  void* (*allocate)(size_t size_bytes);  // nullptr: out of memory
  void (*release)(void*);
  Status (*to_device)(void* device, const void* host, size_t size_bytes);
  Status (*to_host)(void* host, const void* device, size_t size_bytes);
  /// Waits for all that this thread asked for; the error of any of it.
  Status (*finish)();
  /// Adds the elements of a tensor of floats to `counts`, and to `table` (kBuckets counters, or
  /// nullptr), all three in the device's memory; any number of threads may add to one table at a
  /// time. Element types as Summary takes them. nullptr: this device cannot.
  Status (*count)(DeviceTally* counts, uint64_t* table, const ConstView& value) = nullptr;
};

/// A table of kernels, handed to plan compilation; earlier sets in a plan's list are preferred.
struct KernelSet {
  std::string_view name;  // "cpu", "dnnl", "cuda"
  MemorySpace space = MemorySpace::kHost;
  std::span<const KernelInfo* const> kernels;
  const DeviceApi* device = nullptr;  // present exactly when space is kDevice
  std::string_view isa;               // what the set dispatched to on this machine, for range files
};

/// Modules export `extern "C" const KernelSet* onnxtool_kernel_set(int abi)`; nullptr: other abi,
/// or this machine lacks what the module needs.
inline constexpr int kKernelAbi = 3;

inline Error kernel_error(ErrorCode code, std::string message) {
  return Error{code, std::move(message), {}};
}

}  // namespace onnxtool
