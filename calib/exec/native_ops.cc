#include "calib/exec/native_ops.h"

namespace onnxtool {
namespace {

constexpr NativeOperator kTable[] = {
    {"If", "", run_if},
    {"Loop", "", run_loop},
    {"Scan", "", run_scan},
    {"SequenceMap", "", run_sequence_map},
    {"SequenceEmpty", "", run_sequence_empty},
    {"SequenceConstruct", "", run_sequence_construct},
    {"SequenceInsert", "", run_sequence_insert},
    {"SequenceErase", "", run_sequence_erase},
    {"SequenceAt", "", run_sequence_at},
    {"SequenceLength", "", run_sequence_length},
    {"SplitToSequence", "", run_split_to_sequence},
    {"ConcatFromSequence", "", run_concat_from_sequence},
    {"Optional", "", run_optional},
    {"OptionalHasElement", "", run_optional_has_element},
    {"OptionalGetElement", "", run_optional_get_element},
    {"ZipMap", "ai.onnx.ml", run_zip_map},
    {"CastMap", "ai.onnx.ml", run_cast_map},
    {"DictVectorizer", "ai.onnx.ml", run_dict_vectorizer},
};

}  // namespace

std::span<const NativeOperator> native_operators() { return kTable; }

NativeOp find_native_op(const Node& node) {
  for (const NativeOperator& e : kTable)
    if (node.is(e.op, e.domain)) return e.run;
  if (node.is("Identity") && node.has_input(0) && !node.input(0).type().is_tensor() &&
      node.input(0).type().kind != ValueType::Kind::kUnknown)
    return run_pass_through;
  return nullptr;
}

Error wrong(const Step& step, const std::string& what) {
  return Error{ErrorCode::kMismatch, step.node->description + ": " + what, {}};
}

Status check_items(const Step& step, int64_t count) {
  if (count <= kMaxItems) return {};
  return Error{ErrorCode::kLimit,
               step.node->description + ": a sequence would have " + std::to_string(count) +
                   " elements, at most " + std::to_string(kMaxItems) + " are supported",
               {}};
}

Result<int> input_slot(const Step& step, size_t i) {
  if (!step.node->has_input(static_cast<int>(i)))
    return wrong(step, "input " + std::to_string(i) + " is absent");
  return step.node->inputs[i];
}

const SubPlan* find_subplan(const Step& step, std::string_view name, size_t& index) {
  for (index = 0; index < step.subplans.size(); ++index)
    if (step.subplans[index].attribute == name) return &step.subplans[index];
  return nullptr;
}

Status bind_captured(RunContext::Impl& run, RunContext::Impl& child, const SubPlan& sub) {
  const Plan::Impl& p = child.plan();
  const size_t own = p.input_slots.size() - sub.captured.size();
  for (size_t i = 0; i < sub.captured.size(); ++i)
    ONNXTOOL_TRY(child.bind_from(p.input_slots[own + i], run, sub.captured[i]));
  return {};
}

}  // namespace onnxtool
