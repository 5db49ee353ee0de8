// The values of a run: buffers, their forms in other layouts and memory spaces, and what is shared.

#include <algorithm>
#include <cstring>

#include "calib/exec/plan_impl.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

bool kernel_takes(const Step& step, int input, Layout layout) {
  return layout == Layout::kPlain ||
         (step.kernel->takes_layout && step.kernel->takes_layout(input, layout));
}

Error out_of_memory(size_t size_bytes, const DeviceApi* device) {
  if (device)
    return Error{
        ErrorCode::kOutOfMemory,
        "the device is out of memory: it has no " + std::to_string(size_bytes) + " bytes more",
        "use --device cpu, or fewer threads or smaller samples"};
  return Error{ErrorCode::kOutOfMemory,
               "out of memory while asking for " + std::to_string(size_bytes) + " bytes",
               "use fewer threads or smaller samples"};
}

}  // namespace

Buffer* RunContext::Impl::idle_buffer() {
  std::unique_ptr<Buffer> buffer;
  if (idle_buffers_.empty()) {
    buffer = std::make_unique<Buffer>();
  } else {
    buffer = std::move(idle_buffers_.back());
    idle_buffers_.pop_back();
  }
  buffer->references = 1;
  buffer->ticket = -1;
  buffer->device = nullptr;
  return buffer.release();
}

Result<Buffer*> RunContext::Impl::new_buffer(size_t size_bytes, const DeviceApi* device) {
  std::unique_ptr<Buffer> buffer(idle_buffer());
  buffer->size = size_bytes;
  buffer->device = device;
  buffer->data = device ? device->allocate(std::max<size_t>(size_bytes, 1))
                        : arena_.acquire(size_bytes, &buffer->ticket);
  if (!buffer->data) return out_of_memory(size_bytes, device);
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
  buffer->lent.reset();
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

Status RunContext::Impl::bind_replacement(int slot, Replacement r) {
  const ConstView& v = r.value;
  const auto size = layout_size_bytes(v.dtype, v.dims, v.layout);
  ONNXTOOL_CHECK(size && v.space == MemorySpace::kHost);
  if (!r.memory && v.dtype != DataType::kString &&
      reinterpret_cast<uintptr_t>(v.data) % kBufferAlignment != 0) {
    ONNXTOOL_ASSIGN(MutableView copy, allocate(slot, v.dtype, v.dims, v.layout, nullptr));
    if (*size) std::memcpy(copy.data, v.data, *size);
    return {};
  }
  bind_external(slot, v.dtype, v.dims, v.data);
  Representation& form = slots_[static_cast<size_t>(slot)].forms[0];
  form.layout = v.layout;
  if (!r.memory) return {};
  form.buffer = idle_buffer();
  form.buffer->size = *size;
  form.buffer->data = form.data;
  form.buffer->lent = std::move(r.memory);
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
    ONNXTOOL_TRY(first.device->to_host(host.data, first.data,
                                       *layout_size_bytes(v.dtype, v.dims, first.layout)));
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
  const InputUse use = step.kernel->use ? step.kernel->use(*step.node, input) : InputUse::kData;
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

void RunContext::Impl::share(int slot, int from, std::span<const int64_t> dims, int64_t first) {
  release(slot);
  const SlotValue& source = slots_[static_cast<size_t>(from)];
  SlotValue& v = slots_[static_cast<size_t>(slot)];
  v.dtype = source.dtype;
  set_dims(v, dims);
  v.count = *checked_product(v.dims);
  const size_t skipped = source.dtype == DataType::kString
                             ? static_cast<size_t>(first) * sizeof(std::string)
                             : size_bytes_of(source.dtype, static_cast<uint64_t>(first));
  // Only plain forms can be seen under other dims; the caller's kernel was shown one.
  for (int f = 0; f < source.num_forms; ++f) {
    const Representation& form = source.forms[static_cast<size_t>(f)];
    if (form.layout != Layout::kPlain) continue;
    if (form.buffer) ++form.buffer->references;
    Representation& seen = v.forms[static_cast<size_t>(v.num_forms++)];
    seen = form;
    seen.data = static_cast<std::byte*>(form.data) + skipped;
  }
  if (source.held) v.held = std::make_unique<Datum>(*source.held);
}

}  // namespace onnxtool
