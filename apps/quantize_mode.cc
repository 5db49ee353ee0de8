#include "apps/quantize_mode.h"

#include <string_view>

namespace onnxtool {
namespace {

// Where a flag means something; flags that are not listed do everywhere.
constexpr unsigned kStatic = 1, kDynamic = 2, kWeightOnly = 4, kHalf = 8;
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
    {"--no-equalize", kStatic},
    {"--preset", kStatic},
    {"--save-ranges", kStatic},
    {"--ranges", kStatic},
    {"--per-tensor", kStatic | kDynamic},
    {"--ranges-format", kStatic},
    {"--shard", kStatic},
    {"--override", kStatic},
    {"--bias-correction", kStatic},
    {"--smooth", kStatic},
    {"--adaround", kStatic},
    {"--symmetric", kStatic | kWeightOnly},
    {"--format", kStatic | kWeightOnly},
    {"--weight-type", kStatic | kDynamic | kWeightOnly},
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
                           {QuantizeMode::kHalf, kHalf, "--to"}};

std::string names_of(unsigned modes) {
  std::string out;
  for (const Mode& m : kModes)
    if (m.bit & modes) out += (out.empty() ? "" : " and ") + std::string(m.name);
  return out;
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
  const Mode& mode = kModes[!flags.to.empty() ? 3 : flags.weight_only ? 2 : flags.dynamic ? 1 : 0];
  for (const FlagModes& f : kFlags)
    if (flags.given.contains(f.flag) && !(f.modes & mode.bit))
      return Error{ErrorCode::kUsage,
                   std::string(f.flag) + " has no meaning with " + std::string(mode.name),
                   "it is for " + names_of(f.modes)};
  return mode.mode;
}

}  // namespace onnxtool
