#include "apps/quantize_flags.h"

#include <charconv>

#include <algorithm>
#include <span>
#include <utility>

#include "apps/config.h"
#include "libopt/ir/code_type.h"
#include "libopt/target/target.h"
#include "quant/float8.h"

namespace onnxtool {

void add_quantize_flags(CLI::App& c, QuantizeFlags& o) {
  add_text(c, o.model, {"MODEL", "FILE", "Float model (.onnx); - is stdin", "Arguments"})
      ->required();
  const std::string out = "Output", data = "Data", how = "Quantization", ranges = "Ranges",
                    mode = "Mode (default: static, with calibration samples)",
                    blocks = "Weight-only";
  add_output_flags(c, o.output, kQuantizedSuffix, "int8 model");
  add_choice(
      c, o.verify,
      {"--verify", "on|off", "Run the result against the float model before it is written", out});
  add_text(c, o.emit_recipe,
           {"--emit-recipe", "FILE", "Write settings that repeat this run, for --config", out});
  add_switch(
      c, o.dry_run,
      {"--dry-run", "", "Say what would run on integers; no data needed, nothing is written", out});
  add_switch(c, o.dry_run, {"--explain", "", "Same as --dry-run", out});
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
  add_switch(
      c, o.dynamic,
      {"--dynamic", "",
       "Integer weights, and activations quantized while the model runs: MatMul, Gemm, LSTM and "
       "Gather; needs no data",
       mode});
  add_switch(c, o.weight_only,
             {"--weight-only", "",
              "Weights of MatMul, Gemm and Gather as integers, activations in float; needs no data",
              mode});
  add_choice(
      c, o.to,
      {"--to", "fp16|bf16",
       "16-bit floats instead of integers; --calib is optional and tells which values fit", mode});
  add_switch(c, o.keep_io_types,
             {"--keep-io-types", "", "With --to: inputs and outputs stay float32", mode});
  add_choice(c, o.calibrator,
             {"--calibrator", "auto|minmax|moving-average|percentile|entropy|mse",
              "How ranges are chosen; auto measures the others and takes the best", how});
  add_number(c, o.percentile, 0, 100,
             {"--percentile", "P",
              "Share of the values inside the range, for the percentile calibrator", how});
  add_choice(
      c, o.format,
      {"--format", "qdq|qoperator",
       "Write Q and DQ around float operators (the default), or integer operators (the default of "
       "--weight-only); without data: convert a quantized model",
       how});
  add_choice(
      c, o.activation_type,
      {"--activation-type", "u8|s8|u16|s16|fp8e4m3fn",
       "Type of activations; 16 bits and 8-bit floats where the target has them (default: s8 for "
       "tensorrt, fp8e4m3fn with weights of 8-bit floats)",
       how});
  add_choice(c, o.weight_type,
             {"--weight-type", "s8|u8|s4|u4|s16|fp8e4m3fn|fp8e5m2",
              "Type of weights; 4 bits for --weight-only, and what the target has. With "
              "--weight-only, unsigned types are asymmetric",
              how});
  add_switch(
      c, o.symmetric,
      {"--symmetric", "",
       "Symmetric activations (behind Relu and Clip the zero point stays at the lowest code); with "
       "--weight-only symmetric weights",
       how});
  add_switch(c, o.per_tensor,
             {"--per-tensor", "", "One weight scale per tensor instead of one per channel", how});
  add_switch(c, o.equalize,
             {"--equalize", "",
              "Even out hidden channels by powers of two wherever that is predicted to help "
              "(default: where it helps much)",
              how});
  add_switch(c, o.no_equalize, {"--no-equalize", "", "Do not even out hidden channels", how})
      ->excludes(c.get_option("--equalize"));
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
  add_list(c, o.include,
           {"--include", "SELECTOR",
            "Quantize only these of Conv, Gemm and MatMul: op:TYPE, name:GLOB, tensor:GLOB, "
            "between:FROM,TO, or @FILE with one a line",
            how});
  add_list(c, o.exclude, {"--exclude", "SELECTOR", "Leave these nodes in float", how});
  add_list(c, o.overrides,
           {"--override", "SELECTOR:KEY=VALUE",
            "Something else for these layers and tensors: type=float, weights=per-tensor, "
            "weight-type=u8, activation-type=u16, calibrator=NAME, percentile=P, range=MIN,MAX, "
            "symmetric=yes",
            how});
  const std::string accuracy = "Accuracy";
  add_text(
      c, o.accuracy_target,
      {"--accuracy-target", "METRIC=LIMIT",
       "Improve what all layers have, then put layers back into float, until sqnr=DB, kl=NATS or "
       "drop=POINTS holds (on --eval, else on --calib), or exit with 1",
       accuracy});
  add_switch(c, o.bias_correction,
             {"--bias-correction", "",
              "Take what layers are off on average off their biases, where that helps", accuracy});
  add_switch(c, o.adaround,
             {"--adaround", "",
              "Round weights up or down by what that does to each layer's output (AdaRound), where "
              "that helps",
              accuracy});
  add_switch_with_value(
      c, o.smooth,
      {"--smooth", "STRENGTH",
       "Make channels that reach far smaller before MatMul and Gemm read them (SmoothQuant), "
       "between 0 and 1 of the way (default: for each tensor what is predicted to be best)",
       accuracy});
  add_integer<int64_t>(
      c, o.block_size, 0, 256,
      {"--block-size", "N",
       "Weights that share a scale: 16, 32, 64, 128 or 256 (default: 32 with 4 bits; with 8 bits "
       "128, or with --format qdq an output channel)",
       blocks});
  add_integer<int64_t>(
      c, o.accuracy_level, 0, 4,
      {"--accuracy-level", "N", "Of MatMulNBits: 4 multiplies in int8, which is faster; 0 in float",
       blocks});
  add_switch(c, o.gptq,
             {"--gptq", "",
              "Choose codes so that each makes up for the errors of others (GPTQ); needs --calib",
              blocks});
  add_switch(c, o.awq,
             {"--awq", "",
              "Scale channels, so that weights that meet large inputs are rounded more finely "
              "(AWQ); needs --calib",
              blocks});
  add_text(c, o.save_ranges,
           {"--save-ranges", "FILE",
            "Write what calibration learnt: counts of every tensor's values", ranges});
  add_choice(c, o.ranges_format,
             {"--ranges-format", "onnxtool|ort|trt",
              "What --save-ranges writes: counts, or the ranges that were chosen as onnxruntime's "
              "calibration JSON or a TensorRT calibration cache (which imply --no-equalize)",
              ranges});
  CLI::Option* given = add_text(
      c, o.ranges,
      {"--ranges", "FILE",
       "Take what --save-ranges wrote instead of running the samples; or ranges of onnxruntime "
       "(JSON) or TensorRT (calibration cache)",
       ranges});
  add_text(
      c, o.shard,
      {"--shard", "I/N",
       "Only calibrate, on part I of N (from 0), and save the counts for `ranges merge`", ranges})
      ->excludes(given);
  add_common_flags(c, o.common);
  add_precision_flag(c, o.common);
  add_device_flag(c, o.common);
  add_config_flags(c);
  c.footer(
      "Example: onnxtool quantize resnet.onnx --calib images/ --preprocess imagenet -o "
      "resnet.int8.onnx");
}

namespace {

constexpr std::pair<std::string_view, DataType> kTypes[] = {{"u8", DataType::kUint8},
                                                            {"s8", DataType::kInt8},
                                                            {"u16", DataType::kUint16},
                                                            {"s16", DataType::kInt16},
                                                            {"u4", DataType::kUint4},
                                                            {"s4", DataType::kInt4},
                                                            {"fp8e4m3fn", DataType::kFloat8E4M3FN},
                                                            {"fp8e5m2", DataType::kFloat8E5M2}};

std::string name_of(DataType type) {
  for (const auto& [text, t] : kTypes)
    if (t == type) return std::string(text);
  return std::string(name(type));
}

Error no_kernels(const Target& target, DataType type, std::span<const DataType> has,
                 const std::string& what) {
  std::string list;
  for (const DataType t : has) list += (list.empty() ? "" : ", ") + name_of(t);
  const bool narrow = what == "weights" && bits_of(type) == 4;
  return {ErrorCode::kUsage,
          "--target " + std::string(target.name) + " does not run " + what + " of type " +
              name_of(type) + (is_quantized_float(type) ? "" : " on integers"),
          "it has " + list + (narrow ? "; or add --weight-only" : "")};
}

// What the flag says, or the target's usual type.
Result<DataType> type_of(const QuantizeFlags& o, std::string_view flag, const std::string& text,
                         std::span<const DataType> has, const std::string& what) {
  if (!o.given.contains(flag)) return has[0];
  const auto* given =
      std::ranges::find(kTypes, text, &std::pair<std::string_view, DataType>::first);
  if (std::ranges::find(has, given->second) == has.end())
    return no_kernels(*find_target(o.target), given->second, has, what);
  return given->second;
}

// 8-bit floats are multiplied by 8-bit floats alone: a flag for one side means both.
Status settle_float8(const QuantizeFlags& o, QuantizeOptions& q) {
  const bool data = is_quantized_float(q.activation_type),
             weights = is_quantized_float(q.weight_type);
  if (data == weights && !data) return {};
  if (data != weights && o.given.contains(data ? "--weight-type" : "--activation-type"))
    return Error{ErrorCode::kUsage,
                 name_of(q.activation_type) + " activations with " + name_of(q.weight_type) +
                     " weights run on no kernel",
                 "8-bit floats go with 8-bit floats: leave out one of both flags"};
  q.activation_type = DataType::kFloat8E4M3FN;
  if (!weights) q.weight_type = DataType::kFloat8E4M3FN;
  const char* other = o.adaround                  ? "--adaround"
                      : !o.preset.empty()         ? "--preset"
                      : o.format == "qoperator"   ? "--format qoperator"
                      : o.calibrator == "entropy" ? "--calibrator entropy"
                                                  : nullptr;
  if (other)
    return Error{ErrorCode::kUsage, std::string(other) + " is for integers, not for 8-bit floats",
                 "leave out one of both"};
  return {};
}

// Of --smooth.
Result<Smoothing> smoothing_of(const std::string& text) {
  if (text.empty()) return Smoothing{};
  double strength = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, strength);
  if (parsed.ec == std::errc() && parsed.ptr == end && strength > 0 && strength < 1)
    return Smoothing{strength};
  return Error{ErrorCode::kUsage, "--smooth: '" + text + "' is no number between 0 and 1",
               "as in --smooth=0.5; without a value it is chosen for each tensor"};
}

}  // namespace

Result<Form> form_of(const QuantizeFlags& o) {
  if (o.format != "qoperator") return Form::kQdq;
  if (has_integer_operators(*find_target(o.target))) return Form::kQOperator;
  return Error{ErrorCode::kUsage, "--target " + o.target + " has no integer operators",
               "leave out --format: it reads QuantizeLinear and DequantizeLinear"};
}

Result<QuantizeOptions> quantize_options(const QuantizeFlags& o) {
  QuantizeOptions q;
  q.target = find_target(o.target);
  ONNXTOOL_ASSIGN(q.activation_type, type_of(o, "--activation-type", o.activation_type,
                                             q.target->data_types, "activations"));
  ONNXTOOL_ASSIGN(q.weight_type,
                  type_of(o, "--weight-type", o.weight_type, q.target->weight_types, "weights"));
  ONNXTOOL_TRY(settle_float8(o, q));
  if (q.activation_type == DataType::kInt8 && q.weight_type == DataType::kUint8)
    return Error{ErrorCode::kUsage, "s8 activations with u8 weights run on no integer kernel",
                 "use --weight-type s8"};
  ONNXTOOL_ASSIGN(q.form, form_of(o));
  if (q.form == Form::kQOperator && !(is_8bit(q.activation_type) && is_8bit(q.weight_type)))
    return Error{ErrorCode::kUsage,
                 "--format qoperator: there are no integer operators of " +
                     name_of(is_8bit(q.activation_type) ? q.weight_type : q.activation_type),
                 "leave it out, or take types of 8 bits"};
  q.activation_symmetric = o.symmetric;
  q.per_channel = !o.per_tensor;
  q.equalize = !o.no_equalize;
  q.equalize_small_gains = o.equalize;
  if (o.given.contains("--smooth")) {
    ONNXTOOL_ASSIGN(q.smooth, smoothing_of(o.smooth));
  }
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
  q.calibrator.options.ort_compat = q.ort_compat;
  ONNXTOOL_ASSIGN(q.include, Selection::parse(o.include));
  ONNXTOOL_ASSIGN(q.exclude, Selection::parse(o.exclude));
  ONNXTOOL_ASSIGN(q.overrides, Overrides::parse(o.overrides));
  for (const DataType t : q.overrides.weight_types()) {
    if (std::ranges::find(q.target->weight_types, t) == q.target->weight_types.end())
      return no_kernels(*q.target, t, q.target->weight_types, "weights");
    if (is_quantized_float(q.weight_type))
      return Error{ErrorCode::kUsage,
                   "--override weight-type: layers of 8-bit floats have no other",
                   "leave it out; type=float leaves a layer alone"};
    if (q.activation_type == DataType::kInt8 && t == DataType::kUint8)
      return Error{
          ErrorCode::kUsage,
          "--override weight-type=u8: s8 activations with u8 weights run on no integer kernel",
          "use s8"};
  }
  for (const DataType t : q.overrides.activation_types()) {
    if (std::ranges::find(q.target->data_types, t) == q.target->data_types.end())
      return no_kernels(*q.target, t, q.target->data_types, "activations");
    if (is_quantized_float(q.activation_type))
      return Error{ErrorCode::kUsage,
                   "--override activation-type: a model of 8-bit floats has no other",
                   "leave it out; type=float leaves a layer alone"};
  }
  // Counts that are kept serve later runs as well, whatever these leave in float.
  const bool keeps_counts =
      !o.save_ranges.empty() && o.ranges.empty() && o.ranges_format == "onnxtool";
  q.may_leave_in_float = !o.accuracy_target.empty() || keeps_counts;
  return q;
}

std::vector<NamedPath> inputs_of(const QuantizeFlags& o) {
  std::vector<NamedPath> in = {{"MODEL", o.model},     {"--calib", o.calib},
                               {"--eval", o.eval},     {"--labels", o.data.labels},
                               {"--ranges", o.ranges}, {"--config", o.settings_file}};
  for (const std::string& raw : o.data.raw) in.push_back({"--raw", raw.substr(raw.rfind('=') + 1)});
  for (const auto* list : {&o.include, &o.exclude, &o.overrides})
    for (const std::string& selector : *list)
      if (selector.starts_with("@"))
        in.push_back({"selector", selector.substr(1, list == &o.overrides ? selector.rfind(':') - 1
                                                                          : std::string::npos)});
  return in;
}

}  // namespace onnxtool
