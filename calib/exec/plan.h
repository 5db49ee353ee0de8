// A graph compiled for running: plan once, run many.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calib/exec/kernel.h"
#include "libopt/ir/datum.h"
#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// What an observer puts in a watched value's place.
struct Replacement {
  ConstView value;  // of the same type, in host memory, in an order that observe() may be shown
  /// The value's own, aligned to 64 bytes: kernels may write there, and it is let go behind the
  /// value's last reader. nullptr: not to be written, valid until the run ends.
  std::shared_ptr<void> memory = nullptr;
};

/// Sees watched values at the moment they are produced, and keeps no reference to them.
class Observer {
 public:
  virtual ~Observer() = default;
  /// `watch` indexes PlanOptions::watched. The view holds exactly the logical elements; their order
  /// is that of view.layout, which is kPlain when needs_plain().
  virtual Status observe(int watch, const ConstView& value) = 0;
  /// Asked after observe() of a node's result: what takes its place for all that read it from then
  /// on; nullopt: it stays.
  virtual std::optional<Replacement> replacement(int /*watch*/) { return std::nullopt; }
  /// Whether element order matters. When false, channels-last values are shown as they are.
  virtual bool needs_plain() const { return false; }
  /// Asked before observe() where the value lies on a device, in plain order: true once it was
  /// observed there. What was asked of the device may still be under way until the run has ended.
  /// false: a copy in host memory is shown to observe().
  virtual Result<bool> observe_there(const DeviceApi& /*device*/, int /*watch*/,
                                     const ConstView& /*value*/) {
    return false;
  }
};

/// Far more than any model means to run; a loop that never ends on its own must end some time.
inline constexpr int64_t kMaxIterations = int64_t{1} << 24;

struct PlanOptions {
  /// Values of the main graph to show to the observer. Constants are never shown.
  std::vector<const Value*> watched;
  /// Preferred sets first. Must outlive the plan. The last one should be `cpu`.
  std::vector<const KernelSet*> kernel_sets;
  /// Threads inside one run.
  int threads = 1;
  /// Whether operators may be fused where nobody watches the value between.
  bool fuse = true;
  /// Whether operators between DequantizeLinear and QuantizeLinear run on integers; without, every
  /// node computes what it states, in floats.
  bool integers = true;
  /// A Loop or Scan that passes so many iterations is an error (kLimit).
  int64_t max_iterations = kMaxIterations;
};

class RunContext;

/// Immutable once compiled; shared by any number of contexts at a time. Keeps what it needs of the
/// graph alive (tensors), not the graph itself.
class Plan {
 public:
  struct Impl;
  /// The graph's values should carry types (infer_graph): kernels are chosen by them. Fails with
  /// kUnsupported where no set has a kernel for a node, naming all such operators.
  static Result<std::shared_ptr<const Plan>> compile(const Graph& graph,
                                                     const PlanOptions& options);
  ~Plan();

  /// The nodes of the graph that keep it from being compiled, each looked at alone: no kernel, or a
  /// subgraph or constant that cannot be prepared.
  static std::vector<const Node*> nodes_in_the_way(const Graph& graph, const PlanOptions& options);

  /// Inputs that a run must be given: the graph's inputs without a default, in order.
  const std::vector<std::string>& input_names() const;
  const std::vector<std::string>& output_names() const;
  /// `cpu: 12 nodes, dnnl: 53 nodes`: what runs where.
  std::string describe_kernels() const;
  const Impl& impl() const { return *impl_; }

 private:
  friend class PlanCompiler;
  Plan();
  std::unique_ptr<Impl> impl_;
};

/// When one step ran, and what it was. The names live as long as the plan.
struct StepTime {
  std::string operators;     // "Conv + Relu": with what was fused behind it
  std::string_view node;     // for messages
  std::string_view kernels;  // the kernel set; "executor" for control flow and containers
  int depth = 0;             // 1: in a subgraph; 2: in one of its subgraphs
  int64_t start_ns = 0, duration_ns = 0;  // since profiling was enabled; with the subgraphs' steps
};

/// The mutable half of running: buffers and values. One per thread.
class RunContext {
 public:
  struct Impl;
  explicit RunContext(std::shared_ptr<const Plan> plan);
  ~RunContext();
  RunContext(RunContext&&) noexcept;

  /// Runs once. `inputs` follow Plan::input_names(). Outputs are copies, in the order of
  /// Plan::output_names(); nullptr: not wanted. Errors name the node.
  Status run(std::span<const Tensor> inputs, std::vector<Tensor>* outputs,
             Observer* observer = nullptr);
  /// The same for models whose inputs or outputs may be sequences, maps or optionals; run() refuses
  /// outputs of that kind.
  Status run_data(std::span<const Datum> inputs, std::vector<Datum>* outputs,
                  Observer* observer = nullptr);
  /// From now on times each step, those of subgraphs included, up to a bound of some million.
  void enable_profile();
  /// In order of completion: what ran in a subgraph stands before the node that holds it.
  std::vector<StepTime> profile() const;
  /// Bytes that buffers hold of the system's memory; weights do not count.
  size_t memory_bytes() const;

  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace onnxtool
