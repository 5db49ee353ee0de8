// onnxtool run: a model and samples in, its outputs out.
#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/device_fallback.h"
#include "apps/extremes.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/models.h"
#include "calib/compare/metrics.h"
#include "calib/compare/side.h"
#include "calib/data/leaves.h"
#include "calib/data/write.h"
#include "libopt/analysis/statistics.h"

namespace onnxtool {
namespace {

struct Options {
  std::string model, data, output;
  std::string format = "npy";
  bool force = false;
  std::string settings_file;  // empty: none
  DataFlags data_flags;
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  const std::string data = "Data", out = "Output";
  add_text(c, o.model, {"MODEL", "FILE", "Model (.onnx); - is stdin", "Arguments"})->required();
  add_text(c, o.output,
           {"-o,--output", "DIR", "Directory for the outputs (default: only report them)", out});
  add_choice(
      c, o.format,
      {"--output-format", "npy|safetensors|pb",
       "OUTPUT/SAMPLE.npy, SAMPLE.safetensors, or test_data_set_N with inputs and outputs", out});
  add_switch(c, o.force, {"--force", "", "Replace the directory and all that it holds", out});
  CLI::Option* path = add_text(
      c, o.data,
      {"--data", "PATH", "Samples: images, .npy, .npz, safetensors, test_data_set_N", data});
  add_data_flags(c, o.data_flags);
  path->excludes(c.get_option("--random"));
  add_common_flags(c, o.common);
  add_precision_flag(c, o.common);
  add_device_flag(c, o.common);
  add_config_flags(c);
  c.footer("Example: onnxtool run resnet.onnx --data images/ --preprocess imagenet -o outputs/");
}

// What an output held over all samples.
struct OutputFacts {
  DataType dtype = DataType::kUndefined;
  std::vector<int64_t> dims;  // of the first sample
  bool varies = false;
  int64_t first = -1;  // its index
  ExactExtremes extremes;
  int64_t nan = 0, infinite = 0;

  // Sample order does not matter: the shape shown is that of the lowest index.
  void add(int64_t index, const Datum& value) {
    if (value.is_tensor()) {
      const Tensor& t = value.tensor();
      if (first >= 0) varies |= dims != t.dims() || dtype != t.dtype();
      if (first < 0 || index < first) {
        first = index;
        dims = t.dims();
        dtype = t.dtype();
      }
    }
    for (const Leaf& leaf : leaves_of("", value)) add_elements(leaf.values);
  }

  void add_elements(const Tensor& t) {
    if (!has_statistics(t.dtype())) return;
    const TensorStatistics s = statistics_of(t);
    extremes.add(t, s);
    nan += s.nan;
    infinite += s.infinite;
  }
};

class RunCommand {
 public:
  RunCommand(const Options& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_ASSIGN(const auto targets, report_targets(o_.common, false));
    if (o_.output == "-")
      return Error{ErrorCode::kUsage, "-o -: outputs are a directory of files", "name a directory"};
    ONNXTOOL_TRY(check_is_no_file_name());
    ONNXTOOL_TRY(check_paths(targets));
    progress_.stage("load");
    ONNXTOOL_ASSIGN(const std::unique_ptr<Model> model, open_model(o_.model, o_.data_flags));
    ONNXTOOL_ASSIGN(const auto source, open_samples(*model, o_.data, o_.data_flags));
    ONNXTOOL_ASSIGN(const RunOptions run, run_options(o_.common, progress_, streams_));
    for (const Value* v : model->graph().outputs()) outputs_.push_back({v->name(), v->type()});
    facts_.resize(outputs_.size());
    std::optional<AtomicDirectory> directory;
    if (!o_.output.empty()) {
      ONNXTOOL_ASSIGN(AtomicDirectory made, AtomicDirectory::create(o_.output, o_.force));
      directory.emplace(std::move(made));
      writer_.emplace(*directory, file_format(), outputs_, source->size());
    }
    progress_.stage("run");
    ONNXTOOL_TRY(run_all(*model, *source, run));
    if (directory) {
      progress_.stage("write");
      ONNXTOOL_TRY(directory->commit());
    }
    progress_.finish();
    Report report;
    report.command = "run";
    report.inputs = {o_.model};
    report.sections = {data_section(*source, *model, "Data", "data", "random samples"),
                       outputs_section(*source), timing_section(progress_)};
    return write_reports(report, targets, o_.common, false, streams_);
  }

 private:
  TensorFileFormat file_format() const {
    return o_.format == "npy"  ? TensorFileFormat::kNpy
           : o_.format == "pb" ? TensorFileFormat::kPb
                               : TensorFileFormat::kSafetensors;
  }

  // A form of file asked for by its ending would silently become a directory of that name.
  Status check_is_no_file_name() const {
    for (const auto& [ending, format] : std::initializer_list<std::pair<const char*, const char*>>{
             {".npy", "npy"}, {".npz", "npy"}, {".safetensors", "safetensors"}, {".pb", "pb"}})
      if (o_.output.ends_with(ending))
        return Error{ErrorCode::kUsage,
                     fmt::format("-o {}: outputs are a directory of files", o_.output),
                     fmt::format("name a directory, and its files' form by --output-format {}", format)};
    return {};
  }

  Status check_paths(const std::vector<ReportTarget>& targets) const {
    std::vector<NamedPath> inputs = data_inputs(o_.data, o_.data_flags);
    inputs.push_back({"MODEL", o_.model});
    inputs.push_back({"--config", o_.settings_file});
    ONNXTOOL_TRY(check_output_directory("the output", o_.output, inputs));
    std::vector<NamedPath> outputs = {{"the output", ""}};
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    return check_files(inputs, outputs);
  }

  Status run_all(const Model& model, const SampleSource& source, const RunOptions& run) {
    std::mutex mutex;
    return run_samples(
        model.graph(), {}, source, run,
        [&](int, int64_t index, const Sample& sample, RunContext& context) -> Status {
          std::vector<Datum> outputs;
          ONNXTOOL_TRY(context.run_data(as_data(sample.inputs), &outputs));
          if (writer_)
            ONNXTOOL_TRY(writer_->write(index, sample.id, named_inputs(model, sample), outputs));
          const std::lock_guard lock(mutex);
          for (size_t i = 0; i < outputs.size(); ++i) facts_[i].add(index, outputs[i]);
          if (source.has_labels() && !outputs.empty() && accuracy_note_.empty())
            judge(index, outputs[0], sample.label);
          return {};
        });
  }

  void judge(int64_t index, const Datum& scores, int label) {
    Status judged;
    if (!scores.is_tensor()) {
      judged = Error{
          ErrorCode::kMismatch, std::string("the first output is a ") + scores.kind_name(), {}};
    } else {
      const ConstView view = view_of(scores.tensor());
      judged = accuracy_.add(index, view, view, label);
    }
    if (!judged.ok()) accuracy_note_ = "labels are not used: " + judged.error().message;
  }

  static std::vector<NamedTensor> named_inputs(const Model& model, const Sample& sample) {
    std::vector<NamedTensor> out;
    for (const Value* v : model.graph().inputs())
      if (!v->initializer()) out.push_back({v->name(), sample.inputs[out.size()]});
    return out;
  }

  Section outputs_section(const SampleSource& source) const {
    Section s{"outputs", "Outputs", {}, {}, {}, false};
    if (!o_.output.empty()) s.fields.push_back({"path", "written to", o_.output, ""});
    if (accuracy_note_.empty() && accuracy_.images()) {
      s.fields.push_back({"images", "labelled samples", accuracy_.images(), ""});
      s.fields.push_back({"accuracy_percent", "accuracy",
                          100 * static_cast<double>(accuracy_.reference_correct()) /
                              static_cast<double>(accuracy_.images()),
                          "%"});
    }
    if (!accuracy_note_.empty()) s.notes.push_back(accuracy_note_);
    Table t{"tensors",
            fmt::format("over {} sample{}", source.size(), source.size() == 1 ? "" : "s"),
            {},
            {},
            0};
    t.columns = {{"output", "output", ""}, {"tensor", "tensor", ""}, {"min", "min", ""},
                 {"max", "max", ""},       {"nan", "NaN", ""},       {"infinite", "infinite", ""}};
    const bool named = writer_ && o_.format == "npy";
    if (named) t.columns.push_back({"directory", "directory", ""});
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const OutputFacts& f = facts_[i];
      const std::string type = f.first < 0 ? format_type(outputs_[i].type)
                                           : std::string(name(f.dtype)) + format_dims(f.dims) +
                                                 (f.varies ? " and others" : "");
      t.rows.push_back(
          {outputs_[i].name, type, f.extremes.min(), f.extremes.max(), f.nan, f.infinite});
      if (named) t.rows.back().push_back(writer_->directories()[i]);
    }
    s.tables.push_back(std::move(t));
    return s;
  }

  const Options& o_;
  const Streams& streams_;
  Progress progress_;
  std::vector<NamedType> outputs_;
  std::vector<OutputFacts> facts_;
  std::optional<SampleWriter> writer_;
  ClassAccuracy accuracy_;
  std::string accuracy_note_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->settings_file = settings_file(*app);
    return run_on_device<RunCommand>(*options, streams);
  };
}

}  // namespace

extern constinit const CommandInfo kRunCommand{
    "run", "Run a model on samples; write and describe its outputs", add};

}  // namespace onnxtool
