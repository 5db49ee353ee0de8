// Operators that the executor runs itself: control flow, and those that take or give sequences,
// maps and optionals. Kernels see tensors only.
#pragma once

#include "calib/exec/plan_impl.h"

namespace onnxtool {

/// nullptr: the node is a kernel's. By operator, and for Identity by the static type of its input.
NativeOp find_native_op(const Node& node);

/// Every operator of find_native_op() but Identity.
struct NativeOperator {
  std::string_view op, domain;
  NativeOp run;
};
std::span<const NativeOperator> native_operators();

// control_flow.cc
Status run_if(RunContext::Impl& run, const Step& step, size_t index);
Status run_loop(RunContext::Impl& run, const Step& step, size_t index);

// scan.cc
Status run_scan(RunContext::Impl& run, const Step& step, size_t index);

// sequences.cc
Status run_sequence_map(RunContext::Impl& run, const Step& step, size_t index);
Status run_sequence_empty(RunContext::Impl& run, const Step& step, size_t index);
Status run_sequence_construct(RunContext::Impl& run, const Step& step, size_t index);
Status run_sequence_insert(RunContext::Impl& run, const Step& step, size_t index);
Status run_sequence_erase(RunContext::Impl& run, const Step& step, size_t index);
Status run_sequence_at(RunContext::Impl& run, const Step& step, size_t index);
Status run_sequence_length(RunContext::Impl& run, const Step& step, size_t index);
Status run_split_to_sequence(RunContext::Impl& run, const Step& step, size_t index);
Status run_concat_from_sequence(RunContext::Impl& run, const Step& step, size_t index);
Status run_optional(RunContext::Impl& run, const Step& step, size_t index);
Status run_optional_has_element(RunContext::Impl& run, const Step& step, size_t index);
Status run_optional_get_element(RunContext::Impl& run, const Step& step, size_t index);
Status run_pass_through(RunContext::Impl& run, const Step& step, size_t index);

// maps.cc
Status run_zip_map(RunContext::Impl& run, const Step& step, size_t index);
Status run_cast_map(RunContext::Impl& run, const Step& step, size_t index);
Status run_dict_vectorizer(RunContext::Impl& run, const Step& step, size_t index);

/// Elements of a sequence: far more than models build, and each takes some hundred bytes.
inline constexpr int64_t kMaxItems = int64_t{1} << 20;

// What they share: errors that name the node, its inputs, and its subgraphs.
Error wrong(const Step& step, const std::string& what);
/// An error where a sequence would have more than kMaxItems elements.
Status check_items(const Step& step, int64_t count);
/// Input i must be present.
Result<int> input_slot(const Step& step, size_t i);
/// The subgraph that attribute `name` holds; `index` is for RunContext::Impl::child().
const SubPlan* find_subplan(const Step& step, std::string_view name, size_t& index);
/// Binds the outer values that a subgraph reads, without copies.
Status bind_captured(RunContext::Impl& run, RunContext::Impl& child, const SubPlan& sub);

/// Gives back what an iteration holds, whatever way it ends: a context may be used again after an
/// error.
struct EndRun {
  RunContext::Impl& child;
  ~EndRun() { child.end_run(); }
};

}  // namespace onnxtool
