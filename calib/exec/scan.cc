// Scan: a body over the slices of its scan inputs. Scan-8 does that for each element of a batch.

#include <algorithm>

#include "calib/exec/native_ops.h"
#include "calib/exec/stacker.h"
#include "calib/exec/tensor_parts.h"

namespace onnxtool {
namespace {

using Run = RunContext::Impl;

int64_t listed(const Step& step, const char* name, size_t i) {
  const auto v = step.node->attr_ints(name);
  return i < v.size() ? v[i] : 0;
}

// The node with its body: inputs [first, first + carried) are states, the `scanned` behind them are
// sliced; the body gives the new states, then slices of `outputs` results.
struct Scan {
  Run& run;
  const Step& step;
  const SubPlan& sub;
  Run& child;
  size_t first = 0, carried = 0, scanned = 0, outputs = 0;
};

Result<Scan> scan_of(Run& run, const Step& step, size_t index) {
  size_t which;
  const SubPlan* sub = find_subplan(step, "body", which);
  if (!sub) return wrong(step, "the body is missing");
  Scan s{run, step, *sub, run.child(index, which)};
  s.first = step.node->opset() < 9 ? 1 : 0;
  s.scanned = static_cast<size_t>(std::max<int64_t>(step.node->attr_int("num_scan_inputs", 0), 0));
  const size_t given = step.node->inputs.size(), made = s.child.plan().output_slots.size();
  if (s.scanned == 0 || given < s.first + s.scanned ||
      static_cast<size_t>(sub->own_inputs) != given - s.first)
    return wrong(step, "num_scan_inputs is " + std::to_string(s.scanned) + " with " +
                           std::to_string(given) + " inputs and a body of " +
                           std::to_string(sub->own_inputs));
  s.carried = given - s.first - s.scanned;
  if (made < s.carried || step.outputs.size() > made)
    return wrong(step, "the body has " + std::to_string(made) + " outputs for " +
                           std::to_string(s.carried) + " states and " +
                           std::to_string(step.outputs.size()) + " results");
  s.outputs = made - s.carried;
  return s;
}

// What one scan starts from and ends with.
struct Values {
  std::vector<Datum> states;
  std::vector<Tensor> scanned;
  std::vector<int64_t> axes;
  std::vector<Stacker> stackers;
};

Status iterate(const Scan& s, Values& values, const char* directions) {
  const Plan::Impl& body = s.child.plan();
  int64_t length = -1;
  for (size_t i = 0; i < s.scanned; ++i) {
    const int64_t extent = values.scanned[i].dims()[static_cast<size_t>(values.axes[i])];
    if (length >= 0 && extent != length)
      return wrong(s.step, "scan inputs have lengths " + std::to_string(length) + " and " +
                               std::to_string(extent));
    length = extent;
  }
  if (length > body.max_iterations)
    return Error{ErrorCode::kLimit,
                 s.step.node->description + ": a sequence of " + std::to_string(length) +
                     " steps, expected at most " + std::to_string(body.max_iterations),
                 "--max-iterations allows more"};
  values.stackers = stackers_for(s.sub, s.carried, s.outputs);
  for (int64_t t = 0; t < length; ++t) {
    const EndRun guard{s.child};
    ONNXTOOL_TRY(bind_captured(s.run, s.child, s.sub));
    for (size_t i = 0; i < s.carried; ++i)
      ONNXTOOL_TRY(s.child.hold(body.input_slots[i], std::move(values.states[i])));
    for (size_t i = 0; i < s.scanned; ++i) {
      const int64_t axis = values.axes[i];
      auto slice =
          part_of(values.scanned[i], axis, listed(s.step, directions, i) ? length - 1 - t : t, 1);
      if (!slice.ok()) return std::move(slice).error().at(s.step.node->description);
      std::vector<int64_t> dims = slice->dims();
      dims.erase(dims.begin() + axis);
      ONNXTOOL_TRY(s.child.hold(body.input_slots[s.carried + i], slice->reshaped(std::move(dims))));
    }
    ONNXTOOL_TRY(s.child.run_steps(nullptr));
    for (size_t i = 0; i < s.carried; ++i) {
      ONNXTOOL_ASSIGN(values.states[i], s.child.datum(body.output_slots[i]));
    }
    for (size_t i = 0; i < s.outputs; ++i)
      ONNXTOOL_TRY(values.stackers[i].add(s.child, body.output_slots[s.carried + i]));
  }
  return {};
}

Result<Tensor> scan_input(const Scan& s, size_t i) {
  ONNXTOOL_ASSIGN(const int slot, input_slot(s.step, s.first + i));
  return s.run.take_tensor(slot);
}

Status run_scan_9(const Scan& s) {
  Values values;
  for (size_t i = 0; i < s.carried; ++i) {
    ONNXTOOL_ASSIGN(const int slot, input_slot(s.step, i));
    ONNXTOOL_ASSIGN(values.states.emplace_back(), s.run.datum(slot));
  }
  for (size_t i = 0; i < s.scanned; ++i) {
    ONNXTOOL_ASSIGN(values.scanned.emplace_back(), scan_input(s, s.carried + i));
    auto axis = resolved_axis(listed(s.step, "scan_input_axes", i), values.scanned.back().rank());
    if (!axis.ok())
      return std::move(axis).error().at(s.step.node->description + ", scan_input_axes");
    values.axes.push_back(*axis);
  }
  ONNXTOOL_TRY(iterate(s, values, "scan_input_directions"));
  for (size_t i = 0; i < s.step.outputs.size(); ++i) {
    if (s.step.outputs[i] < 0) continue;
    if (i < s.carried) {
      ONNXTOOL_TRY(s.run.hold(s.step.outputs[i], std::move(values.states[i])));
      continue;
    }
    const Stacker& stacker = values.stackers[i - s.carried];
    auto axis =
        resolved_axis(listed(s.step, "scan_output_axes", i - s.carried), stacker.rank() + 1);
    if (!axis.ok())
      return std::move(axis).error().at(s.step.node->description + ", scan_output_axes");
    ONNXTOOL_TRY(s.run.hold(
        s.step.outputs[i],
        stacker.result(*axis, listed(s.step, "scan_output_directions", i - s.carried) != 0)));
  }
  return {};
}

// --- Scan-8: all values have a batch axis in front, the scanned ones the sequence behind it
// ---------

Result<Tensor> element_of(const Scan& s, const Tensor& t, int64_t b) {
  auto part = part_of(t, 0, b, 1);
  if (!part.ok()) return std::move(part).error().at(s.step.node->description);
  return part->reshaped({part->dims().begin() + 1, part->dims().end()});
}

Result<Tensor> with_batch(const Scan& s, std::vector<Tensor> parts) {
  for (Tensor& t : parts) {
    std::vector<int64_t> dims = t.dims();
    dims.insert(dims.begin(), 1);
    t = t.reshaped(std::move(dims));
  }
  auto whole = joined(parts, 0);
  if (!whole.ok()) return std::move(whole).error().at(s.step.node->description);
  return whole;
}

// The number of batch elements, which all inputs must have; sequences may not be cut short.
Result<int64_t> batch_of(const Scan& s, const std::vector<Tensor>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].rank() < (i < s.carried ? 1 : 2))
      return wrong(s.step, "input " + std::to_string(i + 1) + " has shape " +
                               format_dims(inputs[i].dims()) +
                               ", which lacks the batch or the sequence");
    if (inputs[i].dims()[0] != inputs[0].dims()[0])
      return wrong(s.step, "inputs have batches of " + std::to_string(inputs[0].dims()[0]) +
                               " and " + std::to_string(inputs[i].dims()[0]));
  }
  const int64_t batch = inputs[0].dims()[0], length = inputs[s.carried].dims()[1];
  if (batch == 0) return wrong(s.step, "the batch is empty");
  if (s.step.node->has_input(0)) {
    ONNXTOOL_ASSIGN(const Tensor lengths, s.run.take_tensor(s.step.node->inputs[0]));
    if (lengths.dtype() != DataType::kInt64) return wrong(s.step, "sequence_lens is no int64");
    for (const int64_t l : lengths.to_ints())
      if (l != length)
        return Error{ErrorCode::kUnsupported,
                     s.step.node->description + ": sequences of " + std::to_string(l) + " of " +
                         std::to_string(length) + " steps are not supported",
                     "convert the model to opset 9 or newer"};
  }
  return batch;
}

Status run_scan_8(const Scan& s) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < s.carried + s.scanned; ++i) {
    ONNXTOOL_ASSIGN(inputs.emplace_back(), scan_input(s, i));
  }
  ONNXTOOL_ASSIGN(const int64_t batch, batch_of(s, inputs));
  std::vector<std::vector<Tensor>> results(s.step.outputs.size());
  for (int64_t b = 0; b < batch; ++b) {
    Values values;
    values.axes.assign(s.scanned, 0);
    for (size_t i = 0; i < inputs.size(); ++i) {
      ONNXTOOL_ASSIGN(Tensor element, element_of(s, inputs[i], b));
      if (i < s.carried)
        values.states.emplace_back(std::move(element));
      else
        values.scanned.push_back(std::move(element));
    }
    ONNXTOOL_TRY(iterate(s, values, "directions"));
    for (size_t i = 0; i < results.size(); ++i)
      results[i].push_back(i < s.carried ? values.states[i].tensor()
                                         : values.stackers[i - s.carried].result(0, false));
  }
  for (size_t i = 0; i < results.size(); ++i) {
    if (s.step.outputs[i] < 0) continue;
    ONNXTOOL_ASSIGN(Tensor whole, with_batch(s, std::move(results[i])));
    ONNXTOOL_TRY(s.run.hold(s.step.outputs[i], std::move(whole)));
  }
  return {};
}

}  // namespace

Status run_scan(Run& run, const Step& step, size_t index) {
  ONNXTOOL_ASSIGN(const Scan s, scan_of(run, step, index));
  return s.first ? run_scan_8(s) : run_scan_9(s);
}

}  // namespace onnxtool
