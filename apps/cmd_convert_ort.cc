// onnxtool convert-ort: models in onnxruntime's own format, for builds of it that read no other;
// and back.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <ostream>
#include <set>
#include <span>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/convert_ort_files.h"
#include "apps/convert_ort_flags.h"
#include "apps/convert_ort_optimize.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/mobile_report.h"
#include "apps/model_flags.h"
#include "apps/model_output.h"
#include "apps/progress.h"
#include "apps/staged_files.h"
#include "apps/verification.h"
#include "libopt/analysis/census.h"
#include "libopt/io/load.h"
#include "libopt/io/save.h"
#include "libopt/ort/config.h"
#include "libopt/ort/prepare.h"
#include "libopt/ort/validate.h"
#include "libopt/ort/write.h"
#include "libopt/support/atomic_file.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

// Domains without a node mean nothing in the other format, where the runtime lists all that it
// knows.
void drop_unused_opsets(Model& model) {
  std::set<std::string> used = {""};
  const auto collect = [&](const auto& self, const Graph& graph) -> void {
    for (const Node& n : graph.nodes()) {
      used.insert(n.domain());
      n.for_each_subgraph([&](const Graph& sub) { self(self, sub); });
    }
  };
  collect(collect, model.graph());
  std::erase_if(model.opsets, [&](const OpsetImport& o) {
    return !used.contains(o.domain) && model.functions.empty();
  });
}

class ConvertOrtCommand {
 public:
  ConvertOrtCommand(const ConvertOrtOptions& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_TRY(settle());
    ONNXTOOL_ASSIGN(const std::vector<OrtJob> jobs, plan_ort_jobs(o_.files));
    const bool to_stdout = jobs[0].outputs[0].path == "-";
    ONNXTOOL_ASSIGN(const auto targets, report_targets(o_.common, to_stdout));
    ONNXTOOL_TRY(plan_config(jobs));
    ONNXTOOL_TRY(check_paths(jobs, targets));
    allow_open_files(jobs.size() * 2);
    if (o_.to == "onnx" && !o_.allow_failures) ONNXTOOL_TRY(load_all(jobs));
    for (const OrtJob& job : jobs) {
      const size_t whole = staged_.size();
      Status converted = convert(job);
      if (converted.ok()) continue;
      staged_.shrink(whole);
      Error error = std::move(converted).error();
      const bool refuted = error.code == ErrorCode::kNegative;
      if ((!o_.allow_failures && !refuted) || error.code == ErrorCode::kWriteFailed) return error;
      if (error.message.starts_with(job.input + ": "))
        error.message.erase(0, job.input.size() + 2);  // the finding names it
      failures_.push_back({refuted ? "verification-failed" : error_name(error.code),
                           o_.allow_failures ? "warning" : "error",
                           error.message,
                           "",
                           error.hint,
                           job.input,
                           {}});
      if (!o_.allow_failures) return answer(jobs, targets, false);
    }
    if (failures_.size() == jobs.size())
      return Error{ErrorCode::kUnsupported,
                   fmt::format("none of {} models could be converted; the first, {}: {}",
                               jobs.size(), failures_[0].file, failures_[0].message),
                   failures_[0].hint};
    ONNXTOOL_TRY(stage_config());
    ONNXTOOL_TRY(staged_.commit(o_.no_clobber));
    return answer(jobs, targets, true);
  }

 private:
  Result<int> answer(const std::vector<OrtJob>& jobs, const std::vector<ReportTarget>& targets,
                     bool written) {
    progress_.finish();
    Report report;
    report.command = "convert-ort";
    for (const OrtJob& job : jobs) report.inputs.push_back(job.input);
    if (written) report.sections = {section(jobs.size())};
    for (Section& s : sections_) report.sections.push_back(std::move(s));
    report.findings = failures_;
    if (!written) {
      report.answer = Answer::kNo;
    }
    const bool to_stdout = jobs[0].outputs[0].path == "-";
    return write_reports(report, targets, o_.common, to_stdout, streams_);
  }

  // Files that are .onnx get their names one by one: what cannot be read is found before the first.
  static Status load_all(const std::vector<OrtJob>& jobs) {
    if (jobs.size() < 2) return {};
    for (const OrtJob& job : jobs) {
      ONNXTOOL_ASSIGN([[maybe_unused]] const auto model, load_model(job.input));
    }
    return {};
  }

  Status stage_config() {
    if (config_path_.empty()) return {};
    const std::string text = config_.text();
    ONNXTOOL_ASSIGN(AtomicFile file, AtomicFile::create(config_path_));
    ONNXTOOL_TRY(file.write(std::as_bytes(std::span(text.data(), text.size()))));
    staged_.add(std::move(file));
    return {};
  }

  Status plan_config(const std::vector<OrtJob>& jobs) {
    if (!o_.ops_config && !o_.type_reduction) return {};
    ONNXTOOL_ASSIGN(config_path_, ort_config_path(o_.files, jobs, o_.type_reduction));
    return {};
  }

  // What flags say, before any file is looked at.
  Status settle() {
    ONNXTOOL_TRY(check_flags_of_ort(o_));
    ONNXTOOL_TRY(check_mobile_flags(o_.mobile));
    if (!o_.runtime.empty() && !(prepare_.runtime = find_runtime(o_.runtime)))
      return Error{ErrorCode::kUsage, "--runtime: unknown release '" + o_.runtime + "'",
                   "known: ort-1.13 to ort-1.31"};
    write_.format_version = ort_format_version(prepare_.runtime);
    if (write_.format_version == 0)
      return Error{ErrorCode::kUsage,
                   "--runtime: " + o_.runtime + " reads only older versions of the .ort format",
                   "ort-1.13 is the oldest that reads version 5"};
    prepare_.widen_half_weights = o_.level != "disable";
    if (o_.custom_operators.empty()) return {};
    ONNXTOOL_ASSIGN(prepare_.custom_operators, read_custom_operators(o_.custom_operators));
    write_.custom_operators = prepare_.custom_operators;
    return {};
  }

  Status check_paths(const std::vector<OrtJob>& jobs, const std::vector<ReportTarget>& targets) {
    std::vector<NamedPath> inputs = {{"--custom-ops", o_.custom_operators},
                                     {"--config", o_.settings_file}};
    // What is written goes first: check_files() opens all but the first to see whether that works.
    const auto output_of = [&](const OrtJob& job) {
      return jobs.size() == 1 ? "the output" : "the output of " + job.input;
    };
    std::vector<NamedPath> outputs = {{output_of(jobs[0]), jobs[0].outputs[0].path}};
    for (const OrtJob& job : jobs) {
      inputs.push_back({"MODEL", job.input});
      for (const OrtJob::Output& out : job.outputs) {
        SaveOptions save = save_options_for(job);
        ONNXTOOL_TRY(staged_.make_parent(out.path));
        ONNXTOOL_TRY(check_target(out.path, save));
        if (&out != &jobs[0].outputs[0]) outputs.push_back({output_of(job), out.path});
      }
    }
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    if (!config_path_.empty()) outputs.push_back({"--ops-config", config_path_});
    return check_files(inputs, outputs);
  }

  SaveOptions save_options_for(const OrtJob& job) const {
    SaveOptions save;
    save.no_clobber = o_.no_clobber;
    if (job.input != "-") save.protected_files = {job.input};
    return save;
  }

  Status convert(const OrtJob& job) {
    progress_.stage("load");
    ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, load_model(job.input));
    const int64_t bytes = bytes_on_disk(*model, job.input);
    Status status = o_.to == "onnx" ? write_onnx(job, *model, bytes)
                                    : write_styles(job, std::move(model), bytes);
    if (!status.ok() && !status.error().message.starts_with(job.input))
      return std::move(status).error().at(job.input == "-" ? "stdin" : job.input);
    return status;
  }

  Status write_onnx(const OrtJob& job, Model& model, int64_t bytes) {
    progress_.stage("write");
    drop_unused_opsets(model);
    SaveOptions save = save_options_for(job);
    for (const std::string& file : payload_files(model)) save.protected_files.push_back(file);
    ONNXTOOL_ASSIGN(const SavedFiles saved, save_model(model, job.outputs[0].path, save));
    add_row(job.input, job.outputs[0].path, bytes,
            static_cast<int64_t>(saved.model_bytes + saved.data_bytes), model, 0);
    return {};
  }

  Status write_styles(const OrtJob& job, std::unique_ptr<Model> model, int64_t bytes) {
    // What one style records the other has done.
    const bool differ =
        job.outputs.size() > 1 &&
        (writes_ort_operators(o_.level) || count(*model).by_operator.contains("DequantizeLinear"));
    std::unique_ptr<Model> original = differ ? model->clone() : nullptr;
    for (const OrtJob::Output& out : job.outputs) {
      const bool first = &out == &job.outputs[0];
      if (!first && differ) model = std::move(original);
      if (first || differ) ONNXTOOL_TRY(prepare(job, out, model));
      if (first && o_.mobile.check) add_mobile_section(job, *model);
      progress_.stage("write");
      ONNXTOOL_TRY(write_ort(job, out, *model, bytes));
    }
    return {};
  }

  Status prepare(const OrtJob& job, const OrtJob::Output& out, std::unique_ptr<Model>& model) {
    progress_.stage("optimize");
    ONNXTOOL_ASSIGN(const OrtOptimized optimized,
                    optimize_for_ort(model, {o_.level, o_.arch, o_.verify,
                                             effective_threads(o_.common), out.with_fusions}));
    for (const Breach& b : optimized.dropped)
      notes_.push_back(
          fmt::format("{}: pass {} was left out: at {} {}", job.input, b.pass, b.node,
                      b.difference));
    if (optimized.integer_nodes)
      notes_.push_back(fmt::format("{}: nodes that compute on integers now: {}", job.input,
                                   optimized.integer_nodes));
    if (o_.verify != "off") add_verification(optimized, out.path);
    if (!writes_ort_operators(o_.level) && !out.with_fusions &&
        count(*model).by_operator.contains("DequantizeLinear"))
      notes_.push_back(job.input +
                       ": the runtime computes in floats between DequantizeLinear and "
                       "QuantizeLinear: --level extended makes integer operators of that");
    progress_.stage("prepare");
    ONNXTOOL_ASSIGN(const auto notes, prepare_for_ort(*model, prepare_));
    if (&out == &job.outputs[0])
      for (const std::string& note : notes) notes_.push_back(job.input + ": " + note);
    return {};
  }

  void add_verification(const OrtOptimized& optimized, const std::string& path) {
    Section s = verification_section(optimized.verification, false);
    if (optimized.integer_nodes) {
      if (!optimized.verification) s.fields[0].value = std::string("no pass changed anything");
      s.notes.push_back(
          "what computes on integers now is not judged: it rounds otherwise than floats do");
    }
    add_section(std::move(s), path);
  }

  Status write_ort(const OrtJob& job, const OrtJob::Output& out, const Model& model,
                   int64_t bytes) {
    OrtWriteOptions write = write_;
    if (out.with_fusions) write.fusions = ort_records(model);
    if (!config_path_.empty()) {
      ONNXTOOL_TRY(config_.add(model, job.outputs[0].path));
      ONNXTOOL_TRY(add_recorded(write.fusions, model, job.outputs[0].path));
    }
    ONNXTOOL_ASSIGN(const OrtFile file, lay_out_ort(model, write));
    ONNXTOOL_ASSIGN(AtomicFile target, AtomicFile::create(out.path));
    // A pipe cannot be read again.
    if (out.path == "-") ONNXTOOL_TRY(require_valid_ort(file.flatten()));
    ONNXTOOL_TRY(file.write(target));
    ONNXTOOL_TRY(target.show(require_valid_ort));
    staged_.add(std::move(target));
    if (file.shapes_left_out())
      notes_.push_back(job.input +
                       ": shapes of inner values are left out, since they would pass the "
                       "format's 1,000,000 tables");
    add_row(job.input, out.path, bytes, static_cast<int64_t>(file.size_bytes()), model,
            static_cast<int64_t>(write.fusions.size()));
    return {};
  }

  // Operators that only the runtime's fusions make; the types are those of the model so fused.
  Status add_recorded(const std::vector<OrtFusionRecord>& records, const Model& model,
                      const std::string& path) {
    if (records.empty()) return {};
    const std::unique_ptr<Model> fused = model.clone();
    ONNXTOOL_ASSIGN([[maybe_unused]] const int nodes, lower_for_ort(*fused));
    ONNXTOOL_TRY(config_.add(*fused, path));
    for (const OrtFusionRecord& r : records)
      if (!r.op_type.empty())
        config_.add_operator(r.domain.empty() ? "ai.onnx" : std::string(r.domain), r.since_version,
                             std::string(r.op_type));
    return {};
  }

  void add_mobile_section(const OrtJob& job, const Model& model) {
    add_section(mobile_section(model, o_.mobile), job.input);
  }

  // Of one of several files.
  void add_section(Section s, const std::string& file) {
    const auto same = std::ranges::count_if(
        sections_, [&](const Section& other) { return other.key.starts_with(s.key); });
    if (same) s.key += "_" + std::to_string(same + 1);
    s.title += ": " + file;
    sections_.push_back(std::move(s));
  }

  void add_row(const std::string& input, const std::string& output, int64_t before, int64_t after,
               const Model& model, int64_t fusions) {
    rows_.push_back({input, output, before, after, count(model).nodes, fusions});
  }

  Section section(size_t inputs) const {
    Section s{"conversion", "Conversion", {}, notes_, {}, false};
    s.fields.push_back(
        {"converted", "models converted", static_cast<int64_t>(inputs - failures_.size()), ""});
    if (!failures_.empty())
      s.fields.push_back({"failed", "not converted", static_cast<int64_t>(failures_.size()), ""});
    if (o_.to == "ort") {
      s.fields.push_back({"format_version", "format version", int64_t{write_.format_version}, ""});
      s.fields.push_back({"level", "level", o_.level, ""});
    }
    Table files{"files",
                "",
                {{"input", "model", ""},
                 {"output", "written", ""},
                 {"bytes_before", "before", "bytes"},
                 {"bytes_after", "after", "bytes"},
                 {"nodes", "nodes", ""}},
                rows_,
                0};
    if (o_.to == "ort" && o_.files.style != "fixed")
      files.columns.push_back({"recorded_fusions", "fusions recorded", ""});
    for (auto& row : files.rows) row.resize(files.columns.size());
    s.tables.push_back(std::move(files));
    return s;
  }

  const ConvertOrtOptions& o_;
  const Streams& streams_;
  Progress progress_;
  OrtPrepareOptions prepare_;
  OrtWriteOptions write_;
  std::vector<std::vector<Scalar>> rows_;
  std::vector<std::string> notes_;
  std::vector<Section> sections_;  // of single models
  StagedFiles staged_;
  OperatorConfig config_{o_.type_reduction};
  std::string config_path_;  // empty: none is asked for
  std::vector<Finding> failures_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<ConvertOrtOptions>();
  add_convert_ort_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->files.to_onnx = options->to == "onnx";
    options->settings_file = settings_file(*app);
    return ConvertOrtCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kConvertOrtCommand{
    "convert-ort", "Write onnxruntime's own format (.ort) for mobile builds, or read it back", add};

}  // namespace onnxtool
