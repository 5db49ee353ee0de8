// onnxtool quantize: a float model and samples in, an int8 QDQ model out.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <ostream>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/data_flags.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/model_flags.h"
#include "apps/models.h"
#include "apps/progress.h"
#include "calib/exec/modules.h"
#include "calib/ranges/range_file.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/decode.h"
#include "libopt/io/encode.h"
#include "libopt/io/load.h"
#include "libopt/io/save.h"
#include "libopt/support/sha256.h"
#include "quant/quantize.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

// Calibration samples compared with the float model where there is no --eval data.
constexpr int64_t kVerifySamples = 8;

struct Options {
  std::string model, output, calib, eval;
  std::string calibrator = "auto";
  double percentile = 99.999;
  std::string preset, target = "ort-cpu";
  std::string activation_type = "u8", weight_type = "s8";
  bool symmetric = false, per_tensor = false, quantize_outputs = false, no_opset_change = false,
       no_equalize = false;
  std::vector<std::string> include, exclude;
  std::string save_ranges, ranges;
  std::string verify = "on";
  bool dry_run = false, force = false, no_clobber = false;
  bool external_data = false;
  std::string data_name;
  std::string settings_file;  // empty: none
  DataFlags data;
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  add_text(c, o.model, {"MODEL", "FILE", "Float model (.onnx); - is stdin", "Arguments"})
      ->required();
  const std::string out = "Output", data = "Data", how = "Quantization", ranges = "Ranges";
  add_text(c, o.output,
           {"-o,--output", "FILE",
            "Where the int8 model goes; - is stdout (default: MODEL with .int8.onnx)", out});
  add_switch(
      c, o.force,
      {"--force", "",
       "Replace an existing file of the default name; one named with -o is always replaced", out});
  add_switch(c, o.no_clobber, {"--no-clobber", "", "Never replace a file", out});
  add_switch_with_value(c, o.data_name,
                        {"--external-data", "NAME",
                         "Put weights into a data file beside the model (default name: its own "
                         "with 8 hex digits and .data)",
                         out});
  add_choice(
      c, o.verify,
      {"--verify", "on|off", "Run the result against the float model before it is written", out});
  add_switch(
      c, o.dry_run,
      {"--dry-run", "", "Say what would run on integers; no data needed, nothing is written", out});
  CLI::Option* calib =
      add_text(c, o.calib,
               {"--calib", "PATH",
                "Calibration samples: images, .npy, .npz, safetensors, test_data_set_N", data});
  add_text(c, o.eval,
           {"--eval", "PATH",
            "Samples to compare both models on; class directories are labels (default: calibration "
            "samples)",
            data});
  add_data_flags(c, o.data);
  calib->excludes(c.get_option("--random"));
  add_choice(c, o.calibrator,
             {"--calibrator", "auto|minmax|percentile|entropy|mse",
              "How ranges are chosen; auto measures the others and takes the best", how});
  add_number(c, o.percentile, 0, 100,
             {"--percentile", "P",
              "Share of the values inside the range, for the percentile calibrator", how});
  add_choice(c, o.activation_type, {"--activation-type", "u8|s8", "Type of activations", how});
  add_choice(c, o.weight_type, {"--weight-type", "s8|u8", "Type of weights", how});
  add_switch(
      c, o.symmetric,
      {"--symmetric", "",
       "Symmetric activations (behind Relu and Clip the zero point stays at the lowest code)",
       how});
  add_switch(c, o.per_tensor,
             {"--per-tensor", "", "One weight scale per tensor instead of one per channel", how});
  add_switch(c, o.no_equalize,
             {"--no-equalize", "", "Do not even out hidden channels by powers of two", how});
  add_switch(c, o.quantize_outputs,
             {"--quantize-outputs", "", "Quantize graph outputs behind Gemm and MatMul too", how});
  add_switch(c, o.no_opset_change,
             {"--no-opset-change", "",
              "Keep the opset; per-channel scales need 13, so older models get --per-tensor", how});
  add_choice(
      c, o.preset,
      {"--preset", "ort-compat", "Formulas and placement of onnxruntime's own quantizer", how});
  std::string targets;
  for (const Target* t : all_targets())
    targets += (targets.empty() ? "" : "|") + std::string(t->name);
  add_choice(c, o.target, {"--target", targets, "Runtime that will run the model", how});
  add_list(
      c, o.include,
      {"--include", "SELECTOR",
       "Quantize only these of Conv, Gemm and MatMul: op:TYPE, name:GLOB, or @FILE with one a line",
       how});
  add_list(c, o.exclude, {"--exclude", "SELECTOR", "Leave these nodes in float", how});
  CLI::Option* save_ranges = add_text(
      c, o.save_ranges, {"--save-ranges", "FILE", "Write what calibration learnt", ranges});
  add_text(
      c, o.ranges,
      {"--ranges", "FILE", "Take what --save-ranges wrote instead of running the samples", ranges})
      ->excludes(save_ranges);
  add_common_flags(c, o.common);
  add_config_flags(c);
  c.footer(
      "Example: onnxtool quantize resnet.onnx --calib images/ --preprocess imagenet -o "
      "resnet.int8.onnx");
}

Result<QuantizeOptions> quantize_options(const Options& o) {
  QuantizeOptions q;
  q.target = find_target(o.target);
  const auto type = [](const std::string& text) {
    return text == "u8" ? DataType::kUint8 : DataType::kInt8;
  };
  q.activation_type = type(o.activation_type);
  q.weight_type = type(o.weight_type);
  if (q.activation_type == DataType::kInt8 && q.weight_type == DataType::kUint8)
    return Error{ErrorCode::kUsage, "s8 activations with u8 weights run on no integer kernel",
                 "use --weight-type s8"};
  q.activation_symmetric = o.symmetric;
  q.per_channel = !o.per_tensor;
  q.equalize = !o.no_equalize;
  q.quantize_outputs = o.quantize_outputs;
  q.no_opset_change = o.no_opset_change;
  if (o.preset == "ort-compat") {
    q.ort_compat = true;
    q.quantize_outputs = true;
    q.equalize = false;
  }
  q.calibrator.automatic = o.calibrator == "auto" && !q.ort_compat;
  if (!q.calibrator.automatic) {
    ONNXTOOL_ASSIGN(q.calibrator.calibrator,
                    parse_calibrator(o.calibrator == "auto" ? "minmax" : o.calibrator));
  }
  q.calibrator.options.percentile = o.percentile;
  ONNXTOOL_ASSIGN(q.include, Selector::parse(o.include));
  ONNXTOOL_ASSIGN(q.exclude, Selector::parse(o.exclude));
  return q;
}

Result<std::string> output_path(const Options& o) {
  if (!o.output.empty()) return o.output;
  if (o.model == "-")
    return Error{ErrorCode::kUsage, "the model comes from stdin, so its output needs a name",
                 "add -o FILE, or -o - for stdout"};
  const std::string stem = o.model.ends_with(".onnx") ? o.model.substr(0, o.model.size() - 5)
                                                      : o.model,
                    path = stem + ".int8.onnx";
  std::error_code ignored;
  if (fs::exists(path, ignored) && !o.force)
    return Error{ErrorCode::kUsage, path + ": exists already",
                 "replace it with --force, or name an output with -o"};
  return path;
}

// Whatever is read, so that nothing of it is written.
std::vector<NamedPath> inputs_of(const Options& o) {
  std::vector<NamedPath> in = {{"MODEL", o.model},     {"--calib", o.calib},
                               {"--eval", o.eval},     {"--labels", o.data.labels},
                               {"--ranges", o.ranges}, {"--config", o.settings_file}};
  for (const std::string& raw : o.data.raw) in.push_back({"--raw", raw.substr(raw.rfind('=') + 1)});
  for (const auto* list : {&o.include, &o.exclude})
    for (const std::string& selector : *list)
      if (selector.starts_with("@")) in.push_back({"selector", selector.substr(1)});
  return in;
}

// Whether somebody quantized the model before.
bool has_integer_nodes(const Graph& graph) {
  for (const Node& n : graph.nodes())
    if (n.is("DequantizeLinear") || n.op_type().starts_with("QLinear")) return true;
  return false;
}

// A digest of everything that decides what the samples' values are.
std::string options_digest(const Options& o) {
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

Result<std::string> data_digest(const Options& o, const SampleSource& source) {
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

std::string model_digest(const Model& model) {
  Sha256 d;
  const wire::Rope rope = encode_model(model);
  for (const auto& piece : rope.pieces()) d.add(piece.bytes());
  return d.hex();
}

// Sizes of the model's own file and of the data files that its tensors lie in.
int64_t bytes_of(const Model& model, const std::string& path) {
  std::vector<std::string> files = payload_files(model);
  if (path != "-" && std::find(files.begin(), files.end(), path) == files.end())
    files.push_back(path);
  int64_t sum = 0;
  std::error_code error;
  for (const std::string& f : files)
    if (const auto size = fs::file_size(f, error); !error) sum += static_cast<int64_t>(size);
  return sum;
}

// --- the report --------------------------------------------------------------------------------

Section model_section(const Options& o, const Model& original, const Quantizer& q,
                      const SavedFiles* saved, const std::string& output) {
  Section s{"model", "Model", {}, {}, {}, false};
  const int64_t before = bytes_of(original, o.model);
  s.fields.push_back({"input", "input", o.model, ""});
  if (saved) s.fields.push_back({"output", "output", output, ""});
  if (saved && !saved->data_path.empty())
    s.fields.push_back({"external_data", "external data", saved->data_path, ""});
  if (before) s.fields.push_back({"input_bytes", "size before", before, "bytes"});
  if (saved) {
    const auto after = static_cast<int64_t>(saved->model_bytes + saved->data_bytes);
    s.fields.push_back({"output_bytes", "size after", after, "bytes"});
    if (before)
      s.fields.push_back({"output_percent", "relative size",
                          100 * static_cast<double>(after) / static_cast<double>(before), "%"});
  }
  // People see one line, programs two numbers.
  const auto changed = [&](const std::string& key, const std::string& label, auto before,
                           auto after) {
    s.fields.push_back(
        {key, label,
         before == after ? fmt::format("{}", after) : fmt::format("{} -> {}", before, after), "",
         Audience::kPeople});
    s.fields.push_back(
        {key + "_before", "", static_cast<int64_t>(before), "", Audience::kPrograms});
    s.fields.push_back({key + "_after", "", static_cast<int64_t>(after), "", Audience::kPrograms});
  };
  const Preparation& p = q.preparation();
  changed("opset", "opset", p.opset_before, p.opset_after);
  changed("ir_version", "IR version", p.ir_before, p.ir_after);
  changed("nodes", "nodes after folding", p.nodes_before, p.nodes_after);
  s.notes = p.notes;
  if (q.equalized_pairs())
    s.notes.push_back(fmt::format("channels evened out between {} pair{} of layers",
                                  q.equalized_pairs(), q.equalized_pairs() == 1 ? "" : "s"));
  return s;
}

Section quantization_section(const Quantizer& q, const Quantizer::Output* out) {
  Section s{"quantization", "Quantization", {}, {}, {}, false};
  std::map<std::string, int64_t> kernels, floats;
  Table nodes{"nodes",
              "",
              {{"node", "node", ""},
               {"op", "op", ""},
               {"integer", "integer", ""},
               {"kernel", "kernel", ""},
               {"reason", "reason", ""}},
              {},
              0};
  int64_t integer = 0, in_float = 0;
  for (const NodeDecision& d : q.placement().decisions) {
    ++(d.integer ? integer : in_float);
    if (d.integer)
      ++kernels[std::string(d.kernel)];
    else
      ++floats[d.node->op_type() + ": " + d.reason];
    nodes.rows.push_back({d.node->name().empty() && d.node->num_outputs() && d.node->has_output(0)
                              ? d.node->output(0).name()
                              : d.node->name(),
                          d.node->op_type(), d.integer, std::string(d.kernel),
                          std::string(d.reason)});
  }
  s.fields.push_back({"integer_nodes", "nodes in int8", integer, ""});
  s.fields.push_back({"float_nodes", "nodes in float", in_float, ""});
  if (out) {
    std::string predicted;
    for (const auto& [op, count] : out->emitted.predicted.integer_operators)
      predicted += fmt::format("{}{} {}", predicted.empty() ? "" : ", ", count, op);
    predicted += fmt::format(", {} QuantizeLinear, {} DequantizeLinear",
                             out->emitted.predicted.quantize, out->emitted.predicted.dequantize);
    s.fields.push_back({"predicted_graph", "predicted graph", predicted, "", Audience::kPeople});
    s.fields.push_back({"calibrator", "calibrator", std::string(name(out->calibrator)), ""});
    Table trials{"trials",
                 "calibrators tried",
                 {{"calibrator", "calibrator", ""}, {"sqnr_db", "SQNR", "dB"}},
                 {},
                 0};
    for (const CalibratorTrial& t : out->trials)
      trials.rows.push_back({std::string(name(t.calibrator)), t.sqnr_db});
    if (!trials.rows.empty()) s.tables.push_back(std::move(trials));
    Table counts{"predicted", "", {{"op", "operator", ""}, {"count", "count", ""}}, {}, 0};
    for (const auto& [op, count] : out->emitted.predicted.integer_operators)
      counts.rows.push_back({op, int64_t{count}});
    counts.rows.push_back(
        {std::string("QuantizeLinear"), int64_t{out->emitted.predicted.quantize}});
    counts.rows.push_back(
        {std::string("DequantizeLinear"), int64_t{out->emitted.predicted.dequantize}});
    counts.for_people = false;  // they have the line above
    s.tables.push_back(std::move(counts));
    s.notes = out->emitted.notes;
  }
  Table why{"float_reasons",
            "in float because",
            {{"count", "nodes", ""}, {"reason", "operator and reason", ""}},
            {},
            12};
  std::vector<std::pair<int64_t, std::string>> ranked;
  for (const auto& [reason, count] : floats) ranked.emplace_back(-count, reason);
  std::sort(ranked.begin(), ranked.end());
  for (const auto& [count, reason] : ranked) why.rows.push_back({-count, reason});
  s.tables.push_back(std::move(why));
  nodes.for_people = false;
  s.tables.push_back(std::move(nodes));
  if (out) {
    Table tensors{"tensors",
                  "",
                  {{"tensor", "tensor", ""},
                   {"min", "min", ""},
                   {"max", "max", ""},
                   {"scale", "scale", ""},
                   {"zero_point", "zero point", ""},
                   {"expected_sqnr_db", "expected SQNR", "dB"}},
                  {},
                  0};
    tensors.for_people = false;
    for (const CalibratedTensor& t : out->tensors)
      tensors.rows.push_back({t.name, t.range.min, t.range.max, static_cast<double>(t.params.scale),
                              int64_t{t.params.zero_point}, t.expected_sqnr_db});
    s.tables.push_back(std::move(tensors));
  }
  return s;
}

Section accuracy_section(const ModelComparison& c, const std::string& data, bool labelled) {
  Section s{"accuracy", "Accuracy against the float model", {}, {}, {}, false};
  s.fields.push_back({"data", "compared on", fmt::format("{} samples of {}", c.samples, data), ""});
  if (labelled && c.accuracy.images()) {
    const auto n = static_cast<double>(c.accuracy.images());
    s.fields.push_back({"float_accuracy_percent", "float accuracy",
                        100 * static_cast<double>(c.accuracy.reference_correct()) / n, "%"});
    s.fields.push_back({"int8_accuracy_percent", "int8 accuracy",
                        100 * static_cast<double>(c.accuracy.test_correct()) / n, "%"});
    s.fields.push_back({"lost", "images lost", static_cast<int64_t>(c.accuracy.lost().size()), ""});
    s.fields.push_back({"won", "images won", static_cast<int64_t>(c.accuracy.won().size()), ""});
  }
  Table outputs{"outputs",
                "outputs",
                {{"output", "output", ""},
                 {"sqnr_db", "SQNR", "dB"},
                 {"worst_sample_db", "worst sample", "dB"},
                 {"max_abs", "max abs error", ""},
                 {"cosine", "cosine", ""},
                 {"agreement_percent", "same top-1", "%"}},
                {},
                20};
  const auto scalar = [](std::optional<double> v) { return v ? Scalar(*v) : Scalar(); };
  for (const auto& [output, m] : c.outputs) {
    const auto agreement = m.value(Metric::kArgmax);
    outputs.rows.push_back({output, scalar(m.value(Metric::kSqnr)),
                            scalar(m.value(Metric::kSqnrMin)), scalar(m.value(Metric::kMaxAbs)),
                            scalar(m.value(Metric::kCosine)),
                            agreement ? Scalar(100 * *agreement) : Scalar()});
  }
  s.tables.push_back(std::move(outputs));
  return s;
}

Section layers_section(const ModelComparison& c) {
  Section s{"layers", "Layers with the largest error", {}, {}, {}, false};
  Table t{"layers",
          fmt::format("SQNR so far, on {} samples", c.samples),
          {{"tensor", "tensor", ""}, {"sqnr_db", "SQNR", "dB"}},
          {},
          5};
  std::vector<LayerError> sorted = c.layers;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const LayerError& a, const LayerError& b) { return a.sqnr_db < b.sqnr_db; });
  for (const LayerError& l : sorted) t.rows.push_back({l.name, l.sqnr_db});
  s.tables.push_back(std::move(t));
  return s;
}

// --- the command -------------------------------------------------------------------------------

class QuantizeCommand {
 public:
  QuantizeCommand(const Options& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_ASSIGN(const QuantizeOptions options, quantize_options(o_));
    ONNXTOOL_ASSIGN(data_options_, data_options(o_.data));
    ONNXTOOL_ASSIGN(const auto targets, report_targets(o_.common, o_.output == "-" && !o_.dry_run));
    if (o_.calib.empty() && o_.data.raw.empty() && o_.data.random == 0 && !o_.dry_run)
      return Error{ErrorCode::kUsage, "no calibration data given",
                   "add --calib PATH; --random N for a first try without data"};
    SaveOptions save;
    save.external_data = o_.external_data;
    save.data_name = o_.data_name;
    save.no_clobber = o_.no_clobber;
    std::string output;
    if (!o_.dry_run) {
      ONNXTOOL_ASSIGN(output, output_path(o_));
    }
    std::vector<NamedPath> outputs = {{"the output", output}, {"--save-ranges", o_.save_ranges}};
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    ONNXTOOL_TRY(check_files(inputs_of(o_), outputs));
    if (!o_.dry_run) ONNXTOOL_TRY(check_target(output, save));

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
      report.sections = {model_section(o_, *original, quantizer, nullptr, output),
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
        model_section(o_, *original, quantizer, good ? &saved : nullptr, output));
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

  // The model is checked and run before anything is renamed into place.
  static Result<std::unique_ptr<Model>> read_back(const Model& model) {
    class Bytes final : public Storage {
     public:
      std::string text;
    };
    auto bytes = std::make_shared<Bytes>();
    bytes->text = encode_model(model).flatten();
    ONNXTOOL_ASSIGN(std::unique_ptr<Model> loaded,
                    decode_model({std::as_bytes(std::span(bytes->text)), bytes, nullptr}));
    ONNXTOOL_TRY(infer_graph(loaded->graph()));
    return loaded;
  }

  Status verify(const Model& original, const Quantizer& quantizer, const Quantizer::Output& result,
                const SampleSource& calibration, const SampleSource* eval,
                std::optional<Section>& accuracy, std::optional<Section>& layers, bool& good) {
    // What is judged is what a reader of the file gets: the model goes through its bytes first.
    ONNXTOOL_ASSIGN(const std::unique_ptr<Model> loaded, read_back(*result.model));
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
    ComparisonOptions by_layer;
    for (const LayerPair& pair : result.layers)
      if (const Value* v = loaded->graph().find(pair.test->name()))
        by_layer.layers.push_back({pair.reference, v});
    by_layer.max_samples = std::min<int64_t>(kVerifySamples, calibration.size());
    RunOptions quiet = run_;
    quiet.progress = nullptr;
    ONNXTOOL_ASSIGN(const ModelComparison layered,
                    compare_models(quantizer.prepared().graph(), loaded->graph(), calibration,
                                   quiet, by_layer));
    layers = layers_section(layered);
    return {};
  }

  const Options& o_;
  const Streams& streams_;
  DataOptions data_options_;
  std::optional<RangeFile> ranges_;
  Progress progress_;
  RunOptions run_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->external_data = app->get_option("--external-data")->count() > 0;
    options->settings_file = settings_file(*app);
    return QuantizeCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kQuantizeCommand{
    "quantize", "Make an int8 model from a float model and calibration samples", add};

}  // namespace onnxtool
