#include "apps/quantize_ranges.h"

#include <fmt/format.h>

#include "apps/files.h"
#include "calib/compare/golden.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

// A digest of everything that decides what the samples' values are.
std::string options_digest(const QuantizeFlags& o) {
  Sha256 d;
  const DataFlags& f = o.data;
  for (const std::string& s : {f.format, f.batch_axis, f.preprocess, f.resize, f.crop, f.layout,
                               f.channels, f.scale, f.mean, f.std})
    d.add(s + "\n");
  for (const auto* list : {&f.raw, &f.dims, &f.input_shapes, &o.include, &o.exclude})
    for (const std::string& s : *list) d.add(s + "\n");
  const bool equalized = !o.no_equalize && o.ranges_format == "onnxtool";
  d.add(fmt::format("{} {} {} {}", equalized, o.preset, o.per_tensor, o.no_opset_change));
  if (o.equalize) d.add("equalize\n");
  if (o.given.contains("--smooth")) d.add("smooth " + o.smooth + "\n");
  return d.hex();
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

RangeKey QuantizeRanges::key(const QuantizeContext& c) const {
  return {.model = model_digest(c.original),
          .data = {},
          .options = options_digest(o_),
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
  RangeKey expected = key(c);
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
  file.key = key(c);
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
