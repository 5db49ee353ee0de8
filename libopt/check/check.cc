#include "libopt/check/check.h"

#include <unistd.h>

#include <algorithm>

#include "libopt/analysis/digest.h"
#include "libopt/check/family.h"
#include "libopt/io/encode.h"
#include "libopt/io/load.h"
#include "libopt/ort/read.h"
#include "libopt/ort/validate.h"

namespace onnxtool {
namespace {

using check::Findings;

void add_fault(const outline::Fault& fault, Findings& out) {
  using Kind = outline::Fault::Kind;
  const RuleId id = fault.kind == Kind::kTruncated ? RuleId::kTruncated
                    : fault.kind == Kind::kTooDeep ? RuleId::kTooDeep
                                                   : RuleId::kMalformed;
  out.add(id, fault.place, "at byte " + std::to_string(fault.offset) + ": " + fault.message,
          fault.offset);
}

// The graph, where the file allows one; faults of storage that no family named are findings here.
std::unique_ptr<Model> build(const DecodeSource& source, Findings& out) {
  auto model = decode_model(source);
  if (model.ok()) return *std::move(model);
  if (out.has_errors())
    out.add(RuleId::kTypesUnchecked, "",
            "types and shapes were not checked, since the graph cannot be built");
  else
    out.add(RuleId::kNotLoadable, "", model.error().message, {}, model.error().hint);
  return nullptr;
}

// What needs the graph.
void look_into(CheckResult& result, const check::OutlineView& view, Findings& out) {
  const CheckOptions& options = view.options;
  check::check_types(view, *result.model, out);
  if (out.has_errors()) return;  // advice is for models that work
  check::check_choices(*result.model, options, out);
  if (options.runtime) check::check_kernels(*result.model, options, out);
  if (options.target) check::check_target(*result.model, *options.target, out);
  check::check_exporter(*result.model, out);
  check::check_weights(*result.model, options.read_weights, out);
  check::check_saturation(*result.model, out);
  check::check_quantization(*result.model, out);
}

// What the .onnx rules say of a .ort file's model, as the .onnx file that it would be: offsets in
// that are nobody's.
CheckResult check_as_onnx(const Model& model, const CheckOptions& options) {
  struct Bytes final : Storage {
    std::string text;
  };
  const auto bytes = std::make_shared<Bytes>();
  bytes->text = encode_model(model).flatten();
  CheckResult result =
      check_model({std::as_bytes(std::span(bytes->text)), bytes, nullptr}, options);
  for (CheckFinding& f : result.findings) f.offset.reset();
  // The validator judges operators by what the runtime has, which is more than the standard.
  std::erase_if(result.findings,
                [](const CheckFinding& f) { return f.id == RuleId::kUnknownOperator; });
  result.left_out.erase(RuleId::kUnknownOperator);
  return result;
}

CheckResult check_ort(const DecodeSource& source, const CheckOptions& options) {
  Findings out(options);
  OrtFaults faults = validate_ort(source.bytes);
  const bool broken = faults.any_fatal();
  for (OrtFault& f : faults.list)
    out.add(f.fatal ? RuleId::kOrtFault : RuleId::kOrtWaste, std::move(f.place),
            std::move(f.message));
  const auto model = read_ort(source.bytes, source.owner);
  if (!model.ok() && !broken)
    out.add(RuleId::kNotLoadable, "", model.error().message, {}, model.error().hint);
  CheckResult result;
  if (model.ok()) result = check_as_onnx(**model, options);
  std::vector<CheckFinding> found = out.take();
  const auto behind_errors = std::ranges::partition_point(
      result.findings, [](const CheckFinding& f) { return f.rule().severity == Severity::kError; });
  result.findings.insert(broken ? result.findings.begin() : behind_errors,
                         std::make_move_iterator(found.begin()),
                         std::make_move_iterator(found.end()));
  if (faults.left_out) result.left_out[RuleId::kOrtFault] = faults.left_out;
  if (faults.waste_left_out) result.left_out[RuleId::kOrtWaste] = faults.waste_left_out;
  return result;
}

}  // namespace

bool CheckResult::has(Severity least) const {
  return std::ranges::any_of(findings,
                             [&](const CheckFinding& f) { return f.rule().severity >= least; });
}

CheckResult check_model(const DecodeSource& source, const CheckOptions& options) {
  if (is_ort(source.bytes)) return check_ort(source, options);
  CheckResult result;
  Findings out(options);
  const outline::Model model = outline::read(source.bytes);
  if (const auto other = recognize_other_format(source.bytes);
      other && (!model.graph || !model.faults.empty())) {
    out.add(RuleId::kNotAModel, "", other->message, {}, other->hint);
    result.findings = out.take();
    return result;
  }
  for (const outline::Fault& fault : model.faults) add_fault(fault, out);
  if (model.faults.empty() && !model.graph && !model.ir_version) {
    out.add(RuleId::kNotAModel, "", "no graph and no ir_version found");
  } else if (model.faults.empty()) {
    check::OutlineView view{model, source, options, {}};
    for (const outline::OpsetImport& o : model.opsets) view.opsets[o.domain] = o.version;
    if (model.opsets.empty()) view.opsets[""] = 1;
    check::check_header(view, out);
    check::check_graphs(view, out);
    check::check_tensors(view, out);
    check::check_functions(view, out);
    result.model = build(source, out);
    // What calls itself has no end.
    const bool finite = !out.found(RuleId::kFunctionRecursion) && result.model &&
                        check::check_expansion(*result.model, out);
    if (finite) look_into(result, view, out);
    if (finite && options.digest) result.digest = semantic_digest(*result.model);
    check::check_runtime(view, out);
    check::check_operators(view, out);
  }
  result.left_out = out.left_out();
  result.findings = out.take();
  std::ranges::stable_sort(result.findings, [](const auto& a, const auto& b) {
    return a.rule().severity > b.rule().severity;
  });
  return result;
}

Result<CheckResult> check_file(const std::string& path, const CheckOptions& options) {
  if (path == "-" && ::isatty(STDIN_FILENO))
    return Error{ErrorCode::kUsage, "refusing to read a model from a terminal",
                 "redirect stdin, or name a file"};
  ONNXTOOL_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  DecodeSource source{file->bytes(), file, nullptr};
  if (path != "-") {
    ONNXTOOL_ASSIGN(source.data_directory, DataDirectory::of_model(path));
  }
  return check_model(source, options);
}

}  // namespace onnxtool
