// onnxtool quantize: a float model and samples in, an int8 QDQ model out.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/data_flags.h"
#include "apps/model_flags.h"
#include "apps/progress.h"
#include "calib/exec/modules.h"
#include "calib/ranges/range_file.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/decode.h"
#include "libopt/io/encode.h"
#include "libopt/io/load.h"
#include "libopt/io/save.h"
#include "libopt/support/atomic_file.h"
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
  bool symmetric = false, per_tensor = false, quantize_outputs = false, no_opset_change = false, no_equalize = false;
  std::vector<std::string> include, exclude;
  std::string save_ranges, ranges;
  std::string verify = "on";
  bool dry_run = false, force = false, no_clobber = false;
  std::string external_data;
  bool external = false;
  DataFlags data;
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  c.add_option("MODEL", o.model, "Float model (.onnx); - is stdin")->required();
  c.add_option("-o,--output", o.output, "Output; default: MODEL with .int8.onnx; - is stdout")->type_name("FILE");
  c.add_option("--calib", o.calib, "Calibration samples: images, npy, npz, test_data_set folders, safetensors")->type_name("PATH")->group("Data");
  c.add_option("--eval", o.eval, "Samples to compare both models on; class directories are labels")->type_name("PATH")->group("Data");
  add_data_flags(c, o.data);
  const std::string g = "Quantization";
  c.add_option("--calibrator", o.calibrator, "auto, minmax, percentile, entropy or mse; auto measures mse, percentile and minmax")->capture_default_str()->type_name("NAME")->group(g);
  c.add_option("--percentile", o.percentile, "Share of values inside the range, for --calibrator percentile")->capture_default_str()->type_name("P")->group(g);
  c.add_option("--activation-type", o.activation_type, "u8 or s8")->capture_default_str()->type_name("TYPE")->group(g);
  c.add_option("--weight-type", o.weight_type, "s8 or u8")->capture_default_str()->type_name("TYPE")->group(g);
  c.add_flag("--symmetric", o.symmetric, "Symmetric activations (behind Relu and Clip the zero point stays at the lowest code)")->group(g);
  c.add_flag("--per-tensor", o.per_tensor, "One weight scale per tensor instead of one per channel")->group(g);
  c.add_flag("--no-equalize", o.no_equalize, "Do not even out hidden channels by powers of two")->group(g);
  c.add_flag("--quantize-outputs", o.quantize_outputs, "Quantize graph outputs behind Gemm and MatMul too")->group(g);
  c.add_flag("--no-opset-change", o.no_opset_change, "Keep the opset; per-channel needs 13, so older models get per-tensor")->group(g);
  c.add_option("--preset", o.preset, "ort-compat: onnxruntime's formulas and placement")->type_name("NAME")->group(g);
  c.add_option("--target", o.target, "Runtime that will run the model: ort-cpu")->capture_default_str()->type_name("NAME")->group(g);
  c.add_option("--include", o.include, "Quantize only these Conv, Gemm and MatMul: op:TYPE, name:GLOB, @FILE; repeatable")->type_name("SELECTOR")->group(g);
  c.add_option("--exclude", o.exclude, "Leave these nodes in float; repeatable")->type_name("SELECTOR")->group(g);
  c.add_option("--save-ranges", o.save_ranges, "Write what calibration learnt, for --ranges")->type_name("FILE")->group(g);
  c.add_option("--ranges", o.ranges, "Take ranges from a file of --save-ranges instead of running the samples")->type_name("FILE")->group(g);
  const std::string out = "Output";
  c.add_option("--verify", o.verify, "on: run the result against the float model before it is written; off")->capture_default_str()->type_name("MODE")->group(out);
  c.add_flag("--dry-run", o.dry_run, "Decide and report; calibrate and write nothing")->group(out);
  c.add_option("--external-data", o.external_data, "Put weights into a data file beside the model")->type_name("[NAME]")->expected(0, 1)->group(out);
  c.add_flag("--force", o.force, "Replace an existing file under the default output name")->group(out);
  c.add_flag("--no-clobber", o.no_clobber, "Never replace a file")->group(out);
  add_common_flags(c, o.common);
  add_config_flags(c);
  c.footer("Example:\n  onnxtool quantize resnet.onnx --calib images/ --preprocess imagenet --eval labelled/ -o resnet.int8.onnx");
}

Result<QuantizeOptions> quantize_options(const Options& o) {
  QuantizeOptions q;
  q.target = find_target(o.target);
  if (!q.target) {
    std::string known;
    for (const Target* t : all_targets()) known += (known.empty() ? "known: " : ", ") + std::string(t->name);
    return Error{ErrorCode::kUsage, "unknown target '" + o.target + "'", known};
  }
  const auto type = [](const std::string& flag, const std::string& text) -> Result<DataType> {
    if (text == "u8") return DataType::kUint8;
    if (text == "s8") return DataType::kInt8;
    return Error{ErrorCode::kUsage, flag + ": unknown type '" + text + "'", "known: u8, s8"};
  };
  ONNXTOOL_ASSIGN(q.activation_type, type("--activation-type", o.activation_type));
  ONNXTOOL_ASSIGN(q.weight_type, type("--weight-type", o.weight_type));
  if (q.activation_type == DataType::kInt8 && q.weight_type == DataType::kUint8)
    return Error{ErrorCode::kUsage, "s8 activations with u8 weights run on no integer kernel", "use --weight-type s8"};
  q.activation_symmetric = o.symmetric;
  q.per_channel = !o.per_tensor;
  q.equalize = !o.no_equalize;
  q.quantize_outputs = o.quantize_outputs;
  q.no_opset_change = o.no_opset_change;
  if (o.preset == "ort-compat") {
    q.ort_compat = true;
    q.quantize_outputs = true;
    q.equalize = false;
  } else if (!o.preset.empty()) {
    return Error{ErrorCode::kUsage, "unknown preset '" + o.preset + "'", "known: ort-compat"};
  }
  q.calibrator.automatic = o.calibrator == "auto" && !q.ort_compat;
  if (!q.calibrator.automatic) {
    ONNXTOOL_ASSIGN(q.calibrator.calibrator, parse_calibrator(o.calibrator == "auto" ? "minmax" : o.calibrator));
  }
  q.calibrator.options.percentile = o.percentile;
  ONNXTOOL_ASSIGN(q.include, Selector::parse(o.include));
  ONNXTOOL_ASSIGN(q.exclude, Selector::parse(o.exclude));
  if (o.verify != "on" && o.verify != "off") return Error{ErrorCode::kUsage, "--verify: unknown mode '" + o.verify + "'", "known: on, off"};
  return q;
}

Result<std::string> output_path(const Options& o) {
  if (!o.output.empty()) return o.output;
  if (o.model == "-") return Error{ErrorCode::kUsage, "the model comes from stdin, so its output needs a name", "add -o FILE, or -o - for stdout"};
  fs::path p(o.model);
  p.replace_extension(".int8.onnx");
  if (fs::exists(p) && !o.force) return Error{ErrorCode::kUsage, p.string() + ": exists already", "name it with -o to replace it, or add --force"};
  return p.string();
}

// A digest of everything that decides what the samples' values are.
std::string options_digest(const Options& o) {
  Sha256 d;
  const DataFlags& f = o.data;
  for (const std::string& s : {f.format, f.batch_axis, f.preprocess, f.resize, f.crop, f.layout, f.channels, f.scale, f.mean, f.std}) d.add(s + "\n");
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

Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{ErrorCode::kNotFound, path + ": cannot open", {}};
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

Status write_text(const std::string& path, const std::string& text) {
  ONNXTOOL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  ONNXTOOL_TRY(file.write(std::as_bytes(std::span(text.data(), text.size()))));
  return file.commit();
}

// --- the report --------------------------------------------------------------------------------

Section model_section(const Options& o, const Model& original, const Quantizer& q, const std::string& output, const SavedFiles* saved, uint64_t input_bytes) {
  Section s{"model", "Model", {}, {}, {}, false};
  s.fields.push_back({"input", "input", o.model, ""});
  if (saved) s.fields.push_back({"output", "output", output, ""});
  if (input_bytes) s.fields.push_back({"input_bytes", "size before", static_cast<int64_t>(input_bytes), "bytes"});
  if (saved) s.fields.push_back({"output_bytes", "size after", static_cast<int64_t>(saved->model_bytes + saved->data_bytes), "bytes"});
  if (saved && !saved->data_path.empty()) s.fields.push_back({"external_data", "external data", saved->data_path, ""});
  (void)original;
  const Preparation& p = q.preparation();
  s.fields.push_back({"opset", "opset", p.opset_before == p.opset_after ? fmt::format("{}", p.opset_after) : fmt::format("{} -> {}", p.opset_before, p.opset_after), ""});
  s.fields.push_back({"ir_version", "IR version", p.ir_before == p.ir_after ? fmt::format("{}", p.ir_after) : fmt::format("{} -> {}", p.ir_before, p.ir_after), ""});
  s.fields.push_back({"nodes_prepared", "nodes prepared", fmt::format("{} -> {}", p.nodes_before, p.nodes_after), ""});
  s.notes = p.notes;
  if (q.equalized_pairs()) s.notes.push_back(fmt::format("channels evened out between {} pairs of layers", q.equalized_pairs()));
  return s;
}

Section data_section(const SourceDescription& d, const std::string& title, const std::string& key, const std::vector<InputSummary>& inputs) {
  Section s{key, title, {}, {}, {}, false};
  s.fields.push_back({"format", "format", d.format, ""});
  if (!d.path.empty()) s.fields.push_back({"path", "path", d.path, ""});
  s.fields.push_back({"samples", "samples", d.count, ""});
  if (d.random) s.fields.push_back({"seed", "seed", static_cast<int64_t>(d.seed), ""});
  if (!d.preprocess.empty()) s.fields.push_back({"preprocess", "preprocess", d.preprocess, ""});
  if (!d.labels.empty()) s.fields.push_back({"labels", "labels", fmt::format("{}{}", d.labels[0], d.labels.size() > 1 ? fmt::format(" ... {}", d.labels.back()) : ""), ""});
  for (const InputSummary& i : inputs)
    s.fields.push_back({"first_" + i.name, "first sample, " + i.name, fmt::format("{}{} in [{:.4g}, {:.4g}]", name(i.dtype), format_dims(i.dims), i.min, i.max), ""});
  for (const std::string& line : d.inputs) s.notes.push_back(line);
  if (d.random) s.notes.push_back("random samples: ranges fit no real data; use --calib for a model that ships");
  return s;
}

Section quantization_section(const Quantizer& q, const Quantizer::Output* out) {
  Section s{"quantization", "Quantization", {}, {}, {}, false};
  std::map<std::string, int64_t> kernels, floats;
  Table nodes{"nodes", "", {{"node", "node", ""}, {"op", "op", ""}, {"integer", "integer", ""}, {"kernel", "kernel", ""}, {"reason", "reason", ""}}, {}, 0};
  int64_t integer = 0, in_float = 0;
  for (const NodeDecision& d : q.placement().decisions) {
    ++(d.integer ? integer : in_float);
    if (d.integer) ++kernels[std::string(d.kernel)];
    else ++floats[d.node->op_type() + ": " + d.reason];
    nodes.rows.push_back({d.node->name().empty() && d.node->num_outputs() && d.node->has_output(0) ? d.node->output(0).name() : d.node->name(), d.node->op_type(), d.integer,
                          std::string(d.kernel), std::string(d.reason)});
  }
  s.fields.push_back({"integer_nodes", "nodes on integers", integer, ""});
  s.fields.push_back({"float_nodes", "nodes in float", in_float, ""});
  if (out) {
    std::string predicted;
    for (const auto& [op, count] : out->emitted.predicted.integer_operators) predicted += fmt::format("{}{} {}", predicted.empty() ? "" : ", ", count, op);
    predicted += fmt::format(", {} QuantizeLinear, {} DequantizeLinear", out->emitted.predicted.quantize, out->emitted.predicted.dequantize);
    s.fields.push_back({"predicted_graph", "predicted graph", predicted, ""});
    s.fields.push_back({"calibrator", "calibrator", std::string(name(out->calibrator)), ""});
    Table trials{"trials", "calibrators tried", {{"calibrator", "calibrator", ""}, {"sqnr_db", "SQNR", "dB"}}, {}, 0};
    for (const CalibratorTrial& t : out->trials) trials.rows.push_back({std::string(name(t.calibrator)), t.sqnr_db});
    if (!trials.rows.empty()) s.tables.push_back(std::move(trials));
    Table counts{"predicted", "", {{"op", "operator", ""}, {"count", "count", ""}}, {}, 0};
    for (const auto& [op, count] : out->emitted.predicted.integer_operators) counts.rows.push_back({op, int64_t{count}});
    counts.rows.push_back({std::string("QuantizeLinear"), int64_t{out->emitted.predicted.quantize}});
    counts.rows.push_back({std::string("DequantizeLinear"), int64_t{out->emitted.predicted.dequantize}});
    counts.for_people = false;  // they have the line above
    s.tables.push_back(std::move(counts));
    s.notes = out->emitted.notes;
  }
  Table why{"float_reasons", "in float because", {{"count", "nodes", ""}, {"reason", "operator and reason", ""}}, {}, 12};
  std::vector<std::pair<int64_t, std::string>> ranked;
  for (const auto& [reason, count] : floats) ranked.emplace_back(-count, reason);
  std::sort(ranked.begin(), ranked.end());
  for (const auto& [count, reason] : ranked) why.rows.push_back({-count, reason});
  s.tables.push_back(std::move(why));
  nodes.for_people = false;
  s.tables.push_back(std::move(nodes));
  if (out) {
    Table tensors{"tensors", "", {{"tensor", "tensor", ""}, {"min", "min", ""}, {"max", "max", ""}, {"scale", "scale", ""}, {"zero_point", "zero point", ""}, {"expected_sqnr_db", "expected SQNR", "dB"}}, {}, 0};
    tensors.for_people = false;
    for (const CalibratedTensor& t : out->tensors)
      tensors.rows.push_back({t.name, t.range.min, t.range.max, static_cast<double>(t.params.scale), int64_t{t.params.zero_point}, t.expected_sqnr_db});
    s.tables.push_back(std::move(tensors));
  }
  return s;
}

Section accuracy_section(const ModelComparison& c, const std::string& data, bool labelled) {
  Section s{"accuracy", "Accuracy against the float model", {}, {}, {}, false};
  s.fields.push_back({"data", "compared on", fmt::format("{} samples of {}", c.samples, data), ""});
  if (labelled && c.accuracy.images()) {
    const auto n = static_cast<double>(c.accuracy.images());
    s.fields.push_back({"float_accuracy_percent", "float accuracy", 100 * static_cast<double>(c.accuracy.reference_correct()) / n, "%"});
    s.fields.push_back({"int8_accuracy_percent", "int8 accuracy", 100 * static_cast<double>(c.accuracy.test_correct()) / n, "%"});
    s.fields.push_back({"lost", "images lost", static_cast<int64_t>(c.accuracy.lost().size()), ""});
    s.fields.push_back({"won", "images won", static_cast<int64_t>(c.accuracy.won().size()), ""});
  }
  Table outputs{"outputs", "outputs", {{"output", "output", ""}, {"sqnr_db", "SQNR", "dB"}, {"worst_sample_db", "worst sample", "dB"}, {"max_abs", "max abs error", ""}, {"cosine", "cosine", ""}, {"agreement_percent", "same top-1", "%"}}, {}, 20};
  const auto scalar = [](std::optional<double> v) { return v ? Scalar(*v) : Scalar(); };
  for (const auto& [output, m] : c.outputs) {
    const auto agreement = m.value(Metric::kArgmax);
    outputs.rows.push_back({output, scalar(m.value(Metric::kSqnr)), scalar(m.value(Metric::kSqnrMin)), scalar(m.value(Metric::kMaxAbs)), scalar(m.value(Metric::kCosine)),
                            agreement ? Scalar(100 * *agreement) : Scalar()});
  }
  s.tables.push_back(std::move(outputs));
  return s;
}

Section layers_section(const ModelComparison& c) {
  Section s{"layers", "Layers with the largest error", {}, {}, {}, false};
  Table t{"layers", fmt::format("SQNR so far, on {} samples", c.samples), {{"tensor", "tensor", ""}, {"sqnr_db", "SQNR", "dB"}}, {}, 5};
  std::vector<LayerError> sorted = c.layers;
  std::stable_sort(sorted.begin(), sorted.end(), [](const LayerError& a, const LayerError& b) { return a.sqnr_db < b.sqnr_db; });
  for (const LayerError& l : sorted) t.rows.push_back({l.name, l.sqnr_db});
  s.tables.push_back(std::move(t));
  return s;
}

Section timing_section(const Progress& progress) {
  Section s{"timing", "Time", {}, {}, {}, true};
  for (const auto& [stage, seconds] : progress.times()) {
    std::string key = stage;
    std::replace(key.begin(), key.end(), ' ', '_');
    s.fields.push_back({key + "_s", stage, seconds, "s"});
  }
  return s;
}

// --- the command -------------------------------------------------------------------------------

class QuantizeCommand {
 public:
  QuantizeCommand(const Options& options, const Streams& streams) : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_ASSIGN(const QuantizeOptions options, quantize_options(o_));
    ONNXTOOL_ASSIGN(const auto targets, report_targets(o_.common));
    if (o_.calib.empty() + (o_.data.random == 0) != 1 && !o_.dry_run) {
      if (o_.calib.empty()) return Error{ErrorCode::kUsage, "no calibration data", "add --calib PATH, or --random N for a first try"};
      return Error{ErrorCode::kUsage, "--calib and --random exclude each other", {}};
    }
    SaveOptions save;
    save.external_data = o_.external;
    save.data_name = o_.external_data;
    save.no_clobber = o_.no_clobber;
    if (o_.model != "-") save.protected_files.push_back(o_.model);
    std::string output;
    if (!o_.dry_run) {
      ONNXTOOL_ASSIGN(output, output_path(o_));
      ONNXTOOL_TRY(check_target(output, save));
    }
    progress_.stage("load");
    ONNXTOOL_ASSIGN(std::unique_ptr<Model> original, load_model(o_.model));
    ONNXTOOL_TRY(apply_shapes(*original, o_.data));
    if (Status s = infer_graph(original->graph()); !s.ok()) return std::move(s).error().at(o_.model);
    ONNXTOOL_TRY(options.include.check(*original));
    ONNXTOOL_TRY(options.exclude.check(*original));
    ONNXTOOL_ASSIGN(KernelSets kernels, load_kernel_sets(o_.common.kernels));
    if (!o_.common.quiet)
      for (const std::string& note : kernels.notes) streams_.err << "note: " << note << "\n";
    run_.kernel_sets = kernels.sets;
    run_.threads = effective_threads(o_.common);
    run_.progress = [this](int64_t done, int64_t total) { progress_.update(done, total); };

    progress_.stage("prepare");
    std::unique_ptr<SampleSource> source;
    if (!o_.dry_run) {
      ONNXTOOL_ASSIGN(source, open_data(*original, o_.calib));
    }
    auto created = Quantizer::create(original->clone(), options);
    if (!created.ok()) return std::move(created).error().at(o_.model);
    Quantizer quantizer = *std::move(created);
    Report report;
    report.command = "quantize";
    report.inputs = {o_.model};
    if (o_.dry_run) {
      progress_.finish();
      report.sections = {model_section(o_, *original, quantizer, output, nullptr, 0), quantization_section(quantizer, nullptr)};
      ONNXTOOL_TRY(write_reports(report, targets, o_.common, false, streams_));
      return 0;
    }
    ONNXTOOL_TRY(quantizer.equalize(*source, run_));
    progress_.stage("calibrate");
    ONNXTOOL_TRY(calibrate(quantizer, *original, *source, kernels));
    progress_.stage("quantize");
    ONNXTOOL_ASSIGN(Quantizer::Output result, quantizer.emit(*source, run_));
    stamp(*result.model, *source);

    const Section data = data_section(source->describe(), "Calibration data", "calibration", first_sample(*original, *source));
    std::optional<Section> accuracy, layers;
    int code = 0;
    if (o_.verify == "on") {
      progress_.stage("verify");
      ONNXTOOL_TRY(verify(*original, quantizer, result, *source, accuracy, layers, code));
    }
    if (code == 0) progress_.stage("write");
    SavedFiles saved;
    if (code == 0) {
      ONNXTOOL_ASSIGN(saved, save_model(*result.model, output, save));
    }
    progress_.finish();
    std::error_code ignored;
    const uint64_t input_bytes = o_.model == "-" ? 0 : fs::file_size(o_.model, ignored);
    report.exit_code = o_.common.exit_zero ? 0 : code;
    report.status = code ? "negative" : "ok";
    report.sections.push_back(model_section(o_, *original, quantizer, output, code ? nullptr : &saved, input_bytes));
    report.sections.push_back(data);
    report.sections.push_back(quantization_section(quantizer, &result));
    if (accuracy) report.sections.push_back(*std::move(accuracy));
    if (layers) report.sections.push_back(*std::move(layers));
    report.sections.push_back(timing_section(progress_));
    if (code) report.findings.push_back({"new-non-finite", "error", "the quantized model gives NaN or infinities where the float model does not; nothing was written", output, "exclude the layers named above with --exclude"});
    ONNXTOOL_TRY(write_reports(report, targets, o_.common, output == "-", streams_));
    return report.exit_code;
  }

 private:
  Result<std::unique_ptr<SampleSource>> open_data(const Model& model, const std::string& path) {
    ONNXTOOL_ASSIGN(const auto specs, input_specs(model));
    if (path.empty()) return open_random(o_.data.random, o_.data.seed, specs, integer_bounds(model));
    ONNXTOOL_ASSIGN(const DataOptions options, data_options(o_.data));
    return open_source(path, options, specs);
  }

  Status calibrate(Quantizer& quantizer, const Model& original, const SampleSource& source, const KernelSets& kernels) {
    RangeKey key;
    if (!o_.ranges.empty() || !o_.save_ranges.empty()) {
      key.model = model_digest(original);
      ONNXTOOL_ASSIGN(key.data, data_digest(o_, source));
      key.options = options_digest(o_);
      key.kernel_set = std::string(kernels.sets[0]->name);
      key.isa = std::string(kernels.sets[0]->isa);
    }
    if (!o_.ranges.empty()) {
      ONNXTOOL_ASSIGN(const std::string text, read_text(o_.ranges));
      auto file = load_ranges(text);
      if (!file.ok()) return std::move(file).error().at(o_.ranges);
      if (Status s = check_ranges(*file, key); !s.ok()) return std::move(s).error().at(o_.ranges);
      return quantizer.use_summaries(file->tensors);
    }
    ONNXTOOL_TRY(quantizer.calibrate(source, run_));
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
    if (d.random) model.metadata.emplace_back("onnxtool.calibration", fmt::format("random {} seed {}", d.count, d.seed));
  }

  std::vector<InputSummary> first_sample(const Model& model, const SampleSource& source) const {
    const auto specs = input_specs(model);
    const auto sample = source.read(0);
    return specs.ok() && sample.ok() ? summarize(*specs, *sample) : std::vector<InputSummary>();
  }

  // The model is taken through its bytes, checked and run, before anything is renamed into place.
  Status verify(const Model& original, const Quantizer& quantizer, const Quantizer::Output& result, const SampleSource& calibration,
                std::optional<Section>& accuracy, std::optional<Section>& layers, int& code) {
    for (const Node& n : result.model->graph().nodes())
      if (Status s = check_node(n); !s.ok()) return std::move(s).error().at("the quantized model");
    std::unique_ptr<SampleSource> eval;
    if (!o_.eval.empty()) {
      ONNXTOOL_ASSIGN(eval, open_data(original, o_.eval));
    }
    const SampleSource& source = eval ? *eval : calibration;
    ComparisonOptions options;
    options.labelled = eval && eval->has_labels();
    options.max_samples = eval ? -1 : kVerifySamples;
    ONNXTOOL_ASSIGN(const ModelComparison compared, compare_models(original.graph(), result.model->graph(), source, run_, options));
    accuracy = accuracy_section(compared, eval ? o_.eval : source.describe().random ? "random data" : "the calibration data", options.labelled);
    for (const auto& [name, metrics] : compared.outputs) {
      if (metrics.samples() == 0) return Error{ErrorCode::kBadData, "output '" + name + "' was compared on no sample", {}};
      if (metrics.total().all.non_finite_mismatches > 0 || !metrics.failures().empty()) code = 1;
    }
    ComparisonOptions by_layer;
    by_layer.layers = result.layers;
    by_layer.max_samples = std::min<int64_t>(kVerifySamples, calibration.size());
    RunOptions quiet = run_;
    quiet.progress = nullptr;
    ONNXTOOL_ASSIGN(const ModelComparison layered, compare_models(quantizer.prepared().graph(), result.model->graph(), calibration, quiet, by_layer));
    layers = layers_section(layered);
    return {};
  }

  const Options& o_;
  const Streams& streams_;
  Progress progress_;
  RunOptions run_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->external = app->get_option("--external-data")->count() > 0;
    return QuantizeCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kQuantizeCommand{"quantize", "Make an int8 model from a float model and calibration samples", add};

}  // namespace onnxtool
