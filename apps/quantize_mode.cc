#include "apps/quantize_mode.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "libopt/target/target.h"

namespace onnxtool {
namespace {

// Where a flag means something; flags that are not listed do everywhere.
constexpr unsigned kStatic = 1, kDynamic = 2, kWeightOnly = 4, kHalf = 8, kForm = 16;
constexpr unsigned kChoosesNodes = kStatic | kDynamic | kWeightOnly | kHalf;
struct FlagModes {
  std::string_view flag;
  unsigned modes;
};
constexpr FlagModes kFlags[] = {
    {"--calibrator", kStatic},
    {"--calib-precision", kStatic | kWeightOnly},
    {"--percentile", kStatic},
    {"--activation-type", kStatic},
    {"--quantize-outputs", kStatic},
    {"--equalize", kStatic},
    {"--no-equalize", kStatic},
    {"--preset", kStatic},
    {"--save-ranges", kStatic},
    {"--ranges", kStatic},
    {"--per-tensor", kStatic | kDynamic},
    {"--ranges-format", kStatic},
    {"--shard", kStatic},
    {"--include", kChoosesNodes},
    {"--exclude", kChoosesNodes},
    {"--override", kStatic},
    {"--bias-correction", kStatic},
    {"--smooth", kStatic},
    {"--adaround", kStatic},
    {"--symmetric", kStatic | kWeightOnly},
    {"--format", kStatic | kWeightOnly | kForm},
    {"--weight-type", kStatic | kDynamic | kWeightOnly},
    {"--no-opset-change", kChoosesNodes},
    {"--dynamic", kDynamic},
    {"--weight-only", kWeightOnly},
    {"--keep-io-types", kHalf},
    {"--block-size", kWeightOnly},
    {"--accuracy-level", kWeightOnly},
    {"--gptq", kWeightOnly},
    {"--awq", kWeightOnly},
};

struct Mode {
  QuantizeMode mode;
  unsigned bit;
  std::string_view name;  // in messages
};
constexpr Mode kModes[] = {{QuantizeMode::kStatic, kStatic, "static quantization"},
                           {QuantizeMode::kDynamic, kDynamic, "--dynamic"},
                           {QuantizeMode::kWeightOnly, kWeightOnly, "--weight-only"},
                           {QuantizeMode::kHalf, kHalf, "--to"},
                           {QuantizeMode::kForm, kForm, "--format where there is no data"}};

std::string names_of(unsigned modes) {
  std::string out;
  for (const Mode& m : kModes)
    if (m.bit & modes & ~kForm) out += (out.empty() ? "" : " and ") + std::string(m.name);
  return out;
}

QuantizeMode mode_of(const QuantizeFlags& flags) {
  if (!flags.to.empty()) return QuantizeMode::kHalf;
  if (flags.weight_only) return QuantizeMode::kWeightOnly;
  if (flags.dynamic) return QuantizeMode::kDynamic;
  const bool converts =
      !flags.format.empty() && !data_given(flags) && !flags.dry_run && flags.ranges.empty();
  return converts ? QuantizeMode::kForm : QuantizeMode::kStatic;
}

// Flags that other flags leave nothing to do.
struct Rule {
  std::vector<std::string_view> flags;
  bool (*idle)(const QuantizeFlags&, QuantizeMode);
  std::string_view why, hint;
};

bool takes_percentile(const QuantizeFlags& o) {
  const bool automatic = o.calibrator == "auto" && o.preset.empty();
  return automatic || o.calibrator == "percentile" ||
         std::ranges::any_of(o.overrides,
                             [](const auto& t) { return t.ends_with(":calibrator=percentile"); });
}

const std::vector<Rule>& rules() {
  using Flags = QuantizeFlags;
  using Mode = QuantizeMode;
  static const std::vector<Rule> all = {
      {{"--data-format", "--batch-axis", "--preprocess", "--resize", "--crop", "--layout",
        "--channels", "--scale", "--mean", "--std"},
       [](const Flags& o, Mode) {
         return o.calib.empty() && o.eval.empty() && o.data.raw.empty() && !o.dry_run;
       },
       "says how samples are read, and there are none",
       "add --calib PATH or --eval PATH"},
      {{"--labels"},
       [](const Flags& o, Mode) { return o.eval.empty() && !o.dry_run; },
       "labels the samples of --eval, and there are none",
       "add --eval PATH; what calibrates needs no labels"},
      {{"--percentile"},
       [](const Flags& o, Mode) { return !takes_percentile(o); },
       "is for the calibrator percentile, which nothing asks for",
       "add --calibrator percentile"},
      {{"--eval"},
       [](const Flags& o, Mode m) {
         return o.verify == "off" && (m != Mode::kDynamic || data_given(o));
       },
       "gives samples to judge the result on, which --verify off leaves out",
       "leave out one of them"},
      {{"--accuracy-level"},
       [](const Flags& o, Mode) {
         return o.format == "qdq" || !find_target(o.target)->is_onnxruntime;
       },
       "is of MatMulNBits, which this run does not write",
       "leave it out, or --format qdq and --target"},
      {{"--equalize"},
       [](const Flags& o, Mode) { return !o.preset.empty(); },
       "has no meaning with --preset, which leaves channels as they are",
       "leave out one of them"},
      {{"--eval", "--verify", "--bias-correction", "--adaround", "--external-data"},
       [](const Flags& o, Mode) { return !o.shard.empty(); },
       "is about a model, and --shard makes none",
       "give it to the run that takes the joined counts"},
  };
  return all;
}

}  // namespace

Result<QuantizeMode> quantize_mode(const QuantizeFlags& flags) {
  if (flags.dynamic && flags.weight_only)
    return Error{ErrorCode::kUsage, "--dynamic and --weight-only exclude each other",
                 "--weight-only leaves activations in float, --dynamic does not"};
  if (!flags.to.empty() && (flags.dynamic || flags.weight_only))
    return Error{
        ErrorCode::kUsage,
        std::string(flags.dynamic ? "--dynamic" : "--weight-only") + " and --to exclude each other",
        "one makes integers, the other 16-bit floats"};
  const QuantizeMode mode = mode_of(flags);
  const Mode& m = *std::ranges::find(kModes, mode, &Mode::mode);
  for (const FlagModes& f : kFlags)
    if (flags.given.contains(f.flag) && !(f.modes & m.bit))
      return Error{
          ErrorCode::kUsage, std::string(f.flag) + " has no meaning with " + std::string(m.name),
          "it is for " + names_of(f.modes) +
              (mode == QuantizeMode::kForm && f.modes & kStatic ? ": add --calib PATH" : "")};
  for (const Rule& r : rules())
    for (const std::string_view flag : r.flags)
      if (flags.given.contains(flag) && r.idle(flags, mode))
        return Error{ErrorCode::kUsage, std::string(flag) + " " + std::string(r.why),
                     std::string(r.hint)};
  return mode;
}

}  // namespace onnxtool
