#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

#include "calib/exec/plan_impl.h"
#include "calib/exec/threads.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

bool kernel_takes(const Step& step, int input, Layout layout) {
  return layout == Layout::kPlain ||
         (step.kernel->takes_layout && step.kernel->takes_layout(input, layout));
}

constexpr size_t kMostEvents = size_t{1} << 22;  // 128 MB

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Error out_of_memory(size_t size_bytes) {
  return Error{ErrorCode::kOutOfMemory,
               "out of memory while asking for " + std::to_string(size_bytes) + " bytes",
               "use fewer threads or smaller samples"};
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

}  // namespace

namespace {

// One for each output that a kernel may compute although the node does not list it.
size_t spare_slots(const Plan::Impl& plan) {
  size_t most = 16;
  for (const Step& s : plan.steps) most = std::max(most, s.outputs.size());
  return most;
}

}  // namespace

RunContext::Impl::Impl(std::shared_ptr<const Plan> p)
    : plan_(std::move(p)), slots_(static_cast<size_t>(plan().num_slots) + spare_slots(plan())) {}

RunContext::Impl::~Impl() { end_run(); }

Result<Buffer*> RunContext::Impl::new_buffer(size_t size_bytes, const DeviceApi* device) {
  std::unique_ptr<Buffer> buffer;
  if (idle_buffers_.empty()) {
    buffer = std::make_unique<Buffer>();
  } else {
    buffer = std::move(idle_buffers_.back());
    idle_buffers_.pop_back();
  }
  buffer->references = 1;
  buffer->ticket = -1;
  buffer->size = size_bytes;
  buffer->device = device;
  buffer->data = device ? device->allocate(std::max<size_t>(size_bytes, 1))
                        : arena_.acquire(size_bytes, &buffer->ticket);
  if (!buffer->data) return out_of_memory(size_bytes);
  return buffer.release();
}

void RunContext::Impl::drop(Buffer* buffer) {
  if (!buffer || --buffer->references) return;
  std::unique_ptr<Buffer> idle(buffer);
  if (buffer->device)
    buffer->device->release(buffer->data);
  else if (buffer->ticket >= 0)
    arena_.release(buffer->data, buffer->ticket);
  if (buffer->strings.capacity()) buffer->strings = {};
  idle_buffers_.push_back(std::move(idle));
}

void RunContext::Impl::set_dims(SlotValue& v, std::span<const int64_t> dims) {
  const int64_t* own = v.dims.data();
  const bool inside =
      std::less_equal<>()(own, dims.data()) && std::less<>()(dims.data(), own + v.dims.size());
  // The slot's own dims, or a part of them, may be what is given.
  if (inside)
    v.dims = std::vector<int64_t>(dims.begin(), dims.end());
  else
    v.dims.assign(dims.begin(), dims.end());
}

void RunContext::Impl::release(int slot) {
  SlotValue& v = slots_[static_cast<size_t>(slot)];
  for (int f = 0; f < v.num_forms; ++f) drop(v.forms[static_cast<size_t>(f)].buffer);
  v.num_forms = 0;
  if (v.held) v.held.reset();
}

void RunContext::Impl::bind_external(int slot, DataType dtype, std::span<const int64_t> dims,
                                     const void* data) {
  release(slot);
  SlotValue& v = slots_[static_cast<size_t>(slot)];
  v.dtype = dtype;
  set_dims(v, dims);
  v.count = *checked_product(v.dims);
  v.forms[0] = {MemorySpace::kHost, Layout::kPlain, const_cast<void*>(data), nullptr, nullptr};
  v.num_forms = 1;
}

Status RunContext::Impl::bind_tensor(int slot, const Tensor& tensor) {
  if (tensor.dtype() == DataType::kString) {
    bind_external(slot, tensor.dtype(), tensor.dims(), tensor.strings().data());
    return {};
  }
  const std::span<const std::byte> bytes = tensor.bytes();
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 16 == 0 && !bytes.empty()) {
    bind_external(slot, tensor.dtype(), tensor.dims(), bytes.data());
    return {};
  }
  ONNXTOOL_ASSIGN(MutableView view,
                  allocate(slot, tensor.dtype(), tensor.dims(), Layout::kPlain, nullptr));
  if (!bytes.empty()) std::memcpy(view.data, bytes.data(), bytes.size());
  return {};
}

Status RunContext::Impl::hold(int slot, Datum value) {
  auto held = std::make_unique<Datum>(std::move(value));
  if (held->is_tensor())
    ONNXTOOL_TRY(bind_tensor(slot, held->tensor()));
  else
    release(slot);
  SlotValue& v = slots_[static_cast<size_t>(slot)];
  // What had to be copied to be aligned needs nobody to keep it.
  if (!held->is_tensor() || !v.forms[0].buffer) v.held = std::move(held);
  return {};
}

Result<Datum> RunContext::Impl::datum(int slot) {
  const SlotValue& v = slots_[static_cast<size_t>(slot)];
  // A held tensor may be seen under other dims.
  if (v.held && (!v.held->is_tensor() || v.held->tensor().dims() == v.dims)) return *v.held;
  ONNXTOOL_ASSIGN(Tensor t, take_tensor(slot));
  return Datum(std::move(t));
}

Result<Datum> RunContext::Impl::take_datum(int slot, size_t step) {
  SlotValue& v = slots_[static_cast<size_t>(slot)];
  if (!is_container(slot) ||
      plan().last_step_of_slot[static_cast<size_t>(slot)] != static_cast<int>(step))
    return datum(slot);
  Datum taken = std::move(*v.held);
  v.held.reset();
  return taken;
}

Status RunContext::Impl::bind_from(int slot, Impl& other, int other_slot) {
  if (other.is_container(other_slot))
    return hold(slot, *other.slots_[static_cast<size_t>(other_slot)].held);
  const SlotValue& from = other.slots_[static_cast<size_t>(other_slot)];
  const bool on_device = std::any_of(
      from.forms.begin(), from.forms.begin() + from.num_forms, [](const Representation& r) {
        return r.space == MemorySpace::kDevice && r.layout == Layout::kPlain;
      });
  if (!on_device) {
    auto view = other.host_view(other_slot);
    if (!view.ok()) return std::move(view).error();
    bind_external(slot, view->dtype, view->dims, view->data);
    return {};
  }
  // Plain forms as they are: what the body's device steps read need not travel.
  release(slot);
  SlotValue& v = slots_[static_cast<size_t>(slot)];
  v.dtype = from.dtype;
  set_dims(v, from.dims);
  v.count = from.count;
  for (int f = 0; f < from.num_forms; ++f) {
    const Representation& form = from.forms[static_cast<size_t>(f)];
    if (form.layout != Layout::kPlain) continue;
    v.forms[static_cast<size_t>(v.num_forms)] = form;
    v.forms[static_cast<size_t>(v.num_forms++)].buffer = nullptr;
  }
  return {};
}

Status RunContext::Impl::copy_from(int slot, Impl& other, int other_slot) {
  if (other.is_container(other_slot))
    return hold(slot, *other.slots_[static_cast<size_t>(other_slot)].held);
  auto view = other.host_view(other_slot);
  if (!view.ok()) return std::move(view).error();
  const std::vector<int64_t> dims(view->dims.begin(), view->dims.end());
  ONNXTOOL_ASSIGN(MutableView target, allocate(slot, view->dtype, dims, Layout::kPlain, nullptr));
  if (view->dtype == DataType::kString) {
    std::copy_n(static_cast<const std::string*>(view->data), view->count,
                static_cast<std::string*>(target.data));
  } else if (view->count) {
    std::memcpy(target.data, view->data,
                size_bytes_of(view->dtype, static_cast<uint64_t>(view->count)));
  }
  return {};
}

Result<MutableView> RunContext::Impl::allocate(int slot, DataType dtype,
                                               std::span<const int64_t> dims, Layout layout,
                                               const KernelSet* set) {
  const auto size = layout_size_bytes(dtype, dims, layout);
  if (!size)
    return Error{
        ErrorCode::kMismatch, "a result would have impossible dims " + format_dims(dims), {}};
  const DeviceApi* device = set && dtype != DataType::kString ? set->device : nullptr;
  ONNXTOOL_ASSIGN(Buffer * buffer, new_buffer(*size, device));
  SlotValue& v = slots_[static_cast<size_t>(slot)];
  release(slot);
  v.dtype = dtype;
  set_dims(v, dims);
  v.count = *checked_product(v.dims);
  if (dtype == DataType::kString) buffer->strings.resize(static_cast<size_t>(v.count));
  void* data =
      dtype == DataType::kString ? static_cast<void*>(buffer->strings.data()) : buffer->data;
  v.forms[0] = {device ? MemorySpace::kDevice : MemorySpace::kHost, layout, data, buffer, device};
  v.num_forms = 1;
  return MutableView{dtype, v.dims, data, v.count, v.forms[0].space, layout};
}

Result<ConstView> RunContext::Impl::view(int slot, const KernelSet* set,
                                         const std::function<bool(Layout)>& takes) {
  SlotValue& v = slots_[static_cast<size_t>(slot)];
  if (v.held && !v.held->is_tensor())
    return Error{ErrorCode::kMismatch,
                 std::string("a ") + v.held->kind_name() + " stands where a tensor is expected",
                 {}};
  if (!v.num_forms)
    return Error{
        ErrorCode::kUnsupported,
        "a value that is read is neither input, constant nor result (a sparse initializer?)",
        {}};
  const MemorySpace space = set && v.dtype != DataType::kString ? set->space : MemorySpace::kHost;
  const auto shown = [&](const Representation& r) {
    return ConstView{v.dtype, v.dims, r.data, v.count, r.space, r.layout};
  };
  for (int f = 0; f < v.num_forms; ++f) {
    const Representation& r = v.forms[static_cast<size_t>(f)];
    if (r.space == space && takes(r.layout)) return shown(r);
  }
  // Make the missing form: layouts change on the host only, so a device value goes through it.
  const auto add_form = [&](MemorySpace to, Layout layout) -> Result<Representation> {
    const auto size = layout_size_bytes(v.dtype, v.dims, layout);
    const DeviceApi* device = to == MemorySpace::kDevice ? set->device : nullptr;
    ONNXTOOL_ASSIGN(Buffer * buffer, new_buffer(*size, device));
    const Representation form{to, layout, buffer->data, buffer, device};
    ONNXTOOL_CHECK(v.num_forms < static_cast<int>(v.forms.size()));
    v.forms[static_cast<size_t>(v.num_forms++)] = form;
    return form;
  };
  const Representation first = v.forms[0];
  Representation host = first;
  for (int f = 0; f < v.num_forms; ++f)
    if (v.forms[static_cast<size_t>(f)].space == MemorySpace::kHost)
      host = v.forms[static_cast<size_t>(f)];
  if (host.space == MemorySpace::kDevice) {
    ONNXTOOL_ASSIGN(host, add_form(MemorySpace::kHost, first.layout));
    ONNXTOOL_TRY(
        first.device->to_host(host.data, first.data, *layout_size_bytes(v.dtype, v.dims, first.layout)));
  }
  if (!takes(host.layout)) {
    const Representation blocked = host;
    ONNXTOOL_ASSIGN(host, add_form(MemorySpace::kHost, Layout::kPlain));
    to_plain_layout(blocked.data, blocked.layout, host.data, v.dtype, v.dims, plan().threads);
  }
  if (space == MemorySpace::kHost) return shown(host);
  ONNXTOOL_ASSIGN(Representation device, add_form(MemorySpace::kDevice, host.layout));
  ONNXTOOL_TRY(set->device->to_device(device.data, host.data,
                                      *layout_size_bytes(v.dtype, v.dims, host.layout)));
  return shown(device);
}

Result<ConstView> RunContext::Impl::host_view(int slot) {
  return view(slot, nullptr, [](Layout l) { return l == Layout::kPlain; });
}

Result<ConstView> RunContext::Impl::input_view(const Step& step, int input) {
  const int slot = step.node->inputs[static_cast<size_t>(input)];
  const InputUse use =
      step.kernel->use ? step.kernel->use(*step.node, input) : InputUse::kData;
  const SlotValue& v = slots_[static_cast<size_t>(slot)];
  if (use == InputUse::kDims && v.num_forms && (!v.held || v.held->is_tensor()))
    return ConstView{v.dtype, v.dims, nullptr, v.count, MemorySpace::kHost, Layout::kPlain};
  if (use != InputUse::kData) return host_view(slot);
  return view(slot, step.set, [&](Layout l) { return kernel_takes(step, input, l); });
}

Result<Tensor> RunContext::Impl::take_tensor(int slot) {
  auto view = host_view(slot);
  if (!view.ok()) return std::move(view).error();
  std::vector<int64_t> dims(view->dims.begin(), view->dims.end());
  if (view->dtype == DataType::kString) {
    const auto* s = static_cast<const std::string*>(view->data);
    return Tensor::from_strings(std::move(dims), std::vector<std::string>(s, s + view->count));
  }
  const auto* b = static_cast<const std::byte*>(view->data);
  const auto count = static_cast<uint64_t>(view->count);
  std::vector<std::byte> bytes(b, b + size_bytes_of(view->dtype, count));
  // Elements of few bits may leave a part of the last byte unset, whose bits are anybody's.
  if (const uint64_t used = count * static_cast<uint64_t>(bits_of(view->dtype)) % 8; used != 0)
    bytes.back() &= static_cast<std::byte>((1u << used) - 1);
  return Tensor::from_bytes(view->dtype, std::move(dims), std::move(bytes));
}

void RunContext::Impl::share(int slot, int from, std::span<const int64_t> dims) {
  release(slot);
  const SlotValue& source = slots_[static_cast<size_t>(from)];
  SlotValue& v = slots_[static_cast<size_t>(slot)];
  v.dtype = source.dtype;
  v.count = source.count;
  set_dims(v, dims);
  // Only plain forms can be seen under other dims; the caller's kernel was shown one.
  for (int f = 0; f < source.num_forms; ++f) {
    const Representation& form = source.forms[static_cast<size_t>(f)];
    if (form.layout != Layout::kPlain) continue;
    if (form.buffer) ++form.buffer->references;
    v.forms[static_cast<size_t>(v.num_forms++)] = form;
  }
  if (source.held) v.held = std::make_unique<Datum>(*source.held);
}

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
    if (watch < 0 || !observer || is_container(s)) continue;
    const bool plain = observer->needs_plain();
    const auto takes = [&](Layout l) {
      return l == Layout::kPlain || (!plain && l == Layout::kChannelsLast);
    };
    ONNXTOOL_ASSIGN(ConstView shown, view(s, nullptr, takes));
    ONNXTOOL_TRY(observer->observe(watch, shown));
    if (const Tensor* other = observer->replacement(watch)) ONNXTOOL_TRY(bind_tensor(s, *other));
  }
  for (int s : step.releases) release(s);
  if (spare_used_)
    for (size_t spare = static_cast<size_t>(plan().num_slots); spare < slots_.size(); ++spare)
      release(static_cast<int>(spare));
  spare_used_ = false;
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
  for (size_t i = 0; i < plan().steps.size(); ++i) {
    const int64_t start = trace_ ? now_ns() : 0;
    ONNXTOOL_TRY(run_step(i, observer));
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
    for (size_t i = 0; i < count; ++i) {
      const int slot = p.input_slots[i];
      ONNXTOOL_TRY(bind(slot, i));
      const int watch = p.watch_of_slot[static_cast<size_t>(slot)];
      if (watch < 0 || !observer || is_container(slot)) continue;
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
    ONNXTOOL_TRY(std::move(ran));
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
