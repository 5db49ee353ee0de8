// onnxtool quantize: a float model and samples in, an int8 QDQ model out.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/data_flags.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/model_flags.h"
#include "apps/models.h"
#include "apps/progress.h"
#include "apps/quantize_flags.h"
#include "apps/quantize_report.h"
#include "calib/compare/golden.h"
#include "calib/exec/modules.h"
#include "calib/ranges/range_file.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "libopt/io/reread.h"
#include "libopt/io/save.h"
#include "libopt/support/sha256.h"
#include "quant/quantize.h"

namespace onnxtool {
namespace {

// Calibration samples compared with the float model where there is no --eval data.
constexpr int64_t kVerifySamples = 8;

// Whether somebody quantized the model before.
bool has_integer_nodes(const Graph& graph) {
  for (const Node& n : graph.nodes())
    if (n.is("DequantizeLinear") || n.op_type().starts_with("QLinear") || n.is("MatMulInteger") ||
        n.is("ConvInteger") || n.is("DynamicQuantizeLinear"))
      return true;
  return false;
}

// A digest of everything that decides what the samples' values are.
std::string options_digest(const QuantizeFlags& o) {
  Sha256 d;
  const DataFlags& f = o.data;
  for (const std::string& s : {f.format, f.batch_axis, f.preprocess, f.resize, f.crop, f.layout,
                               f.channels, f.scale, f.mean, f.std})
    d.add(s + "\n");
  for (const auto* list : {&f.raw, &f.dims, &f.input_shapes, &o.include, &o.exclude})
    for (const std::string& s : *list) d.add(s + "\n");
  d.add(fmt::format("{} {} {} {}", o.no_equalize, o.preset, o.per_tensor, o.no_opset_change));
  return d.hex();
}

Result<std::string> data_digest(const QuantizeFlags& o, const SampleSource& source) {
  Sha256 d;
  if (o.data.random) {
    d.add(fmt::format("random {} {}", o.data.random, o.data.seed));
    return d.hex();
  }
  for (int64_t i = 0; i < source.size(); ++i) {
    ONNXTOOL_ASSIGN(const Sample s, source.read(i));
    for (const Tensor& t : s.inputs) d.add(t.bytes());
  }
  return d.hex();
}

class QuantizeCommand {
 public:
  QuantizeCommand(const QuantizeFlags& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_ASSIGN(QuantizeOptions options, quantize_options(o_));
    ONNXTOOL_ASSIGN(data_options_, data_options(o_.data));
    ONNXTOOL_ASSIGN(const auto targets, report_targets(o_.common, o_.output.output == "-" && !o_.dry_run));
    if (o_.calib.empty() && o_.data.raw.empty() && o_.data.random == 0 && !o_.dry_run)
      return Error{ErrorCode::kUsage, "no calibration data given",
                   "add --calib PATH; --random N for a first try without data"};
    SaveOptions save = o_.save;
    std::string output;
    if (!o_.dry_run) {
      ONNXTOOL_ASSIGN(output, output_path(o_.output, o_.model, kQuantizedSuffix));
    }
    std::vector<NamedPath> outputs = {{"the output", output}, {"--save-ranges", o_.save_ranges}};
    outputs.push_back({"--external-data", data_path_of(output, save.data_name)});
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    if (!o_.dry_run) ONNXTOOL_TRY(check_target(output, save));
    ONNXTOOL_TRY(check_files(inputs_of(o_), outputs));

    if (!o_.ranges.empty()) {
      ONNXTOOL_ASSIGN(const std::string text, read_text(o_.ranges));
      auto file = load_ranges(text);
      if (!file.ok())
        return Error{file.error().code, o_.ranges + ": " + file.error().message,
                     "give a file that --save-ranges wrote"};
      ranges_ = *std::move(file);
    }

    progress_.stage("load");
    ONNXTOOL_ASSIGN(const std::unique_ptr<Model> original, load_model(o_.model));
    ONNXTOOL_TRY(apply_shapes(*original, o_.data));
    if (Status s = infer_graph(original->graph()); !s.ok())
      return std::move(s).error().at(o_.model);
    ONNXTOOL_TRY(options.include.check(*original));
    ONNXTOOL_TRY(options.exclude.check(*original));
    // Only now the model's own data files are known, and whether the output must have one.
    save.protected_files = payload_files(*original);
    save.external_data |= original->had_external_data;
    if (!o_.dry_run) ONNXTOOL_TRY(check_target(output, save));
    ONNXTOOL_ASSIGN(KernelSets kernels, load_kernel_sets(o_.common.kernels));
    if (!o_.common.quiet)
      for (const std::string& note : kernels.notes) streams_.err << "note: " << note << "\n";
    run_.kernel_sets = kernels.sets;
    run_.threads = effective_threads(o_.common);
    run_.progress = [this](int64_t done, int64_t total) { progress_.update(done, total); };

    progress_.stage("prepare");
    std::unique_ptr<SampleSource> source, eval;
    if (!o_.dry_run) {
      ONNXTOOL_ASSIGN(source, open_data(*original, o_.calib));
      if (!o_.eval.empty()) {
        ONNXTOOL_ASSIGN(eval, open_data(*original, o_.eval));
      }
    }
    if (source) options.input_shapes = shapes_of_first(*original, *source);
    Report report;
    report.command = "quantize";
    report.inputs = {o_.model};
    auto created = Quantizer::create(original->clone(), options);
    if (!created.ok()) {
      if (created.error().code != ErrorCode::kNegative)
        return std::move(created).error().at(o_.model);
      progress_.finish();
      const bool quantized = has_integer_nodes(original->graph());
      return negative(
          report,
          {"nothing-to-quantize", "error", created.error().message, o_.model,
           quantized ? "the model is quantized already: give the float model that it was made from"
                     : "nothing was written: the float model is the better one"},
          targets, output);
    }
    Quantizer quantizer = *std::move(created);
    if (o_.dry_run) {
      progress_.finish();
      report.sections = {model_section(o_.model, *original, quantizer, nullptr, output),
                         quantization_section(quantizer, nullptr)};
      ONNXTOOL_TRY(write_reports(report, targets, o_.common, false, streams_));
      return 0;
    }
    ONNXTOOL_TRY(quantizer.equalize(*source, run_));
    progress_.stage("calibrate");
    ONNXTOOL_TRY(calibrate(quantizer, *original, *source, kernels));
    progress_.stage("quantize");
    ONNXTOOL_ASSIGN(Quantizer::Output result, quantizer.emit(*source, run_));
    stamp(*result.model, *source);

    const Section data = data_section(*source, *original, "Calibration data", "calibration",
                                      "random samples: ranges fit no real data; use --calib for a "
                                      "model that ships");
    std::optional<Section> accuracy, layers;
    bool good = true;
    if (o_.verify == "on") {
      progress_.stage("verify");
      ONNXTOOL_TRY(
          verify(*original, quantizer, result, *source, eval.get(), accuracy, layers, good));
    }
    SavedFiles saved;
    if (good) {
      progress_.stage("write");
      ONNXTOOL_ASSIGN(saved, save_model(*result.model, output, save));
    }
    progress_.finish();
    report.sections.push_back(
        model_section(o_.model, *original, quantizer, good ? &saved : nullptr, output));
    report.sections.push_back(data);
    report.sections.push_back(quantization_section(quantizer, &result));
    if (accuracy) report.sections.push_back(*std::move(accuracy));
    if (layers) report.sections.push_back(*std::move(layers));
    report.sections.push_back(timing_section(progress_));
    if (!good)
      return negative(
          report,
          {"new-non-finite", "error",
           "the quantized model gives NaN or infinities where the float model does not", output,
           "nothing was written; leave the layers with the largest error in float with --exclude"},
          targets, output);
    ONNXTOOL_TRY(write_reports(report, targets, o_.common, output == "-", streams_));
    return 0;
  }

 private:
  // It ran, and the answer is no: a report with the reason.
  Result<int> negative(Report& report, Finding why, const std::vector<ReportTarget>& targets,
                       const std::string& output) {
    report.status = "negative";
    report.exit_code = o_.common.exit_zero ? 0 : 1;
    report.findings.push_back(std::move(why));
    ONNXTOOL_TRY(write_reports(report, targets, o_.common, output == "-", streams_));
    return report.exit_code;
  }

  // Nothing where the sample cannot be read: calibration will say what is wrong with it.
  static std::map<std::string, std::vector<int64_t>> shapes_of_first(const Model& model,
                                                                     const SampleSource& source) {
    std::map<std::string, std::vector<int64_t>> shapes;
    const auto specs = input_specs(model);
    const auto sample = source.read(0);
    if (!specs.ok() || !sample.ok()) return shapes;
    for (size_t i = 0; i < specs->size() && i < sample->inputs.size(); ++i)
      shapes[(*specs)[i].name] = sample->inputs[i].dims();
    return shapes;
  }

  Result<std::unique_ptr<SampleSource>> open_data(const Model& model, const std::string& path) {
    ONNXTOOL_ASSIGN(const auto specs, input_specs(model));
    if (path.empty() && o_.data.random)
      return open_random(o_.data.random, o_.data.seed, specs, integer_bounds(model));
    return open_source(path, data_options_, specs);
  }

  Status calibrate(Quantizer& quantizer, const Model& original, const SampleSource& source,
                   const KernelSets& kernels) {
    RangeKey key;
    if (!o_.ranges.empty() || !o_.save_ranges.empty()) {
      key.model = model_digest(original);
      ONNXTOOL_ASSIGN(key.data, data_digest(o_, source));
      key.options = options_digest(o_);
      key.kernel_set = std::string(kernels.sets[0]->name);
      key.isa = std::string(kernels.sets[0]->isa);
    }
    if (ranges_) {
      if (Status s = check_ranges(*ranges_, key); !s.ok())
        return std::move(s).error().at(o_.ranges);
      return quantizer.use_summaries(ranges_->tensors);
    }
    ONNXTOOL_TRY(quantizer.calibrate(source, run_, !o_.save_ranges.empty()));
    if (o_.save_ranges.empty()) return {};
    RangeFile file;
    file.key = std::move(key);
    file.samples = static_cast<uint64_t>(source.size());
    file.tensors = quantizer.summaries();
    return write_text(o_.save_ranges, save_ranges(file));
  }

  // Random calibration must not pass for a real one: the model says so itself.
  void stamp(Model& model, const SampleSource& source) const {
    model.producer_name = "onnxtool";
    model.producer_version = ONNXTOOL_VERSION;
    const SourceDescription d = source.describe();
    if (d.random)
      model.metadata.emplace_back("onnxtool.calibration",
                                  fmt::format("random {} seed {}", d.count, d.seed));
  }

  Status verify(const Model& original, const Quantizer& quantizer, const Quantizer::Output& result,
                const SampleSource& calibration, const SampleSource* eval,
                std::optional<Section>& accuracy, std::optional<Section>& layers, bool& good) {
    // What is judged is what a reader of the file gets: the model goes through its bytes first.
    ONNXTOOL_ASSIGN(const std::unique_ptr<Model> loaded, reread(*result.model));
    ONNXTOOL_TRY(infer_graph(loaded->graph()));
    for (const Node& n : loaded->graph().nodes())
      if (Status s = check_node(n); !s.ok()) return std::move(s).error().at("the quantized model");
    const SampleSource& source = eval ? *eval : calibration;
    ComparisonOptions options;
    options.labelled = eval && eval->has_labels();
    options.max_samples = eval ? -1 : kVerifySamples;
    ONNXTOOL_ASSIGN(const ModelComparison compared,
                    compare_models(original.graph(), loaded->graph(), source, run_, options));
    accuracy = accuracy_section(compared,
                                eval                       ? o_.eval
                                : source.describe().random ? "random data"
                                                           : "the calibration data",
                                options.labelled);
    for (const auto& [name, metrics] : compared.outputs) {
      if (metrics.samples() == 0)
        return Error{ErrorCode::kBadData, "output '" + name + "' was compared on no sample", {}};
      if (metrics.total().all.non_finite_mismatches > 0 || !metrics.failures().empty())
        good = false;
    }
    std::vector<LayerPair> pairs;
    for (const LayerPair& pair : result.layers)
      if (const Value* v = loaded->graph().find(pair.test->name()))
        pairs.push_back({pair.reference, v});
    LayerOptions by_layer;
    by_layer.max_samples = std::min<int64_t>(kVerifySamples, calibration.size());
    RunOptions quiet = run_;
    quiet.progress = nullptr;
    ONNXTOOL_ASSIGN(auto errors, compare_layers(quantizer.prepared().graph(), loaded->graph(),
                                                pairs, nullptr, calibration, quiet, by_layer));
    layers = layers_section(std::move(errors), by_layer.max_samples);
    return {};
  }

  const QuantizeFlags& o_;
  const Streams& streams_;
  DataOptions data_options_;
  std::optional<RangeFile> ranges_;
  Progress progress_;
  RunOptions run_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<QuantizeFlags>();
  add_quantize_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->save = save_options(*app, options->output);
    options->settings_file = settings_file(*app);
    return QuantizeCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kQuantizeCommand{
    "quantize", "Make an int8 model from a float model and calibration samples", add};

}  // namespace onnxtool
