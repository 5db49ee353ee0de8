// Runs the steps of a plan, one after the other; what a kernel sees of one execution.

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

#include "calib/exec/parts.h"
#include "calib/exec/plan_impl.h"
#include "calib/exec/recordings.h"
#include "calib/exec/threads.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

constexpr size_t kMostEvents = size_t{1} << 22;  // 128 MB

// A part of a value keeps all of its memory, which should be as good as free or mostly the part's.
constexpr uint64_t kSmallPart = 64 * 1024;
constexpr int64_t kLeastShare = 4;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// What a kernel sees of one execution.
class StepContext final : public KernelContext {
 public:
  StepContext(RunContext::Impl& run, const Step& step, size_t index)
      : run_(run), step_(step), index_(index) {}
  ~StepContext() override {
    for (Buffer* b : scratch_) run_.drop(b);
  }

  const NodeView& node() const override { return *step_.node; }
  const KernelState* state() const override { return step_.state.get(); }
  bool has_input(int i) const override {
    return i < static_cast<int>(run_.views_.size()) &&
           run_.views_[static_cast<size_t>(i)].dtype != DataType::kUndefined;
  }
  const ConstView& input(int i) const override {
    ONNXTOOL_CHECK(has_input(i));
    return run_.views_[static_cast<size_t>(i)];
  }
  bool wants_output(int i) const override { return slot_of(i) >= 0; }

  Result<MutableView> output(int i, DataType dtype, std::span<const int64_t> dims,
                             Layout layout) override {
    return run_.allocate(slot_or_spare(i), dtype, dims, layout, step_.set);
  }

  Result<MutableView> output_in_place(int i, int in, DataType dtype,
                                      std::span<const int64_t> dims) override {
    const ConstView& view = input(in);
    const int in_slot = step_.node->inputs[static_cast<size_t>(in)], out_slot = slot_of(i);
    SlotValue& value = run_.slots_[static_cast<size_t>(in_slot)];
    const auto count = checked_product(dims);
    // Elementwise kernels give their output the input's layout, whichever buffer it gets.
    const auto needed = layout_size_bytes(dtype, dims, view.layout);
    const bool last_use =
        run_.plan().last_step_of_slot[static_cast<size_t>(in_slot)] == static_cast<int>(index_);
    if (out_slot >= 0 && last_use && count && needed)
      for (int f = 0; f < value.num_forms; ++f) {
        Representation& form = value.forms[static_cast<size_t>(f)];
        if (form.data != view.data || !form.buffer || form.buffer->references != 1 ||
            form.buffer->size != *needed)
          continue;
        ++form.buffer->references;
        run_.release(out_slot);
        SlotValue& out = run_.slots_[static_cast<size_t>(out_slot)];
        out.dtype = dtype;
        run_.set_dims(out, dims);
        out.count = *count;
        out.num_forms = 1;
        out.forms[0] = form;
        return MutableView{dtype, out.dims, form.data, out.count, form.space, form.layout};
      }
    return output(i, dtype, dims, view.layout);
  }

  Status output_view(int i, int in, std::span<const int64_t> dims) override {
    if (slot_of(i) < 0) return {};
    const auto count = checked_product(dims);
    if (!count || *count != input(in).count)
      return kernel_error(ErrorCode::kMismatch, "cannot view " + std::to_string(input(in).count) +
                                                    " elements as other dims");
    run_.share(slot_of(i), step_.node->inputs[static_cast<size_t>(in)], dims);
    return {};
  }

  bool share_part(int i, int in, std::span<const int64_t> dims, int64_t first) {
    const ConstView& from = input(in);
    const auto count = checked_product(dims);
    ONNXTOOL_CHECK(count && first >= 0 && *count <= from.count - first);
    const bool fits = from.layout == Layout::kPlain && bits_of(from.dtype) % 8 == 0;
    const uint64_t held = size_bytes_of(from.dtype, static_cast<uint64_t>(from.count));
    if (!fits || (held > kSmallPart && *count < from.count / kLeastShare)) return false;
    if (slot_of(i) >= 0)
      run_.share(slot_of(i), step_.node->inputs[static_cast<size_t>(in)], dims, first);
    return true;
  }

  Result<void*> scratch(size_t size_bytes) override {
    ONNXTOOL_ASSIGN(Buffer * b, run_.new_buffer(size_bytes, step_.set->device));
    scratch_.push_back(b);
    return b->data;
  }

  void parallel_for(int64_t count, int64_t grain, void (*body)(void*, int64_t, int64_t),
                    void* closure) override {
    run_pieces(step_.node->threads(), count, grain, body, closure);
  }

 private:
  int slot_of(int i) const {
    return i < static_cast<int>(step_.outputs.size()) ? step_.outputs[static_cast<size_t>(i)] : -1;
  }
  // A kernel may compute outputs that nobody wants: they go to spare slots past the plan's own.
  int slot_or_spare(int i) const {
    if (slot_of(i) >= 0) return slot_of(i);
    const int spare = run_.plan().num_slots + i;
    ONNXTOOL_CHECK(static_cast<size_t>(spare) < run_.slots_.size());
    run_.spare_used_ = true;
    return spare;
  }

  RunContext::Impl& run_;
  const Step& step_;
  size_t index_;
  std::vector<Buffer*> scratch_;
};

// One for each output that a kernel may compute although the node does not list it.
size_t spare_slots(const Plan::Impl& plan) {
  size_t most = 16;
  for (const Step& s : plan.steps) most = std::max(most, s.outputs.size());
  return most;
}

}  // namespace

bool share_part(KernelContext& ctx, int output, int input, std::span<const int64_t> dims,
                int64_t first) {
  auto* step = dynamic_cast<StepContext*>(&ctx);
  return step && step->share_part(output, input, dims, first);
}

RunContext::Impl::Impl(std::shared_ptr<const Plan> p)
    : plan_(std::move(p)),
      slots_(static_cast<size_t>(plan().num_slots) + spare_slots(plan())),
      recordings_(Recordings::make(plan())) {}

RunContext::Impl::~Impl() { end_run(); }

void RunContext::Impl::end_run() {
  for (int s = 0; s < static_cast<int>(slots_.size()); ++s) release(s);
  arena_.finish_run();
}

RunContext::Impl& RunContext::Impl::child(size_t step, size_t subplan) {
  const auto [it, fresh] = child_index_.emplace(std::pair(step, subplan), children_.size());
  if (fresh) children_.push_back(std::make_unique<Impl>(plan().steps[step].subplans[subplan].plan));
  Impl& found = *children_[it->second];
  found.trace_ = trace_;
  found.depth_ = depth_ + 1;
  return found;
}

Status RunContext::Impl::run_step(size_t index, Observer* observer) {
  const Step& step = plan().steps[index];
  if (!step.kernel) {
    ONNXTOOL_TRY(step.native(*this, step, index));
  } else {
    const std::vector<int>& inputs = step.node->inputs;
    views_.resize(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i] < 0 || step.node->dropped[i]) {
        views_[i] = ConstView();
        continue;
      }
      // Nearly all values have one form, in the order that all kernels take.
      const SlotValue& v = slots_[static_cast<size_t>(inputs[i])];
      if (const Representation& r = v.forms[0];
          v.num_forms && r.layout == Layout::kPlain && r.space == MemorySpace::kHost &&
          !step.set->device && (!v.held || v.held->is_tensor())) {
        views_[i] = ConstView{v.dtype, v.dims, r.data, v.count, r.space, r.layout};
        continue;
      }
      auto shown = input_view(step, static_cast<int>(i));
      if (!shown.ok()) return std::move(shown).error().at(step.node->description);
      views_[i] = *shown;
    }
    // The kernel was chosen by the declared type, which may be unknown or not what arrived.
    const auto& types = step.kernel->types;
    if (!views_.empty() && views_[0].dtype != DataType::kUndefined && types.size() > 0 &&
        std::find(types.begin(), types.end(), views_[0].dtype) == types.end())
      return kernel_error(ErrorCode::kUnsupported, "element type " +
                                                       std::string(name(views_[0].dtype)) +
                                                       " of input 0 is not supported")
          .at(step.node->description);
    StepContext context(*this, step, index);
    if (Status s = step.kernel->run(context); !s.ok())
      return std::move(s).error().at(step.node->description);
  }
  for (int s : step.outputs) {
    if (s < 0) continue;
    const int watch = plan().watch_of_slot[static_cast<size_t>(s)];
    if (watch >= 0 && observer && !is_container(s)) ONNXTOOL_TRY(show(s, watch, *observer));
  }
  for (int s : step.releases) release(s);
  if (spare_used_)
    for (size_t spare = static_cast<size_t>(plan().num_slots); spare < slots_.size(); ++spare)
      release(static_cast<int>(spare));
  spare_used_ = false;
  return {};
}

Status RunContext::Impl::show(int slot, int watch, Observer& observer) {
  const SlotValue& v = slots_[static_cast<size_t>(slot)];
  for (int f = 0; f < v.num_forms; ++f) {
    const Representation& r = v.forms[static_cast<size_t>(f)];
    if (!r.device || r.layout != Layout::kPlain) continue;
    ONNXTOOL_ASSIGN(const bool taken,
                    observer.observe_there(*r.device, watch,
                                           {v.dtype, v.dims, r.data, v.count, r.space, r.layout}));
    if (taken) return {};
    break;
  }
  const bool plain = observer.needs_plain();
  const auto takes = [&](Layout l) {
    return l == Layout::kPlain || (!plain && l == Layout::kChannelsLast);
  };
  ONNXTOOL_ASSIGN(ConstView shown, view(slot, nullptr, takes));
  ONNXTOOL_TRY(observer.observe(watch, shown));
  if (auto other = observer.replacement(watch))
    ONNXTOOL_TRY(bind_replacement(slot, *std::move(other)));
  return {};
}

Status RunContext::Impl::run_steps(Observer* observer) {
  for (const auto& [slot, tensor] : plan().constants) {
    // What every reader has prepacked is not read again, so never aligned.
    if (plan().last_step_of_slot[static_cast<size_t>(slot)] < 0) continue;
    const ConstView& v = tensor->view();
    bind_external(slot, v.dtype, v.dims, v.data);
  }
  for (const DeviceConstant& c : plan().device_constants) {
    SlotValue& v = slots_[static_cast<size_t>(c.slot)];
    v.forms[static_cast<size_t>(v.num_forms++)] = {MemorySpace::kDevice, Layout::kPlain, c.data,
                                                   nullptr, c.api};
  }
  // Observers see values between the steps, a profile each step's time, and subgraphs run on their
  // parent's values.
  const bool records = recordings_ && !observer && !trace_ && depth_ == 0;
  for (size_t i = 0; i < plan().steps.size(); ++i) {
    if (size_t end = 0; records) {
      ONNXTOOL_ASSIGN(const Recordings::Outcome ran, recordings_->run(*this, i, end));
      starts_over_ = ran == Recordings::Outcome::kStartOver;
      if (starts_over_) return {};
      if (ran == Recordings::Outcome::kRan) {
        i = end - 1;
        continue;
      }
    }
    const int64_t start = trace_ ? now_ns() : 0;
    ONNXTOOL_TRY(run_step(i, observer));
    // A device works on by itself: what a step takes shows only where it is waited for.
    if (const KernelSet* set = plan().steps[i].set; trace_ && set && set->device)
      ONNXTOOL_TRY(set->device->finish());
    if (trace_ && trace_->events.size() < kMostEvents)
      trace_->events.push_back(
          {&plan().steps[i], depth_, start - trace_->begin_ns, now_ns() - start});
  }
  return {};
}

Status RunContext::Impl::run(std::span<const Datum> inputs, std::vector<Datum>* outputs,
                             Observer* observer) {
  const auto bind = [&](int slot, size_t i) {
    return inputs[i].is_tensor() ? bind_tensor(slot, inputs[i].tensor()) : hold(slot, inputs[i]);
  };
  return run_bound(inputs.size(), bind, outputs, observer);
}

Status RunContext::Impl::run(std::span<const Tensor> inputs, std::vector<Datum>* outputs,
                             Observer* observer) {
  return run_bound(
      inputs.size(), [&](int slot, size_t i) { return bind_tensor(slot, inputs[i]); }, outputs,
      observer);
}

template <class Bind>
Status RunContext::Impl::bind_and_run(size_t count, const Bind& bind, Observer* observer) {
  const Plan::Impl& p = plan();
  for (size_t i = 0; i < count; ++i) {
    const int slot = p.input_slots[i];
    ONNXTOOL_TRY(bind(slot, i));
    const int watch = p.watch_of_slot[static_cast<size_t>(slot)];
    if (watch < 0 || !observer || is_container(slot)) continue;
    // Steps on the device will want it there anyway.
    if (p.device && p.device->count && p.uploads > 0 && p.kernel_sets.front()->device &&
        is_float(slots_[static_cast<size_t>(slot)].dtype)) {
      ONNXTOOL_ASSIGN(const ConstView there, view(slot, p.kernel_sets.front(),
                                                  [](Layout l) { return l == Layout::kPlain; }));
      ONNXTOOL_ASSIGN(const bool taken, observer->observe_there(*p.device, watch, there));
      if (taken) continue;
    }
    ONNXTOOL_ASSIGN(ConstView shown, host_view(slot));
    ONNXTOOL_TRY(observer->observe(watch, shown));
  }
  Status ran;
  run_gathered(p.threads, [&] {
    ran = run_steps(observer);
    if (!p.device) return;
    // On the thread that asked for the work, which need not be this function's; after an error
    // too, as buffers go back next.
    Status finished = p.device->finish();
    if (ran.ok()) ran = std::move(finished);
  });
  return ran;
}

template <class Bind>
Status RunContext::Impl::run_bound(size_t count, const Bind& bind, std::vector<Datum>* outputs,
                                   Observer* observer) {
  const Plan::Impl& p = plan();
  if (count != p.input_slots.size())
    return Error{ErrorCode::kMismatch,
                 "the model takes " + std::to_string(p.input_slots.size()) + " inputs, " +
                     std::to_string(count) + " were given",
                 {}};
  struct Ended {
    Impl& run;
    ~Ended() { run.end_run(); }
  } ended{*this};
  try {
    ONNXTOOL_TRY(bind_and_run(count, bind, observer));
    // Once for each stretch of steps at most.
    while (std::exchange(starts_over_, false)) {
      end_run();
      ONNXTOOL_TRY(bind_and_run(count, bind, observer));
    }
    if (outputs) {
      outputs->clear();
      for (int s : p.output_slots) {
        ONNXTOOL_ASSIGN(Datum d, datum(s));
        outputs->push_back(std::move(d));
      }
    }
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::kOutOfMemory, "out of memory while running the model",
                 "use fewer threads or smaller samples"};
  }
  return {};
}

RunContext::RunContext(std::shared_ptr<const Plan> plan)
    : impl_(std::make_unique<Impl>(std::move(plan))) {}
RunContext::~RunContext() = default;
RunContext::RunContext(RunContext&&) noexcept = default;

Status RunContext::run_data(std::span<const Datum> inputs, std::vector<Datum>* outputs,
                            Observer* observer) {
  return impl_->run(inputs, outputs, observer);
}

Status RunContext::run(std::span<const Tensor> inputs, std::vector<Tensor>* outputs,
                       Observer* observer) {
  std::vector<Datum> made;
  ONNXTOOL_TRY(impl_->run(inputs, outputs ? &made : nullptr, observer));
  if (!outputs) return {};
  outputs->clear();
  for (size_t i = 0; i < made.size(); ++i) {
    if (!made[i].is_tensor())
      return Error{ErrorCode::kUnsupported,
                   "output '" + impl_->plan().output_names[i] + "' is a " + made[i].kind_name() +
                       ", expected a tensor",
                   {}};
    outputs->push_back(made[i].tensor());
  }
  return {};
}

void RunContext::enable_profile() {
  impl_->trace_ = std::make_shared<Trace>();
  impl_->trace_->begin_ns = now_ns();
}

std::vector<StepTime> RunContext::profile() const {
  std::vector<StepTime> out;
  if (!impl_->trace_) return out;
  for (const Trace::Event& e : impl_->trace_->events)
    out.push_back({e.step->node->operators(), e.step->node->description,
                   e.step->set ? e.step->set->name : "executor", e.depth, e.start_ns,
                   e.duration_ns});
  return out;
}

size_t RunContext::memory_bytes() const {
  size_t bytes = impl_->arena_.reserved_bytes();
  for (const auto& child : impl_->children_) bytes += child->arena_.reserved_bytes();
  return bytes;
}

}  // namespace onnxtool
