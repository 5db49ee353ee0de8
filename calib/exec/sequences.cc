// Sequences and optionals. Elements are shared tensors: inserting, taking and passing on copies
// none.

#include "calib/exec/native_ops.h"
#include "calib/exec/tensor_parts.h"

namespace onnxtool {
namespace {

using Run = RunContext::Impl;

Result<Datum> input_datum(Run& run, const Step& step, size_t i) {
  ONNXTOOL_ASSIGN(const int slot, input_slot(step, i));
  return run.datum(slot);
}

Result<Datum> input_sequence(Run& run, const Step& step, size_t i, size_t index) {
  ONNXTOOL_ASSIGN(const int slot, input_slot(step, i));
  ONNXTOOL_ASSIGN(Datum d, run.take_datum(slot, index));
  if (!d.is_sequence())
    return wrong(step,
                 "input " + std::to_string(i) + " is a " + d.kind_name() + ", expected a sequence");
  return d;
}

Result<Tensor> input_tensor(Run& run, const Step& step, size_t i) {
  ONNXTOOL_ASSIGN(Datum d, input_datum(run, step, i));
  if (!d.is_tensor())
    return wrong(step,
                 "input " + std::to_string(i) + " is a " + d.kind_name() + ", expected a tensor");
  return d.tensor();
}

Status give(Run& run, const Step& step, Datum value) {
  if (step.outputs.empty() || step.outputs[0] < 0) return {};
  return run.hold(step.outputs[0], std::move(value));
}

bool is_index(DataType type) { return type == DataType::kInt64 || type == DataType::kInt32; }

// Input i, an index into a sequence of which [-count, count) are valid, as 0 or more. With `end`,
// count itself is one too.
Result<size_t> position(Run& run, const Step& step, size_t i, size_t count, bool end) {
  ONNXTOOL_ASSIGN(const Tensor t, input_tensor(run, step, i));
  if (!is_index(t.dtype()) || t.count() != 1)
    return wrong(step, "position is " + std::string(name(t.dtype())) + format_dims(t.dims()) +
                           ", expected one integer");
  const int64_t p = t.to_ints()[0], n = static_cast<int64_t>(count);
  if (p < -n || p >= n + (end ? 1 : 0))
    return wrong(step, "position " + std::to_string(p) + " is out of range for a sequence of " +
                           std::to_string(count));
  return static_cast<size_t>(p < 0 ? p + n : p);
}

}  // namespace

Status run_sequence_empty(Run& run, const Step& step, size_t) {
  return give(run, step, Datum::sequence({}));
}

Status run_sequence_construct(Run& run, const Step& step, size_t) {
  std::vector<Datum> items;
  for (size_t i = 0; i < step.node->inputs.size(); ++i) {
    ONNXTOOL_ASSIGN(Tensor t, input_tensor(run, step, i));
    items.emplace_back(std::move(t));
  }
  return give(run, step, Datum::sequence(std::move(items)));
}

Status run_sequence_insert(Run& run, const Step& step, size_t index) {
  ONNXTOOL_ASSIGN(Datum sequence, input_sequence(run, step, 0, index));
  ONNXTOOL_ASSIGN(Tensor t, input_tensor(run, step, 1));
  size_t at = sequence.items().size();
  ONNXTOOL_TRY(check_items(step, static_cast<int64_t>(at) + 1));
  if (step.node->has_input(2)) {
    ONNXTOOL_ASSIGN(at, position(run, step, 2, at, true));
  }
  std::vector<Datum>& items = sequence.own_items();
  items.insert(items.begin() + static_cast<std::ptrdiff_t>(at), std::move(t));
  return give(run, step, std::move(sequence));
}

Status run_sequence_erase(Run& run, const Step& step, size_t index) {
  ONNXTOOL_ASSIGN(Datum sequence, input_sequence(run, step, 0, index));
  const size_t count = sequence.items().size();
  if (count == 0) return wrong(step, "the sequence is empty");
  size_t at = count - 1;
  if (step.node->has_input(1)) {
    ONNXTOOL_ASSIGN(at, position(run, step, 1, count, false));
  }
  std::vector<Datum>& items = sequence.own_items();
  items.erase(items.begin() + static_cast<std::ptrdiff_t>(at));
  return give(run, step, std::move(sequence));
}

Status run_sequence_at(Run& run, const Step& step, size_t index) {
  ONNXTOOL_ASSIGN(const Datum sequence, input_sequence(run, step, 0, index));
  ONNXTOOL_ASSIGN(const size_t at, position(run, step, 1, sequence.items().size(), false));
  return give(run, step, sequence.items()[at]);
}

Status run_sequence_length(Run& run, const Step& step, size_t index) {
  ONNXTOOL_ASSIGN(const Datum sequence, input_sequence(run, step, 0, index));
  return give(run, step, Tensor::scalar(static_cast<int64_t>(sequence.items().size())));
}

namespace {

// The lengths that SplitToSequence cuts `extent` into.
Result<std::vector<int64_t>> part_lengths(Run& run, const Step& step, int64_t extent) {
  if (!step.node->has_input(1)) {
    ONNXTOOL_TRY(check_items(step, extent));
    return std::vector<int64_t>(static_cast<size_t>(extent), 1);
  }
  ONNXTOOL_ASSIGN(const Tensor split, input_tensor(run, step, 1));
  if (!is_index(split.dtype()) || split.rank() > 1)
    return wrong(step, "split is " + std::string(name(split.dtype())) + format_dims(split.dims()) +
                           ", expected integers of rank 0 or 1");
  std::vector<int64_t> lengths = split.to_ints();
  if (split.rank() == 0) {
    const int64_t length = lengths[0];
    if (length <= 0) return wrong(step, "split is " + std::to_string(length));
    ONNXTOOL_TRY(check_items(step, extent / length));
    lengths.assign(static_cast<size_t>(extent / length), length);
    if (extent % length) lengths.push_back(extent % length);
    return lengths;
  }
  int64_t left = extent;
  for (const int64_t length : lengths) {
    if (length < 0 || length > left)
      return wrong(step, "split " + format_dims(lengths) + " does not fit an extent of " +
                             std::to_string(extent));
    left -= length;
  }
  if (left)
    return wrong(step, "split " + format_dims(lengths) + " leaves " + std::to_string(left) +
                           " of an extent of " + std::to_string(extent));
  return lengths;
}

}  // namespace

Status run_split_to_sequence(Run& run, const Step& step, size_t) {
  ONNXTOOL_ASSIGN(const Tensor t, input_tensor(run, step, 0));
  auto axis = resolved_axis(step.node->attr_int("axis", 0), t.rank());
  if (!axis.ok()) return wrong(step, axis.error().message);
  ONNXTOOL_ASSIGN(const std::vector<int64_t> lengths,
                  part_lengths(run, step, t.dims()[static_cast<size_t>(*axis)]));
  const bool squeeze = !step.node->has_input(1) && step.node->attr_int("keepdims", 1) == 0;
  std::vector<Datum> items;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    auto part = part_of(t, *axis, begin, length);
    if (!part.ok()) return std::move(part).error().at(step.node->description);
    begin += length;
    std::vector<int64_t> dims = part->dims();
    if (squeeze) dims.erase(dims.begin() + *axis);
    items.emplace_back(part->reshaped(std::move(dims)));
  }
  return give(run, step, Datum::sequence(std::move(items)));
}

Status run_concat_from_sequence(Run& run, const Step& step, size_t index) {
  ONNXTOOL_ASSIGN(const Datum sequence, input_sequence(run, step, 0, index));
  const bool stack = step.node->attr_int("new_axis", 0) != 0;
  std::vector<Tensor> parts;
  for (const Datum& d : sequence.items()) {
    if (!d.is_tensor())
      return wrong(step, std::string("an element is a ") + d.kind_name() + ", expected a tensor");
    parts.push_back(d.tensor());
  }
  if (parts.empty()) return wrong(step, "the sequence is empty");
  auto axis = resolved_axis(step.node->attr_int("axis", 0), parts[0].rank() + (stack ? 1 : 0));
  if (!axis.ok()) return wrong(step, axis.error().message);
  if (stack)
    for (Tensor& t : parts) {
      if (t.rank() < *axis) return wrong(step, "elements differ in rank");
      std::vector<int64_t> dims = t.dims();
      dims.insert(dims.begin() + *axis, 1);
      t = t.reshaped(std::move(dims));
    }
  auto whole = joined(parts, *axis);
  if (!whole.ok()) return std::move(whole).error().at(step.node->description);
  return give(run, step, *std::move(whole));
}

Status run_optional(Run& run, const Step& step, size_t) {
  if (!step.node->has_input(0)) {
    return give(run, step, Datum());
  }
  ONNXTOOL_ASSIGN(Datum d, input_datum(run, step, 0));
  return give(run, step, std::move(d));
}

Status run_optional_has_element(Run& run, const Step& step, size_t) {
  uint8_t has = 0;
  if (step.node->has_input(0)) has = !run.is_none(step.node->inputs[0]);
  return give(run, step, Tensor::from_bytes(DataType::kBool, {}, {std::byte{has}}));
}

Status run_optional_get_element(Run& run, const Step& step, size_t) {
  ONNXTOOL_ASSIGN(Datum d, input_datum(run, step, 0));
  if (d.is_none()) return wrong(step, "the optional holds nothing");
  return give(run, step, std::move(d));
}

Status run_pass_through(Run& run, const Step& step, size_t) {
  ONNXTOOL_ASSIGN(Datum d, input_datum(run, step, 0));
  return give(run, step, std::move(d));
}

// The body runs once for each element of the first input; other sequences give their element of the
// same place, tensors are given as they are.
Status run_sequence_map(Run& run, const Step& step, size_t index) {
  size_t which;
  const SubPlan* sub = find_subplan(step, "body", which);
  if (!sub) return wrong(step, "the body is missing");
  Run& child = run.child(index, which);
  const Plan::Impl& body = child.plan();
  const size_t count = step.node->inputs.size();
  if (static_cast<size_t>(sub->own_inputs) != count ||
      body.output_slots.size() < step.outputs.size())
    return wrong(step, "the body has " + std::to_string(sub->own_inputs) + " inputs and " +
                           std::to_string(body.output_slots.size()) + " outputs, expected " +
                           std::to_string(count) + " and " + std::to_string(step.outputs.size()));
  std::vector<Datum> inputs(count);
  for (size_t i = 0; i < count; ++i) {
    ONNXTOOL_ASSIGN(inputs[i], input_datum(run, step, i));
  }
  if (count == 0 || !inputs[0].is_sequence()) return wrong(step, "input 0 is no sequence");
  std::vector<std::vector<Datum>> results(step.outputs.size());
  for (size_t n = 0; n < inputs[0].items().size(); ++n) {
    const EndRun guard{child};
    ONNXTOOL_TRY(bind_captured(run, child, *sub));
    for (size_t i = 0; i < count; ++i) {
      if (inputs[i].is_sequence() && n >= inputs[i].items().size())
        return wrong(step, "input " + std::to_string(i) + " has " +
                               std::to_string(inputs[i].items().size()) + " elements, expected " +
                               std::to_string(inputs[0].items().size()));
      ONNXTOOL_TRY(child.hold(body.input_slots[i],
                              inputs[i].is_sequence() ? inputs[i].items()[n] : inputs[i]));
    }
    ONNXTOOL_TRY(child.run_steps(nullptr));
    for (size_t o = 0; o < results.size(); ++o) {
      ONNXTOOL_ASSIGN(Datum d, child.datum(body.output_slots[o]));
      results[o].push_back(std::move(d));
    }
  }
  for (size_t o = 0; o < results.size(); ++o)
    if (step.outputs[o] >= 0)
      ONNXTOOL_TRY(run.hold(step.outputs[o], Datum::sequence(std::move(results[o]))));
  return {};
}

}  // namespace onnxtool
