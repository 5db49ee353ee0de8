// If, Loop and Scan: the executor runs their graphs as plans of their own.
#include <cstring>

#include "calib/exec/native_ops.h"

namespace onnxtool {
namespace {

Result<bool> scalar_bool(RunContext::Impl& run, const Step& step, int slot) {
  ONNXTOOL_ASSIGN(ConstView v, run.host_view(slot));
  if (v.dtype != DataType::kBool || v.count != 1) return wrong(step, "condition has " + std::to_string(v.count) + " elements of type " + std::string(name(v.dtype)) + ", expected one bool");
  return *static_cast<const uint8_t*>(v.data) != 0;
}

}  // namespace

Status run_if(RunContext::Impl& run, const Step& step, size_t index) {
  ONNXTOOL_ASSIGN(const int slot, input_slot(step, 0));
  ONNXTOOL_ASSIGN(const bool condition, scalar_bool(run, step, slot));
  size_t which;
  const SubPlan* sub = find_subplan(step, condition ? "then_branch" : "else_branch", which);
  if (!sub) return wrong(step, "a branch is missing");
  RunContext::Impl& child = run.child(index, which);
  const EndRun guard{child};
  ONNXTOOL_TRY(bind_captured(run, child, *sub));
  ONNXTOOL_TRY(child.run_steps(nullptr));
  for (size_t i = 0; i < step.outputs.size() && i < child.plan().output_slots.size(); ++i)
    if (step.outputs[i] >= 0) ONNXTOOL_TRY(run.copy_from(step.outputs[i], child, child.plan().output_slots[i]));
  return {};
}

namespace {

// Far more than any model means to run; a loop that never ends on its own must end some time.
constexpr int64_t kMaxIterations = int64_t{1} << 24;
// What the scan outputs of one loop may take.
constexpr size_t kMaxStackedBytes = size_t{1} << 33;

Error loop_limit(const Step& step, const std::string& what) {
  return Error{ErrorCode::kLimit, step.node->description + ": " + what, "the loop's condition may never become false"};
}

// Appends each iteration's slice and gives them as one tensor with a new axis.
class Stacker {
 public:
  /// `type` is the body's output, as far as known: what the result is made of when nothing is added.
  explicit Stacker(const ValueType& type) {
    if (type.is_tensor() && bits_of(type.dtype)) dtype_ = type.dtype;
    if (type.shape)
      for (const Dim& d : *type.shape) dims_.push_back(d.value.value_or(0));
  }
  Status add(RunContext::Impl& child, int slot) {
    ONNXTOOL_ASSIGN(ConstView v, child.host_view(slot));
    if (bytes_.size() > kMaxStackedBytes) return Error{ErrorCode::kLimit, "scan outputs pass " + std::to_string(kMaxStackedBytes) + " bytes", "the loop's condition may never become false"};
    if (count_ == 0) {
      dtype_ = v.dtype;
      dims_.assign(v.dims.begin(), v.dims.end());
    } else if (v.dtype != dtype_ || !std::equal(v.dims.begin(), v.dims.end(), dims_.begin(), dims_.end())) {
      return Error{ErrorCode::kMismatch, "a scan output changes its shape from " + format_dims(dims_) + " to " + format_dims(v.dims), {}};
    }
    if (v.dtype == DataType::kString) return Error{ErrorCode::kUnsupported, "scan outputs of strings are not supported", {}};
    const auto* b = static_cast<const std::byte*>(v.data);
    bytes_.insert(bytes_.end(), b, b + size_bytes_of(v.dtype, static_cast<uint64_t>(v.count)));
    ++count_;
    return {};
  }
  Tensor result(int64_t axis, bool reversed) const {
    std::vector<int64_t> dims = dims_;
    if (axis < 0) axis += static_cast<int64_t>(dims.size()) + 1;
    int64_t outer = 1;
    for (int64_t i = 0; i < axis; ++i) outer *= dims[static_cast<size_t>(i)];
    dims.insert(dims.begin() + axis, count_);
    std::vector<std::byte> bytes(bytes_.size());
    const size_t slice = count_ ? bytes_.size() / static_cast<size_t>(count_) : 0;
    const size_t run = outer ? slice / static_cast<size_t>(outer) : 0;
    for (int64_t o = 0; o < outer && slice; ++o)
      for (int64_t i = 0; i < count_; ++i) {
        const int64_t from = reversed ? count_ - 1 - i : i;
        std::memcpy(bytes.data() + (static_cast<size_t>(o * count_ + i)) * run, bytes_.data() + static_cast<size_t>(from) * slice + static_cast<size_t>(o) * run, run);
      }
    return Tensor::from_bytes(dtype_, std::move(dims), std::move(bytes));
  }
  int64_t rank() const { return static_cast<int64_t>(dims_.size()); }
  int64_t count() const { return count_; }

 private:
  DataType dtype_ = DataType::kFloat;
  std::vector<int64_t> dims_;
  std::vector<std::byte> bytes_;
  int64_t count_ = 0;
};

std::vector<Stacker> stackers_for(const SubPlan& sub, size_t first_output, size_t count) {
  std::vector<Stacker> out;
  for (size_t i = 0; i < count; ++i) out.emplace_back(sub.output_types[first_output + i]);
  return out;
}

}  // namespace

Status run_loop(RunContext::Impl& run, const Step& step, size_t index) {
  size_t which;
  const SubPlan* sub = find_subplan(step, "body", which);
  if (!sub) return wrong(step, "the body is missing");
  RunContext::Impl& child = run.child(index, which);
  const Plan::Impl& body = child.plan();
  const auto& in = step.node->inputs;
  int64_t trips = std::numeric_limits<int64_t>::max();
  if (!in.empty() && in[0] >= 0) {
    ONNXTOOL_ASSIGN(ConstView v, run.host_view(in[0]));
    if (v.dtype != DataType::kInt64 || v.count != 1) return wrong(step, "the trip count is no int64 scalar");
    trips = *static_cast<const int64_t*>(v.data);
  }
  uint8_t condition = 1;
  if (in.size() > 1 && in[1] >= 0) {
    ONNXTOOL_ASSIGN(const bool c, scalar_bool(run, step, in[1]));
    condition = c;
  }
  const size_t carried = in.size() > 2 ? in.size() - 2 : 0;
  if (static_cast<size_t>(sub->own_inputs) != carried + 2 || body.output_slots.size() < carried + 1)
    return wrong(step, "the body has " + std::to_string(sub->own_inputs) + " inputs, expected " + std::to_string(carried + 2));
  const size_t scans = body.output_slots.size() - 1 - carried;
  std::vector<Stacker> stackers = stackers_for(*sub, 1 + carried, scans);
  std::vector<Datum> state(carried);
  for (size_t i = 0; i < carried; ++i) {
    ONNXTOOL_ASSIGN(const int slot, input_slot(step, i + 2));
    ONNXTOOL_ASSIGN(state[i], run.datum(slot));
  }
  for (int64_t trip = 0; trip < trips && condition; ++trip) {
    if (trip == kMaxIterations) return loop_limit(step, "still running after " + std::to_string(kMaxIterations) + " iterations");
    const EndRun guard{child};
    ONNXTOOL_TRY(bind_captured(run, child, *sub));
    child.bind_external(body.input_slots[0], DataType::kInt64, {}, &trip);
    child.bind_external(body.input_slots[1], DataType::kBool, {}, &condition);
    for (size_t i = 0; i < carried; ++i) ONNXTOOL_TRY(child.hold(body.input_slots[i + 2], std::move(state[i])));
    ONNXTOOL_TRY(child.run_steps(nullptr));
    ONNXTOOL_ASSIGN(const bool next, scalar_bool(child, step, body.output_slots[0]));
    for (size_t i = 0; i < carried; ++i) {
      ONNXTOOL_ASSIGN(state[i], child.datum(body.output_slots[i + 1]));
    }
    for (size_t i = 0; i < scans; ++i) ONNXTOOL_TRY(stackers[i].add(child, body.output_slots[1 + carried + i]));
    condition = next;
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    if (step.outputs[i] < 0) continue;
    if (i < carried) {
      ONNXTOOL_TRY(run.hold(step.outputs[i], std::move(state[i])));
    } else {
      ONNXTOOL_TRY(run.hold(step.outputs[i], stackers[i - carried].result(0, false)));
    }
  }
  return {};
}

namespace {

// Slice `position` of `t` along `axis`, as a tensor of rank one less.
Tensor slice_of(const Tensor& t, int64_t axis, int64_t position) {
  std::vector<int64_t> dims = t.dims();
  int64_t outer = 1;
  for (int64_t i = 0; i < axis; ++i) outer *= dims[static_cast<size_t>(i)];
  const int64_t extent = dims[static_cast<size_t>(axis)];
  dims.erase(dims.begin() + axis);
  const size_t run = outer && extent ? t.size_bytes() / static_cast<size_t>(outer * extent) : 0;
  std::vector<std::byte> bytes(run * static_cast<size_t>(outer));
  for (int64_t o = 0; o < outer && run; ++o)
    std::memcpy(bytes.data() + static_cast<size_t>(o) * run, t.bytes().data() + static_cast<size_t>(o * extent + position) * run, run);
  return Tensor::from_bytes(t.dtype(), std::move(dims), std::move(bytes));
}

}  // namespace

Status run_scan(RunContext::Impl& run, const Step& step, size_t index) {
  size_t which;
  const SubPlan* sub = find_subplan(step, "body", which);
  if (!sub) return wrong(step, "the body is missing");
  RunContext::Impl& child = run.child(index, which);
  const Plan::Impl& body = child.plan();
  const bool batched = step.node->opset() < 9;  // Scan-8 has an optional first input and a batch axis
  if (batched) return Error{ErrorCode::kUnsupported, step.node->description + ": Scan of opset 8 is not supported", "convert the model to opset 9 or newer"};
  const auto num_scan = static_cast<size_t>(std::max<int64_t>(step.node->attr_int("num_scan_inputs", 0), 0));
  const auto& in = step.node->inputs;
  if (num_scan == 0 || num_scan > in.size() || static_cast<size_t>(sub->own_inputs) != in.size())
    return wrong(step, "num_scan_inputs is " + std::to_string(num_scan) + " with " + std::to_string(in.size()) + " inputs and a body of " + std::to_string(sub->own_inputs));
  const size_t carried = in.size() - num_scan;
  if (body.output_slots.size() < carried) return wrong(step, "the body has too few outputs");
  const auto listed = [&](const char* name, size_t i) {
    const auto v = step.node->attr_ints(name);
    return i < v.size() ? v[i] : 0;
  };
  std::vector<Datum> state(carried);
  std::vector<Tensor> scanned(num_scan);
  std::vector<int64_t> axes(num_scan);
  int64_t length = -1;
  for (size_t i = 0; i < carried; ++i) {
    ONNXTOOL_ASSIGN(const int slot, input_slot(step, i));
    ONNXTOOL_ASSIGN(state[i], run.datum(slot));
  }
  for (size_t i = 0; i < num_scan; ++i) {
    ONNXTOOL_ASSIGN(const int slot, input_slot(step, carried + i));
    ONNXTOOL_ASSIGN(scanned[i], run.take_tensor(slot));
    axes[i] = listed("scan_input_axes", i);
    const int64_t rank = scanned[i].rank();
    if (axes[i] < -rank || axes[i] >= rank) return wrong(step, "scan_input_axes is " + std::to_string(axes[i]) + " for an input of rank " + std::to_string(rank));
    if (axes[i] < 0) axes[i] += rank;
    const int64_t extent = scanned[i].dims()[static_cast<size_t>(axes[i])];
    if (length >= 0 && extent != length) return wrong(step, "scan inputs have lengths " + std::to_string(length) + " and " + std::to_string(extent));
    length = extent;
  }
  const size_t scans = body.output_slots.size() - carried;
  std::vector<Stacker> stackers = stackers_for(*sub, carried, scans);
  for (int64_t t = 0; t < length; ++t) {
    const EndRun guard{child};
    ONNXTOOL_TRY(bind_captured(run, child, *sub));
    std::vector<Tensor> slices(num_scan);
    for (size_t i = 0; i < carried; ++i) ONNXTOOL_TRY(child.hold(body.input_slots[i], std::move(state[i])));
    for (size_t i = 0; i < num_scan; ++i) {
      slices[i] = slice_of(scanned[i], axes[i], listed("scan_input_directions", i) ? length - 1 - t : t);
      ONNXTOOL_TRY(child.bind_tensor(body.input_slots[carried + i], slices[i]));
    }
    ONNXTOOL_TRY(child.run_steps(nullptr));
    for (size_t i = 0; i < carried; ++i) {
      ONNXTOOL_ASSIGN(state[i], child.datum(body.output_slots[i]));
    }
    for (size_t i = 0; i < scans; ++i) ONNXTOOL_TRY(stackers[i].add(child, body.output_slots[carried + i]));
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    if (step.outputs[i] < 0) continue;
    if (i < carried) {
      ONNXTOOL_TRY(run.hold(step.outputs[i], std::move(state[i])));
      continue;
    }
    const Stacker& s = stackers[i - carried];
    const int64_t axis = listed("scan_output_axes", i - carried);
    if (axis < -s.rank() - 1 || axis > s.rank()) return wrong(step, "scan_output_axes is " + std::to_string(axis) + " for slices of rank " + std::to_string(s.rank()));
    ONNXTOOL_TRY(run.hold(step.outputs[i], s.result(axis, listed("scan_output_directions", i - carried) != 0)));
  }
  return {};
}

}  // namespace onnxtool
