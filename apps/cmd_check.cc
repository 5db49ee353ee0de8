// onnxtool check: every fault of model files in one run.
#include <fmt/format.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <map>
#include <ostream>

#include "apps/check_filter.h"
#include "apps/codes.h"
#include "apps/command.h"
#include "apps/config.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/model_flags.h"
#include "libopt/check/check.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

struct Options {
  std::vector<std::string> files;
  std::string fail_on = "error";
  std::string baseline, new_baseline;
  std::vector<std::string> suppressions, allowed_ops;
  std::string runtime, provider = "cpu", target, expected_digest;
  bool weights = false, digest = false;
  std::string settings_file;
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  const std::string which = "Findings", rules = "Rules";
  add_list(c, o.files, {"FILES", "FILE...", "Models (.onnx); - is stdin", "Arguments"})
      ->required()
      ->allow_extra_args();
  add_choice(c, o.fail_on,
             {"--fail-on", "error|warning|info", "Exit with 1 from this severity on", which});
  add_list(c, o.suppressions,
           {"--suppress", "CODE[@PLACE]=REASON",
            "Leave out findings of this code, at places that match a pattern", which});
  add_text(c, o.baseline,
           {"--baseline", "FILE",
            "Leave out what this file lists, so that only new findings are reported", which});
  add_text(c, o.new_baseline,
           {"--write-baseline", "FILE", "Write all findings as a baseline", which});
  add_list(c, o.allowed_ops,
           {"--allow-op", "DOMAIN[:OP]",
            "Allow these operators outside of the standard, and no others", rules});
  add_text(c, o.runtime,
           {"--runtime", "RELEASE", "Also require what this release loads: ort-1.12 to ort-1.31",
            rules});
  std::string providers;
  for (const OrtProviderInfo& p : ort_providers())
    providers += (providers.empty() ? "" : "|") + std::string(p.name);
  add_choice(c, o.provider,
             {"--provider", providers,
              "With --runtime: say which nodes this provider leaves to the CPU", rules});
  std::string targets;
  for (const Target* t : all_targets())
    targets += (targets.empty() ? "" : "|") + std::string(t->name);
  add_choice(c, o.target,
             {"--target", targets,
              "Also require what this target needs: fixed shapes, zero points of 0", rules});
  add_switch(c, o.weights,
             {"--weights", "",
              "Look at every constant's values too: NaN, and what fp16 cannot hold", rules});
  add_switch(c, o.digest,
             {"--digest", "",
              "Print a digest of what each model computes, whatever its names and storage", rules});
  add_text(c, o.expected_digest,
           {"--verify-digest", "HEX", "Require this digest of every file", rules});
  add_report_flags(c, o.common);
  add_verdict_flags(c, o.common);
  add_config_flags(c);
  c.footer(
      "Example: onnxtool check models/*.onnx --fail-on warning --report sarif=check.sarif\nA "
      "code's meaning: onnxtool explain CODE");
}

enum class Verdict : uint8_t { kPasses, kFails, kNotRead };
constexpr const char* name(Verdict v) {
  return v == Verdict::kPasses ? "passes" : v == Verdict::kFails ? "fails" : "not read";
}

// What is kept of a file when the next one is read.
struct Checked {
  std::string file;
  std::vector<CheckFinding> findings;
  std::map<RuleId, size_t> left_out;
  std::optional<Error> unread;
  std::string digest;
  std::vector<Suppression> suppressions;  // with what this file has for them

  int64_t count(Severity severity) const {
    return std::ranges::count_if(
        findings, [&](const CheckFinding& f) { return f.rule().severity == severity; });
  }
  Verdict verdict(Severity fail_on) const {
    if (unread) return Verdict::kNotRead;
    const bool fails =
        std::ranges::any_of(findings,
                            [&](const CheckFinding& f) { return f.rule().severity >= fail_on; }) ||
        std::ranges::any_of(left_out,
                            [&](const auto& l) { return rule(l.first).severity >= fail_on; });
    return fails ? Verdict::kFails : Verdict::kPasses;
  }
};

Checked check_one(const std::string& path, CheckOptions options,
                  std::vector<Suppression> suppressions) {
  Checked out;
  out.file = path;
  options.ignore = [&](const CheckFinding& f) { return is_suppressed(f, suppressions); };
  Result<CheckResult> result = check_file(path, options);
  if (result.ok()) {
    out.findings = std::move(result->findings);
    out.left_out = std::move(result->left_out);
    out.digest = std::move(result->digest);
  } else {
    out.unread = std::move(result).error();
    if (out.unread->hint.empty()) out.unread->hint = hint_for_missing(path);
  }
  out.suppressions = std::move(suppressions);
  return out;
}

std::vector<Checked> check_all(const Options& o, const CheckOptions& options,
                               const std::vector<Suppression>& suppressions) {
  std::vector<Checked> out(o.files.size());
  tbb::task_arena(effective_threads(o.common)).execute([&] {
    tbb::parallel_for(size_t{0}, o.files.size(),
                      [&](size_t i) { out[i] = check_one(o.files[i], options, suppressions); });
  });
  return out;
}

Finding to_report(const CheckFinding& f, const std::string& file) {
  Finding out{std::string(f.rule().code),
              std::string(name(f.rule().severity)),
              f.message,
              f.place,
              f.hint,
              file,
              {}};
  if (f.offset) out.byte_offset = static_cast<int64_t>(*f.offset);
  return out;
}

// A file that cannot be read, for forms that show findings alone.
Finding to_report(const Error& error, const std::string& file) {
  const std::string place = file + ": ";
  const bool named = error.message.starts_with(place);
  return {error_name(error.code),
          std::string(name(Severity::kError)),
          named ? error.message.substr(place.size()) : error.message,
          file,
          error.hint,
          file,
          {}};
}

Severity severity_of(const std::string& text) {
  constexpr Severity kAll[] = {Severity::kError, Severity::kWarning, Severity::kInfo};
  return *std::ranges::find_if(kAll, [&](Severity s) { return name(s) == text; });
}

class CheckCommand {
 public:
  CheckCommand(const Options& options, const Streams& streams) : o_(options), streams_(streams) {}

  Result<int> run() {
    ONNXTOOL_ASSIGN(const std::vector<ReportTarget> targets, report_targets(o_.common, false));
    ONNXTOOL_TRY(check_paths(targets));
    ONNXTOOL_ASSIGN(suppressions_, parse_suppressions(o_.suppressions));
    if (!o_.baseline.empty()) {
      ONNXTOOL_ASSIGN(baseline_, read_baseline(o_.baseline));
    }
    ONNXTOOL_ASSIGN(const CheckOptions options, check_options());
    std::vector<Checked> checked = check_all(o_, options, suppressions_);
    verify_digests(checked);
    Report report = report_of(checked);
    ONNXTOOL_ASSIGN(const int code, write_reports(report, targets, o_.common, false, streams_));
    // Without an answer not all findings are known: what was written before is worth more.
    if (!o_.new_baseline.empty() && report.answer != Answer::kNone)
      ONNXTOOL_TRY(write_text(o_.new_baseline, baseline_text(found_)));
    return code;
  }

 private:
  Result<CheckOptions> check_options() const {
    CheckOptions options;
    options.allowed_ops = o_.allowed_ops;
    options.read_weights = o_.weights;
    options.digest = o_.digest || !o_.expected_digest.empty();
    if (!o_.runtime.empty() && !(options.runtime = find_runtime(o_.runtime))) {
      std::vector<std::string> known;
      for (const RuntimeRelease& r : all_runtimes()) known.emplace_back(r.name);
      return Error{ErrorCode::kUsage, "--runtime: unknown release '" + o_.runtime + "'",
                   "known: " + known.front() + " to " + known.back()};
    }
    options.provider = std::ranges::find(ort_providers(), o_.provider, &OrtProviderInfo::name)->id;
    if (options.provider != OrtProvider::kCpu && !options.runtime)
      return Error{ErrorCode::kUsage, "--provider without --runtime",
                   "add --runtime " + std::string(all_runtimes().back().name)};
    options.target = find_target(o_.target);
    if (!o_.expected_digest.empty() && !is_sha256(o_.expected_digest))
      return Error{ErrorCode::kUsage, "--verify-digest: '" + o_.expected_digest + "' is no digest",
                   "expected 64 lower-case hex digits, as --digest prints"};
    return options;
  }

  void verify_digests(std::vector<Checked>& checked) const {
    if (o_.expected_digest.empty()) return;
    for (Checked& c : checked)
      if (!c.unread && c.digest != o_.expected_digest)
        c.findings.insert(c.findings.begin(), {RuleId::kDigestMismatch,
                                               c.digest.empty() ? "there is no digest of this file"
                                                                : "the digest is " + c.digest,
                                               "",
                                               "",
                                               {}});
  }

  Status check_paths(const std::vector<ReportTarget>& targets) const {
    std::vector<NamedPath> inputs = {{"--baseline", o_.baseline}, {"--config", o_.settings_file}};
    for (const std::string& f : o_.files) inputs.push_back({"FILES", f});
    if (std::ranges::count(o_.files, "-") > 1)
      return Error{ErrorCode::kUsage, "stdin is given twice", "name - once"};
    std::vector<NamedPath> outputs = {{"the output", ""}, {"--write-baseline", o_.new_baseline}};
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    return check_files(inputs, outputs);
  }

  // Leaves what counts of a file's findings.
  void filter(Checked& c) {
    for (size_t i = 0; i < suppressions_.size(); ++i)
      suppressions_[i].used += c.suppressions[i].used;
    add_to_baseline(c.findings, c.file, found_);
    known_ += drop_known(c.findings, c.file, baseline_);
    for (const auto& [id, n] : c.left_out) left_out_[id] += n;
  }

  static std::string counted(int64_t n) {
    return fmt::format("{} finding{}", n, n == 1 ? "" : "s");
  }

  std::vector<std::string> notes(bool answered) const {
    std::vector<std::string> out;
    for (const Suppression& u : suppressions_)
      out.push_back(u.used
                        ? fmt::format("{} of {} suppressed: {}", counted(u.used), u.code, u.reason)
                        : fmt::format("nothing to suppress for {}: {}", u.code, u.reason));
    if (!o_.baseline.empty()) out.push_back(counted(known_) + " of the baseline left out");
    for (const auto& [id, n] : left_out_)
      out.push_back(fmt::format("{} of {} beyond the limit left out",
                                counted(static_cast<int64_t>(n)), rule(id).code));
    if (!o_.new_baseline.empty() && !answered)
      out.push_back("no baseline written, since not all files were read");
    return out;
  }

  static std::vector<ReportRule> rules_of(const std::vector<Finding>& findings) {
    std::vector<ReportRule> out;
    const auto found = [&](std::string_view code) {
      return std::ranges::find(findings, code, &Finding::code) != findings.end();
    };
    for (const Rule& r : all_rules())
      if (found(r.code))
        out.push_back({std::string(r.code), std::string(name(r.severity)), std::string(r.summary),
                       std::string(r.explanation), std::string(r.fix)});
    for (const OutcomeCode& c : outcome_codes())
      if (found(c.code))
        out.push_back({std::string(c.code), std::string(name(Severity::kError)),
                       std::string(c.meaning), "", std::string(c.advice)});
    return out;
  }

  // For forms that show tests: one for each file.
  static Check file_check(const Checked& c, Verdict verdict) {
    if (c.unread) {
      const Finding f = to_report(*c.unread, c.file);
      return {c.file, "check", f.code, f.message, Check::Verdict::kNone};
    }
    const std::string message =
        c.findings.empty() ? "" : counted(static_cast<int64_t>(c.findings.size()));
    if (verdict == Verdict::kPasses) return {c.file, "check", "", message, Check::Verdict::kPass};
    return {c.file, "check", name(verdict), message, Check::Verdict::kFail};
  }

  std::vector<Scalar> row_of(const Checked& c, Verdict verdict) const {
    std::vector<Scalar> row = {c.file, std::string(name(verdict)),
                               c.unread ? 1 : c.count(Severity::kError),
                               c.count(Severity::kWarning), c.count(Severity::kInfo)};
    if (o_.digest) row.push_back(c.digest.empty() ? Scalar() : Scalar(c.digest));
    return row;
  }

  Report report_of(std::vector<Checked>& checked) {
    Report report;
    report.command = "check";
    report.inputs = o_.files;
    Table files{"files", "", {}, {}, 0};
    files.columns = {{"file", "file", ""},
                     {"verdict", "verdict", ""},
                     {"errors", "errors", ""},
                     {"warnings", "warnings", ""},
                     {"infos", "remarks", ""}};
    if (o_.digest) files.columns.push_back({"digest", "digest", ""});
    Verdict worst = Verdict::kPasses;
    for (Checked& c : checked) {
      filter(c);
      const Verdict verdict = c.verdict(severity_of(o_.fail_on));
      worst = std::max(worst, verdict);
      report.checks.push_back(file_check(c, verdict));
      files.rows.push_back(row_of(c, verdict));
      for (const CheckFinding& f : c.findings) report.findings.push_back(to_report(f, c.file));
      if (c.unread) report.findings.push_back(to_report(*c.unread, c.file));
    }
    report.sections.push_back(
        {"check", "", {}, notes(worst != Verdict::kNotRead), {std::move(files)}, false});
    report.rules = rules_of(report.findings);
    report.answer = worst == Verdict::kNotRead ? Answer::kNone
                    : worst == Verdict::kFails ? Answer::kNo
                                               : Answer::kYes;
    return report;
  }

  const Options& o_;
  const Streams& streams_;
  std::vector<Suppression> suppressions_;
  Baseline baseline_;
  Baseline found_;  // those of the baseline too
  int64_t known_ = 0;
  std::map<RuleId, size_t> left_out_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->settings_file = settings_file(*app);
    return CheckCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kCheckCommand{
    "check", "Find everything that is wrong with model files", add};

}  // namespace onnxtool
