// Internals shared by the files of calib/exec: what a plan and a run context are made of.
#pragma once

#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "calib/exec/arena.h"
#include "calib/exec/layout.h"
#include "calib/exec/plan.h"

namespace onnxtool {

/// A constant in host memory, aligned for kernels: the tensor's own bytes where they are aligned
/// already, else a copy made when first asked for.
class AlignedTensor {
 public:
  explicit AlignedTensor(Tensor tensor) : tensor_(std::move(tensor)) {}
  /// Safe from any thread.
  const ConstView& view();
  /// Lets a copy go; the next view() makes it anew. While the plan is compiled only.
  void drop();
  const Tensor& tensor() const { return tensor_; }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  Tensor tensor_;
  std::mutex mutex_;
  std::atomic<bool> ready_ = false;
  std::unique_ptr<void, Free> copy_;
  ConstView view_;
};

/// A node's facts, decoded once: what kernels see of it (NodeView), independent of the graph's
/// life.
class CompiledNode final : public NodeView {
 public:
  CompiledNode(const Node& node, int threads);
  /// Another operator, which takes the node's attributes.
  void become(std::string_view op_type, std::string_view domain, int opset);
  /// For an operator that is not the node's.
  void set_attribute(std::string_view name,
                     const std::variant<float, int64_t, std::string_view>& value);
  /// "Conv + Add + Relu": its operator and what was fused behind it.
  std::string operators() const;

  std::string_view op_type() const override { return op_type_; }
  std::string_view domain() const override { return domain_; }
  int opset() const override { return opset_; }
  int num_inputs() const override { return static_cast<int>(inputs.size()); }
  int num_outputs() const override { return static_cast<int>(wanted.size()); }
  bool has_input(int i) const override {
    return i < num_inputs() && inputs[static_cast<size_t>(i)] >= 0;
  }
  bool wants_output(int i) const override {
    return i < num_outputs() && wanted[static_cast<size_t>(i)];
  }
  const ConstView* constant(int i) const override;
  void drop_constant(int i) const override;
  DataType input_dtype(int i) const override {
    return i < static_cast<int>(dtypes.size()) ? dtypes[static_cast<size_t>(i)]
                                               : DataType::kUndefined;
  }
  std::span<const int64_t> input_dims(int i) const override {
    if (i >= static_cast<int>(dims.size())) return {};
    return dims[static_cast<size_t>(i)];
  }
  bool has_attribute(std::string_view name) const override { return find(name) != nullptr; }
  int64_t attr_int(std::string_view name, int64_t fallback) const override {
    return get<int64_t>(name, fallback);
  }
  float attr_float(std::string_view name, float fallback) const override {
    return get<float>(name, fallback);
  }
  std::string_view attr_string(std::string_view name, std::string_view fallback) const override;
  std::span<const int64_t> attr_ints(std::string_view name) const override;
  std::span<const float> attr_floats(std::string_view name) const override;
  std::vector<std::string_view> attr_strings(std::string_view name) const override;
  const ConstView* attr_tensor(std::string_view name) const override;
  std::span<const PostOp> post_ops() const override { return fused; }
  int threads() const override { return threads_; }

  std::string description;                 // for errors
  std::vector<int> inputs;                 // slots; -1: absent
  std::vector<bool> wanted;                // outputs that somebody reads
  std::vector<DataType> dtypes;            // of inputs, where known
  std::vector<std::vector<int64_t>> dims;  // of inputs, where known; see NodeView::input_dims
  std::vector<std::shared_ptr<AlignedTensor>> constants;  // of inputs; null: not constant
  mutable std::vector<bool> dropped;
  std::vector<PostOp> fused;
  bool biased = false;  // input 2 of a MatMul is what an Add behind it added

 private:
  using Payload =
      std::variant<float, int64_t, std::string, std::vector<float>, std::vector<int64_t>,
                   std::vector<std::string>, std::shared_ptr<AlignedTensor>>;
  const Payload* find(std::string_view name) const;
  template <class T>
  T get(std::string_view name, T fallback) const {
    const Payload* p = find(name);
    const T* v = p ? std::get_if<T>(p) : nullptr;
    return v ? *v : fallback;
  }

  std::string op_type_, domain_;
  int opset_ = 0;
  int threads_ = 1;
  std::vector<std::pair<std::string, Payload>> attributes_;
};

/// A subgraph of a control-flow node, compiled, with the outer slots that it reads.
struct SubPlan {
  std::string attribute;
  std::shared_ptr<const Plan> plan;
  std::vector<int> captured;  // outer slots, bound to the plan's inputs after its own ones
  int own_inputs = 0;
  std::vector<ValueType> output_types;  // as far as known: what zero iterations give
};

struct Step;
/// Runs a node that no kernel can: control flow, and what takes or gives sequences, maps,
/// optionals.
using NativeOp = Status (*)(RunContext::Impl& run, const Step& step, size_t step_index);

/// One unit of work: a node, with what was fused behind it.
struct Step {
  std::unique_ptr<CompiledNode> node;
  const KernelInfo* kernel = nullptr;  // nullptr: run by the executor itself, by `native`
  NativeOp native = nullptr;
  const KernelSet* set = nullptr;
  std::unique_ptr<KernelState> state;
  std::vector<int> outputs;   // slots; -1: absent
  std::vector<int> releases;  // slots that nobody reads after this step
  std::vector<SubPlan> subplans;
};

/// A constant's copy where a device sees it; made once, when the plan is compiled.
struct DeviceConstant {
  DeviceConstant(int of, const DeviceApi* on) : slot(of), api(on) {}
  ~DeviceConstant() {
    if (data) api->release(data);
  }
  DeviceConstant(DeviceConstant&& o) noexcept
      : slot(o.slot), api(o.api), data(std::exchange(o.data, nullptr)) {}
  DeviceConstant& operator=(DeviceConstant&&) = delete;

  int slot;
  const DeviceApi* api;
  void* data = nullptr;
};

struct Plan::Impl {
  int num_slots = 0;
  std::vector<Step> steps;
  std::vector<std::pair<int, std::shared_ptr<AlignedTensor>>>
      constants;  // bound before each first run
  std::vector<int> input_slots, output_slots;
  std::vector<std::string> input_names, output_names;
  std::vector<int> watch_of_slot;      // -1: not watched
  std::vector<int> last_step_of_slot;  // -1: never read; num steps: graph output
  std::vector<const KernelSet*> kernel_sets;
  int threads = 1;
  int64_t max_iterations = kMaxIterations;
  const DeviceApi* device = nullptr;  // of the set whose steps run on one
  std::vector<DeviceConstant> device_constants;
  int uploads = 0, downloads = 0;  // values that a run copies, each at most once
};

/// Memory that values share. Reference counts are plain ints: a context belongs to one thread.
struct Buffer {
  int references = 1;
  void* data = nullptr;
  size_t size = 0;
  int ticket = -1;                    // of the arena; -1: not from it
  const DeviceApi* device = nullptr;  // allocated there
  std::vector<std::string> strings;   // string tensors
  std::shared_ptr<void> lent;         // whose memory it is, if it is neither's (Replacement)
};

/// One physical form of a value.
struct Representation {
  MemorySpace space = MemorySpace::kHost;
  Layout layout = Layout::kPlain;
  void* data = nullptr;
  Buffer* buffer =
      nullptr;  // nullptr: memory that belongs to somebody else (constant, graph input)
  const DeviceApi* device = nullptr;  // whose memory it is; nullptr: the host's
};

/// A value during a run: its logical facts and up to three physical forms of it.
struct SlotValue {
  DataType dtype = DataType::kUndefined;
  std::vector<int64_t> dims;
  int64_t count = 0;
  int num_forms = 0;                    // 0: absent
  std::array<Representation, 6> forms;  // host and device, plain and two layouts at most
  // A sequence, map or empty optional, which has no forms; or the tensor whose bytes the host form
  // is.
  std::unique_ptr<Datum> held;
};

/// The Add behind a MatMul with constant weights that adds a constant to each of its columns:
/// `bias` can then be the MatMul's third input. nullptr: there is none.
const Node* find_bias(const Node& node, const std::function<bool(const Value&)>& is_watched,
                      const Value*& bias);

/// What is fused behind `result` (nullptr: the node's first output): a chain of single-use,
/// unwatched results. Returns the nodes taken, in order, and appends to `post_ops` and
/// `extra_inputs` (kAdd operands).
std::vector<const Node*> find_post_ops(const Node& node, const Value* result,
                                       const KernelInfo& kernel, const NodeView& view,
                                       const std::function<bool(const Value&)>& is_watched,
                                       std::vector<PostOp>& post_ops,
                                       std::vector<const Value*>& extra_inputs);

/// Steps as they ran, those of subgraphs included.
struct Trace {
  struct Event {
    const Step* step;
    int depth;
    int64_t start_ns, duration_ns;
  };
  int64_t begin_ns = 0;
  std::vector<Event> events;
};

class Recordings;

struct RunContext::Impl {
  explicit Impl(std::shared_ptr<const Plan> p);
  ~Impl();

  const Plan::Impl& plan() const { return plan_->impl(); }
  Status run(std::span<const Datum> inputs, std::vector<Datum>* outputs, Observer* observer);
  Status run(std::span<const Tensor> inputs, std::vector<Datum>* outputs, Observer* observer);
  /// The steps; inputs are bound already. Used for subgraphs too.
  Status run_steps(Observer* observer);
  Status run_step(size_t index, Observer* observer);
  /// A watched value to the observer, where it lies or as a copy.
  Status show(int slot, int watch, Observer& observer);

  // Slots.
  void bind_external(int slot, DataType dtype, std::span<const int64_t> dims, const void* data);
  Status bind_tensor(int slot, const Tensor& tensor);
  /// Instead of what the slot holds.
  Status bind_replacement(int slot, Replacement replacement);
  /// Binds another context's value without copying; it must outlive this run.
  Status bind_from(int slot, Impl& other, int other_slot);
  /// Takes over a value of another context (a copy in host memory, plain layout).
  Status copy_from(int slot, Impl& other, int other_slot);
  Result<MutableView> allocate(int slot, DataType dtype, std::span<const int64_t> dims,
                               Layout layout, const KernelSet* set);
  /// The value in the wanted space, in a layout that `takes` (plain always does); converts if
  /// needed.
  Result<ConstView> view(int slot, const KernelSet* set, const std::function<bool(Layout)>& takes);
  template <class Bind>
  Status run_bound(size_t count, const Bind& bind, std::vector<Datum>* outputs, Observer* observer);
  template <class Bind>
  Status bind_and_run(size_t count, const Bind& bind, Observer* observer);
  Result<ConstView> host_view(int slot);
  /// An input of a step as its kernel wants it.
  Result<ConstView> input_view(const Step& step, int input);
  /// A copy of the value in host memory.
  Result<Tensor> take_tensor(int slot);
  /// Makes the value the slot's: a tensor's bytes are shared, not copied.
  Status hold(int slot, Datum value);
  /// The slot's value, shared where it is held, else a copy.
  Result<Datum> datum(int slot);
  /// As datum(), but leaves nothing in the slot when `step` is its last reader: a sequence that
  /// nobody else has can then be changed in place.
  Result<Datum> take_datum(int slot, size_t step);
  bool is_none(int slot) const {
    return slots_[static_cast<size_t>(slot)].held &&
           slots_[static_cast<size_t>(slot)].held->is_none();
  }
  /// Whether the slot has a value without a tensor's form.
  bool is_container(int slot) const {
    return slots_[static_cast<size_t>(slot)].held &&
           !slots_[static_cast<size_t>(slot)].held->is_tensor();
  }
  void release(int slot);
  void set_dims(SlotValue& value, std::span<const int64_t> dims);
  /// The slot becomes the elements of `from` from `first` on, under these dims: no copy.
  void share(int slot, int from, std::span<const int64_t> dims, int64_t first = 0);
  Buffer* idle_buffer();  // without memory
  Result<Buffer*> new_buffer(size_t size_bytes, const DeviceApi* device);
  void drop(Buffer* buffer);
  /// Releases all slots and lets the arena lay out the next run.
  void end_run();
  Impl& child(size_t step, size_t subplan);

  std::shared_ptr<const Plan> plan_;
  Arena arena_;
  std::vector<SlotValue> slots_;
  std::vector<ConstView> views_;  // inputs of the current step
  bool spare_used_ = false;       // whether the current step gave an output that nobody wants
  std::vector<std::unique_ptr<Buffer>> idle_buffers_;  // to be used again: steps make thousands
  std::vector<std::unique_ptr<Impl>> children_;
  std::map<std::pair<size_t, size_t>, size_t> child_index_;
  std::shared_ptr<Trace> trace_;  // null: nothing is timed; shared with children
  int depth_ = 0;                 // of subgraphs
  std::unique_ptr<Recordings> recordings_;  // null: nothing is to be recorded
  bool starts_over_ = false;                // since what was recorded is of no use
};

}  // namespace onnxtool
