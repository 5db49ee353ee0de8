// onnxtool convert-ort: models in onnxruntime's own format, for builds of it that read no other;
// and back.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <ostream>
#include <set>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/convert_ort_files.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/mobile_report.h"
#include "apps/model_flags.h"
#include "apps/model_output.h"
#include "apps/progress.h"
#include "calib/exec/folder.h"
#include "libopt/analysis/census.h"
#include "libopt/convert/convert_opset.h"
#include "libopt/io/load.h"
#include "libopt/io/save.h"
#include "libopt/ort/config.h"
#include "libopt/ort/prepare.h"
#include "libopt/ort/validate.h"
#include "libopt/ort/write.h"
#include "libopt/rewrite/driver.h"
#include "libopt/support/atomic_file.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

struct Options {
  OrtJobOptions files;
  bool no_clobber = false;
  std::string to = "ort", level = "basic";
  std::string runtime, custom_operators;
  bool allow_failures = false;
  bool ops_config = false, type_reduction = false;
  MobileFlags mobile;
  std::string settings_file;  // empty: none
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  add_text(
      c, o.files.model,
      {"MODEL", "FILE", "Model (.onnx, .ort), or a directory of them; - is stdin", "Arguments"})
      ->required();
  const std::string out = "Output", how = "Conversion";
  add_text(c, o.files.output,
           {"-o,--output", "PATH",
            "The file, or the directory, to write; - is stdout (default: MODEL with .ort)", out});
  add_switch(
      c, o.files.force,
      {"--force", "",
       "Replace existing files of default names; one named with -o is always replaced", out});
  add_switch(c, o.no_clobber, {"--no-clobber", "", "Never replace a file", out});
  add_switch(
      c, o.allow_failures,
      {"--allow-conversion-failures", "", "Of a directory, convert what can be converted", out});
  add_choice(c, o.to, {"--to", "ort|onnx", "The format to write", how});
  add_choice(
      c, o.files.style,
      {"--style", "fixed|runtime|both",
       "Runtime also records fusions for the runtime to do, in NAME.with_runtime_opt.ort", how});
  add_choice(c, o.level,
             {"--level", "disable|basic|extended",
              "What to optimize before; extended also fuses to operators of com.microsoft", how});
  add_text(c, o.runtime,
           {"--runtime", "RELEASE",
            "The oldest release that must load the file: ort-1.13 to ort-1.31 (default: ort-1.31)",
            how});
  add_text(c, o.custom_operators,
           {"--custom-ops", "FILE",
            "Operators of libraries that will be registered: [[operator]] with domain, name and "
            "since_version",
            how});
  const std::string devices = "Builds and devices";
  add_switch(
      c, o.ops_config,
      {"--ops-config", "",
       "Write the operators that a reduced build needs beside the file, or into the directory",
       devices});
  add_switch(
      c, o.type_reduction,
      {"--type-reduction", "", "Write them, with the types that each is used with", devices});
  add_mobile_flags(c, o.mobile, devices);
  add_report_flags(c, o.common);
  add_config_flags(c);
  c.footer(
      "Example: onnxtool convert-ort resnet.onnx -o resnet.ort\nAll models of a directory: "
      "onnxtool convert-ort models/ -o mobile/");
}

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
  ConvertOrtCommand(const Options& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_TRY(settle());
    ONNXTOOL_ASSIGN(const std::vector<OrtJob> jobs, plan_ort_jobs(o_.files));
    const bool to_stdout = jobs[0].outputs[0].path == "-";
    ONNXTOOL_ASSIGN(const auto targets, report_targets(o_.common, to_stdout));
    ONNXTOOL_TRY(plan_config(jobs));
    ONNXTOOL_TRY(check_paths(jobs, targets));
    for (const OrtJob& job : jobs) {
      Status converted = convert(job);
      if (converted.ok()) continue;
      Error error = std::move(converted).error();
      if (!o_.allow_failures || error.code == ErrorCode::kWriteFailed) return error;
      if (error.message.starts_with(job.input + ": "))
        error.message.erase(0, job.input.size() + 2);  // the finding names it
      failures_.push_back(
          {error_name(error.code), "warning", error.message, "", error.hint, job.input, {}});
    }
    if (!config_path_.empty() && failures_.size() < jobs.size())
      ONNXTOOL_TRY(write_text(config_path_, config_.text()));
    progress_.finish();
    if (failures_.size() == jobs.size())
      return Error{ErrorCode::kUnsupported,
                   fmt::format("none of {} models could be converted; the first, {}: {}",
                               jobs.size(), failures_[0].file, failures_[0].message),
                   failures_[0].hint};
    Report report;
    report.command = "convert-ort";
    for (const OrtJob& job : jobs) report.inputs.push_back(job.input);
    report.sections = {section(jobs.size())};
    for (Section& s : mobile_) report.sections.push_back(std::move(s));
    report.findings = failures_;
    ONNXTOOL_TRY(write_reports(report, targets, o_.common, to_stdout, streams_));
    return 0;
  }

 private:
  // The config's name is that of onnxruntime's converter.
  Status plan_config(const std::vector<OrtJob>& jobs) {
    if (!o_.ops_config && !o_.type_reduction) return {};
    if (o_.to == "onnx")
      return Error{ErrorCode::kUsage, "--ops-config: a config belongs to .ort files",
                   "onnxtool ops-config writes it for any model"};
    const std::string name =
        o_.type_reduction ? "required_operators_and_types.config" : "required_operators.config";
    const fs::path first = jobs[0].outputs[0].path;
    if (first == "-")
      return Error{ErrorCode::kUsage, "--ops-config: there is no file to write it beside",
                   "give -o FILE, or use onnxtool ops-config"};
    std::error_code e;
    const bool directory = fs::is_directory(o_.files.model, e);
    const std::string& root = o_.files.output.empty() ? o_.files.model : o_.files.output;
    config_path_ = directory
                       ? (fs::path(root) / name).string()
                       : (first.parent_path() / (first.stem().string() + "." + name)).string();
    if (!o_.files.force && fs::exists(config_path_, e))
      return Error{ErrorCode::kUsage, config_path_ + ": the config's default name exists",
                   "--force replaces it"};
    return {};
  }

  // What flags say, before any file is looked at.
  Status settle() {
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

  Status check_paths(const std::vector<OrtJob>& jobs,
                     const std::vector<ReportTarget>& targets) const {
    std::vector<NamedPath> inputs = {{"--custom-ops", o_.custom_operators},
                                     {"--config", o_.settings_file}};
    // What is written goes first: check_files() opens all but the first to see whether that works.
    std::vector<NamedPath> outputs = {{"the output", jobs[0].outputs[0].path}};
    for (const OrtJob& job : jobs) {
      inputs.push_back({"MODEL", job.input});
      for (const OrtJob::Output& out : job.outputs) {
        SaveOptions save = save_options_for(job);
        ONNXTOOL_TRY(make_parent(out.path));
        ONNXTOOL_TRY(check_target(out.path, save));
        if (&out != &jobs[0].outputs[0]) outputs.push_back({"the output", out.path});
      }
    }
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    if (!config_path_.empty()) outputs.push_back({"--ops-config", config_path_});
    return check_files(inputs, outputs);
  }

  static Status make_parent(const std::string& path) {
    const fs::path parent = fs::path(path).parent_path();
    std::error_code e;
    if (path == "-" || parent.empty() || fs::is_directory(parent, e)) return {};
    fs::create_directories(parent, e);
    if (e)
      return Error{
          ErrorCode::kWriteFailed, parent.string() + ": cannot be made: " + e.message(), {}};
    return {};
  }

  SaveOptions save_options_for(const OrtJob& job) const {
    SaveOptions save;
    save.no_clobber = o_.no_clobber;
    if (job.input != "-") save.protected_files = {job.input};
    return save;
  }

  Status convert(const OrtJob& job) {
    progress_.stage("load");
    ONNXTOOL_ASSIGN(const std::unique_ptr<Model> model, load_model(job.input));
    const int64_t bytes = bytes_on_disk(*model, job.input);
    Status status =
        o_.to == "onnx" ? write_onnx(job, *model, bytes) : write_ort(job, *model, bytes);
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

  Status write_ort(const OrtJob& job, Model& model, int64_t bytes) {
    progress_.stage("optimize");
    promote_initializers(model);
    if (o_.level != "disable") optimize(model);
    progress_.stage("prepare");
    ONNXTOOL_ASSIGN(const auto notes, prepare_for_ort(model, prepare_));
    for (const std::string& note : notes) notes_.push_back(job.input + ": " + note);
    if (o_.mobile.check) add_mobile_section(job, model);
    progress_.stage("write");
    for (const OrtJob::Output& out : job.outputs) {
      OrtWriteOptions write = write_;
      if (out.with_fusions) write.fusions = find_ort_fusions(model.graph());
      if (!config_path_.empty() && !write.fusions.empty())
        config_.add_operator("com.microsoft", 1, "FusedConv");
      ONNXTOOL_ASSIGN(const OrtFile file, lay_out_ort(model, write));
      ONNXTOOL_ASSIGN(AtomicFile target, AtomicFile::create(out.path));
      // A pipe cannot be read again.
      if (out.path == "-") ONNXTOOL_TRY(require_valid_ort(file.flatten()));
      ONNXTOOL_TRY(file.write(target));
      ONNXTOOL_TRY(target.show(require_valid_ort));
      ONNXTOOL_TRY(o_.no_clobber ? target.commit_new() : target.commit());
      if (file.shapes_left_out())
        notes_.push_back(job.input +
                         ": shapes of inner values are left out, since they would pass the "
                         "format's 1,000,000 tables");
      add_row(job.input, out.path, bytes, static_cast<int64_t>(file.size_bytes()), model,
              static_cast<int64_t>(write.fusions.size()));
    }
    if (!config_path_.empty()) ONNXTOOL_TRY(config_.add(model, job.outputs[0].path));
    return {};
  }

  void add_mobile_section(const OrtJob& job, const Model& model) {
    Section s = mobile_section(model, o_.mobile);
    if (!mobile_.empty()) s.key += "_" + std::to_string(mobile_.size() + 1);
    s.title += ": " + job.input;
    mobile_.push_back(std::move(s));
  }

  void optimize(Model& model) const {
    const std::unique_ptr<Folder> folder = make_folder();
    PassContext context;
    context.folder = folder.get();
    context.ort_cpu = o_.level == "extended";
    run_passes(model, optimization_pipeline(context.ort_cpu ? Level::kExtended : Level::kBasic),
               context);
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

  const Options& o_;
  const Streams& streams_;
  Progress progress_;
  OrtPrepareOptions prepare_;
  OrtWriteOptions write_;
  std::vector<std::vector<Scalar>> rows_;
  std::vector<std::string> notes_;
  std::vector<Section> mobile_;  // one a model
  OperatorConfig config_{o_.type_reduction};
  std::string config_path_;  // empty: none is asked for
  std::vector<Finding> failures_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
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
