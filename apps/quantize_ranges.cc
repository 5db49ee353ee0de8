#include "apps/quantize_ranges.h"

#include <fmt/format.h>

#include "apps/files.h"
#include "calib/compare/golden.h"

namespace onnxtool {
namespace {

// Everything that decides what the samples' values are, as flags. Which layers are quantized does
// so only where channels were rescaled for them.
std::string options_text(const QuantizeFlags& o, bool rescaled) {
  std::string text;
  const auto add = [&](const std::string& flag, const std::string& value = {}) {
    text += (text.empty() ? "" : " ") + flag + (value.empty() ? "" : " " + value);
  };
  const DataFlags &f = o.data, defaults;
  const auto differs = [&](const char* flag, const std::string& value, const std::string& usual) {
    if (value != usual) add(flag, value);
  };
  differs("--data-format", f.format, defaults.format);
  differs("--batch-axis", f.batch_axis, defaults.batch_axis);
  differs("--preprocess", f.preprocess, defaults.preprocess);
  differs("--resize", f.resize, defaults.resize);
  differs("--crop", f.crop, defaults.crop);
  differs("--layout", f.layout, defaults.layout);
  differs("--channels", f.channels, defaults.channels);
  differs("--scale", f.scale, defaults.scale);
  differs("--mean", f.mean, defaults.mean);
  differs("--std", f.std, defaults.std);
  for (const std::string& s : f.raw) add("--raw", s);
  for (const std::string& s : f.dims) add("--dim", s);
  for (const std::string& s : f.input_shapes) add("--input-shape", s);
  differs("--preset", o.preset, "");
  if (o.no_opset_change) add("--no-opset-change");
  if (rescaled) {
    add("channels evened out for --target", o.target);
    for (const std::string& s : o.include) add("--include", s);
    for (const std::string& s : o.exclude) add("--exclude", s);
    if (o.per_tensor) add("--per-tensor");
    if (o.equalize) add("--equalize");
    if (o.no_equalize) add("--no-equalize");
    differs("--activation-type", o.activation_type, "u8");
    if (o.given.contains("--smooth")) add("--smooth", o.smooth);
  }
  return text.empty() ? "defaults" : text;
}

}  // namespace

Status QuantizeRanges::open() {
  const bool counts = o_.ranges_format == "onnxtool";
  if (!counts && o_.save_ranges.empty())
    return Error{ErrorCode::kUsage, "--ranges-format says how to save ranges, but none are saved",
                 "add --save-ranges FILE; --ranges tells the form by content"};
  if (!o_.shard.empty()) {
    ONNXTOOL_ASSIGN(shard_, parse_shard(o_.shard));
    if (o_.save_ranges.empty())
      return Error{ErrorCode::kUsage,
                   "--shard calibrates on a part of the data, to be joined later",
                   "add --save-ranges FILE, and join the files with `onnxtool ranges merge`"};
    if (!counts)
      return Error{ErrorCode::kUsage,
                   "a shard is saved as counts: ranges of a part cannot be joined",
                   "leave out --ranges-format; give it to the run that takes the joined counts"};
  }
  if (o_.ranges.empty()) return {};
  ONNXTOOL_ASSIGN(const std::string text, read_text(o_.ranges));
  const auto refused = [&](const Error& e) {
    return Error{e.code, o_.ranges + ": " + e.message,
                 "give a file that --save-ranges wrote, onnxruntime's calibration JSON or a "
                 "TensorRT calibration cache"};
  };
  if (detect_ranges(text) == RangeForm::kOnnxtool) {
    auto file = load_ranges(text);
    if (!file.ok()) return refused(file.error());
    counts_ = *std::move(file);
    return {};
  }
  auto file = load_foreign_ranges(text);
  if (!file.ok()) return refused(file.error());
  if (counts && !o_.save_ranges.empty())
    return Error{ErrorCode::kUsage,
                 o_.ranges + " holds ranges, not the counts that are to be saved",
                 "say --ranges-format ort or trt"};
  for (const char* flag : {"--calibrator", "--percentile"})
    if (o_.given.contains(flag))
      return Error{ErrorCode::kUsage,
                   std::string(flag) + " chooses ranges, and " + o_.ranges + " holds them already",
                   "leave out one of them"};
  foreign_ = *std::move(file);
  return {};
}

RangeKey QuantizeRanges::key(const Quantizer& quantizer, const QuantizeContext& c) const {
  const bool rescaled = quantizer.equalized_pairs() + quantizer.smoothed_values() > 0;
  return {.model = model_digest(c.original),
          .data = {},
          .options = options_text(o_, rescaled),
          .kernel_set = std::string(c.calibration_run.kernel_sets[0]->name),
          .isa = std::string(c.calibration_run.kernel_sets[0]->isa)};
}

Status QuantizeRanges::calibrate(Quantizer& quantizer, const QuantizeContext& c) {
  if (foreign_) {
    if (Status s = quantizer.use_ranges(foreign_->ranges); !s.ok())
      return std::move(s).error().at(o_.ranges);
    return {};
  }
  if (!counts_) return run_samples(quantizer, c);
  RangeKey expected = key(quantizer, c);
  // Joined by a user who said that any machines will do.
  if (counts_->key.isa == "mixed") expected.kernel_set = expected.isa = "";
  ONNXTOOL_ASSIGN(const DataDigest data, digest_samples(*c.calibration, c.run.threads));
  expected.data = data.hex();
  if (Status s = check_ranges(*counts_, expected); !s.ok())
    return std::move(s).error().at(o_.ranges);
  if (Status s = quantizer.use_summaries(counts_->tensors, counts_->extremes); !s.ok())
    return std::move(s).error().at(o_.ranges);
  return save_counts(*counts_);
}

Status QuantizeRanges::run_samples(Quantizer& quantizer, const QuantizeContext& c) const {
  if (o_.save_ranges.empty()) return quantizer.calibrate(*c.calibration, c.calibration_run);
  const ShardSamples part(*c.calibration, shard_);
  if (part.size() == 0)
    return Error{ErrorCode::kUsage,
                 fmt::format("shard {} of {} has no samples: there are {}", shard_.index,
                             shard_.count, c.calibration->size()),
                 "use as many shards as there are samples at most"};
  const DigestedSamples digested(part, shard_);
  ONNXTOOL_TRY(quantizer.calibrate(digested, c.calibration_run, /*for_every_calibrator=*/true));
  RangeFile file;
  file.key = key(quantizer, c);
  file.key.data = digested.digest().hex();
  file.shard_count = shard_.count;
  file.shards = {shard_.index};
  file.samples = static_cast<uint64_t>(part.size());
  file.all_samples = static_cast<uint64_t>(c.calibration->size());
  file.tensors = quantizer.summaries();
  file.extremes = quantizer.extremes();
  return save_counts(std::move(file));
}

// A file of one run is that of all its shards joined.
Status QuantizeRanges::save_counts(RangeFile file) const {
  if (o_.save_ranges.empty() || o_.ranges_format != "onnxtool") return {};
  return write_text(o_.save_ranges, save_ranges(file));
}

Status QuantizeRanges::save_chosen(const Quantizer::Output& out) const {
  if (o_.save_ranges.empty() || o_.ranges_format == "onnxtool") return {};
  if (o_.ranges_format == "ort")
    return write_text(o_.save_ranges, save_onnxruntime_ranges(out.ranges));
  ONNXTOOL_ASSIGN(const std::string text, save_tensorrt_ranges(out.ranges));
  return write_text(o_.save_ranges, text);
}

}  // namespace onnxtool
