// onnxtool ranges: joins what calibration learnt on parts of the data, and shows what range files
// hold.
#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/model_flags.h"
#include "calib/ranges/foreign.h"
#include "calib/ranges/range_file.h"

namespace onnxtool {
namespace {

constexpr size_t kShownDigits = 16;  // of a digest
constexpr size_t kShownTensors = 40;

struct Options {
  std::string action, output;
  std::vector<std::string> files;
  bool allow_mixed_isa = false;
  std::string settings_file;
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  add_choice(c, o.action, {"ACTION", "merge|show", "What to do", "Arguments"})->required();
  add_list(c, o.files, {"FILES", "FILE...", "Range files", "Arguments"})
      ->required()
      ->allow_extra_args();
  const std::string merging = "Merging";
  add_text(c, o.output, {"-o,--output", "FILE", "Where the joined ranges go", merging});
  add_switch(c, o.allow_mixed_isa,
             {"--allow-mixed-isa", "",
              "Join parts that different kernels or instruction sets computed: the result is then "
              "not that of any single machine",
              merging});
  add_report_flags(c, o.common);
  add_config_flags(c);
  c.footer("Example: onnxtool ranges merge part-*.json -o ranges.json");
}

std::string short_digest(const std::string& digest) { return digest.substr(0, kShownDigits); }

Section file_section(const std::string& path, const RangeFile& f) {
  Section s{"ranges", "Ranges", {}, {}, {}, false};
  s.fields.push_back({"file", "file", path, ""});
  s.fields.push_back({"form", "form", std::string("onnxtool"), ""});
  s.fields.push_back({"samples", "samples", static_cast<int64_t>(f.samples), ""});
  s.fields.push_back({"all_samples", "of", static_cast<int64_t>(f.all_samples), ""});
  s.fields.push_back(
      {"shards", "shards", fmt::format("{} of {}", f.shards.size(), f.shard_count), ""});
  s.fields.push_back({"kernels", "kernels", f.key.kernel_set + " " + f.key.isa, ""});
  s.fields.push_back({"model_digest", "model digest", short_digest(f.key.model), ""});
  s.fields.push_back({"data_digest", "data digest", short_digest(f.key.data), ""});
  s.fields.push_back({"options_digest", "options digest", short_digest(f.key.options), ""});
  Table t{"tensors",
          "tensors",
          {{"tensor", "tensor", ""},
           {"min", "min", ""},
           {"max", "max", ""},
           {"zeros_percent", "zeros", "%"},
           {"values", "values", ""}},
          {},
          kShownTensors};
  for (const auto& [name, summary] : f.tensors) {
    const auto n = static_cast<double>(std::max<uint64_t>(summary.count(), 1));
    t.rows.push_back({name, static_cast<double>(summary.min()), static_cast<double>(summary.max()),
                      100 * static_cast<double>(summary.zeros()) / n,
                      static_cast<int64_t>(summary.count())});
  }
  s.tables.push_back(std::move(t));
  return s;
}

Section foreign_section(const std::string& path, const ForeignRanges& f) {
  Section s{"ranges", "Ranges", {}, {}, {}, false};
  s.fields.push_back({"file", "file", path, ""});
  s.fields.push_back({"form", "form", std::string(name(f.form)), ""});
  Table t{"tensors",
          "tensors",
          {{"tensor", "tensor", ""}, {"min", "min", ""}, {"max", "max", ""}},
          {},
          kShownTensors};
  for (const auto& [name, range] : f.ranges) t.rows.push_back({name, range.min, range.max});
  s.tables.push_back(std::move(t));
  return s;
}

// Shards that a merge still lacks, as people write them: "1, 4 and 17 more".
std::string missing_shards(const RangeFile& f) {
  constexpr int kListed = 8;
  std::string out;
  int missing = 0;
  for (int i = 0; i < f.shard_count; ++i) {
    if (std::binary_search(f.shards.begin(), f.shards.end(), i)) continue;
    if (++missing <= kListed) out += (missing > 1 ? ", " : "") + std::to_string(i);
  }
  if (missing > kListed) out += fmt::format(" and {} more", missing - kListed);
  return out;
}

class RangesCommand {
 public:
  RangesCommand(const Options& options, const Streams& streams) : o_(options), streams_(streams) {}

  Result<int> run() {
    ONNXTOOL_ASSIGN(const std::vector<ReportTarget> targets, report_targets(o_.common, false));
    const bool merging = o_.action == "merge";
    if (merging != !o_.output.empty())
      return Error{ErrorCode::kUsage,
                   merging ? "merge: no output given" : "show: nothing is written, but -o is given",
                   merging ? "add -o FILE" : ""};
    std::vector<NamedPath> inputs = {{"--config", o_.settings_file}};
    for (const std::string& f : o_.files) inputs.push_back({"FILES", f});
    std::vector<NamedPath> outputs = {{"the output", o_.output}};
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    ONNXTOOL_TRY(check_files(inputs, outputs));
    Report report;
    report.command = "ranges";
    report.inputs = o_.files;
    ONNXTOOL_TRY(merging ? merge(report) : show(report));
    return write_reports(report, targets, o_.common, false, streams_);
  }

 private:
  Status show(Report& report) const {
    for (const std::string& path : o_.files) {
      ONNXTOOL_ASSIGN(const std::string text, read_text(path));
      if (detect_ranges(text) == RangeForm::kOnnxtool) {
        auto file = load_ranges(text);
        if (!file.ok()) return std::move(file).error().at(path);
        report.sections.push_back(file_section(path, *file));
      } else {
        auto foreign = load_foreign_ranges(text);
        if (!foreign.ok()) return std::move(foreign).error().at(path);
        report.sections.push_back(foreign_section(path, *foreign));
      }
    }
    return {};
  }

  Status merge(Report& report) const {
    std::vector<RangeFile> parts;
    for (const std::string& path : o_.files) {
      ONNXTOOL_ASSIGN(const std::string text, read_text(path));
      if (detect_ranges(text) != RangeForm::kOnnxtool)
        return Error{ErrorCode::kMismatch, path + ": has no counts that could be joined",
                     "merge takes what quantize --shard i/n --save-ranges FILE wrote"};
      auto part = load_ranges(text);
      if (!part.ok()) return std::move(part).error().at(path);
      parts.push_back(*std::move(part));
    }
    ONNXTOOL_ASSIGN(const RangeFile merged,
                    merge_ranges(std::move(parts), o_.allow_mixed_isa, o_.files));
    if (!merged.complete())
      return Error{ErrorCode::kMismatch,
                   fmt::format("{} of {} shards are there, missing: {}", merged.shards.size(),
                               merged.shard_count, missing_shards(merged)),
                   "name the files of all shards"};
    ONNXTOOL_TRY(write_text(o_.output, save_ranges(merged)));
    Section s = file_section(o_.output, merged);
    s.title = "Joined ranges";
    s.tables.clear();
    s.fields.push_back({"tensors", "tensors", static_cast<int64_t>(merged.tensors.size()), ""});
    report.sections.push_back(std::move(s));
    return {};
  }

  const Options& o_;
  const Streams& streams_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->settings_file = settings_file(*app);
    return RangesCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kRangesCommand{"ranges", "Join and show what calibration learnt",
                                                  add};

}  // namespace onnxtool
