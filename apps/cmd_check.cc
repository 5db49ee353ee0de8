// onnxtool check: every fault of model files in one run.
#include <fmt/format.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <array>
#include <ostream>

#include "apps/check_filter.h"
#include "apps/command.h"
#include "apps/config.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/model_flags.h"
#include "libopt/check/check.h"

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

// What is kept of a file when the next one is read.
struct Checked {
  std::vector<CheckFinding> findings;
  size_t left_out = 0;
  std::optional<Error> unread;
  std::string digest;
};

Checked check_one(const std::string& path, const CheckOptions& options) {
  Result<CheckResult> result = check_file(path, options);
  if (!result.ok()) return {{}, 0, std::move(result).error(), {}};
  return {std::move(result->findings), result->left_out, std::nullopt, std::move(result->digest)};
}

std::vector<Checked> check_all(const Options& o, const CheckOptions& options) {
  std::vector<Checked> out(o.files.size());
  tbb::task_arena(effective_threads(o.common)).execute([&] {
    tbb::parallel_for(size_t{0}, o.files.size(),
                      [&](size_t i) { out[i] = check_one(o.files[i], options); });
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

Severity severity_of(const std::string& text) {
  return text == "error"     ? Severity::kError
         : text == "warning" ? Severity::kWarning
                             : Severity::kInfo;
}

int64_t count(const std::vector<Finding>& all, Severity severity) {
  return static_cast<int64_t>(std::ranges::count(all, name(severity), &Finding::severity));
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
    std::vector<Checked> checked = check_all(o_, options);
    verify_digests(checked);
    Report report = report_of(checked);
    if (!o_.new_baseline.empty()) ONNXTOOL_TRY(write_text(o_.new_baseline, write_baseline(all_)));
    ONNXTOOL_ASSIGN(const int code, write_reports(report, targets, o_.common, false, streams_));
    for (size_t i = 0; i < checked.size(); ++i) {
      if (!checked[i].unread) continue;
      Error error = *checked[i].unread;
      if (error.hint.empty()) error.hint = hint_for_missing(o_.files[i]);
      print_error(streams_.err, error);
    }
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
    const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    if (!o_.expected_digest.empty() &&
        (o_.expected_digest.size() != 64 || !std::ranges::all_of(o_.expected_digest, is_hex)))
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

  bool fails(const std::vector<Finding>& findings) const {
    return std::ranges::any_of(findings, [&](const Finding& f) {
      return severity_of(f.severity) >= severity_of(o_.fail_on);
    });
  }

  // What counts of a file's findings.
  std::vector<Finding> filtered(const Checked& checked, const std::string& file, int64_t& known) {
    std::vector<Finding> own;
    for (const CheckFinding& f : checked.findings) own.push_back(to_report(f, file));
    suppress(own, suppressions_);
    all_.insert(all_.end(), own.begin(), own.end());
    known += drop_known(own, baseline_);
    return own;
  }

  std::vector<std::string> notes(int64_t known, size_t left_out) const {
    const auto counted = [](int64_t n) {
      return fmt::format("{} finding{}", n, n == 1 ? "" : "s");
    };
    std::vector<std::string> out;
    for (const Suppression& u : suppressions_)
      out.push_back(u.used
                        ? fmt::format("{} of {} suppressed: {}", counted(u.used), u.code, u.reason)
                        : fmt::format("nothing to suppress for {}: {}", u.code, u.reason));
    if (!o_.baseline.empty()) out.push_back(counted(known) + " of the baseline left out");
    if (left_out)
      out.push_back(counted(static_cast<int64_t>(left_out)) + " beyond the limit left out");
    return out;
  }

  static std::vector<ReportRule> rules_of(const std::vector<Finding>& findings) {
    std::vector<ReportRule> out;
    for (const Rule& r : all_rules())
      if (std::ranges::find(findings, r.code, &Finding::code) != findings.end())
        out.push_back({std::string(r.code), std::string(name(r.severity)), std::string(r.summary),
                       std::string(r.explanation), std::string(r.fix)});
    return out;
  }

  // For forms that show tests: one for each file.
  static Check file_check(const std::string& file, const std::string& verdict,
                          const std::vector<Finding>& findings) {
    const auto kind = verdict == "passes"  ? Check::Verdict::kPass
                      : verdict == "fails" ? Check::Verdict::kFail
                                           : Check::Verdict::kNone;
    return {file, "check", verdict == "passes" ? "" : verdict,
            findings.empty() ? "" : fmt::format("{} findings", findings.size()), kind};
  }

  Report report_of(const std::vector<Checked>& checked) {
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
    int64_t known = 0;
    size_t left_out = 0;
    bool unread = false;
    for (size_t i = 0; i < checked.size(); ++i) {
      const Checked& c = checked[i];
      const std::vector<Finding> own = filtered(c, o_.files[i], known);
      left_out += c.left_out;
      unread |= c.unread.has_value();
      const std::string verdict = c.unread                   ? "not read"
                                  : fails(own) || c.left_out ? "fails"
                                                             : "passes";
      report.checks.push_back(file_check(o_.files[i], verdict, own));
      files.rows.push_back({o_.files[i], verdict, count(own, Severity::kError),
                            count(own, Severity::kWarning), count(own, Severity::kInfo)});
      if (o_.digest) files.rows.back().push_back(c.digest.empty() ? Scalar() : Scalar(c.digest));
      report.findings.insert(report.findings.end(), own.begin(), own.end());
    }
    const bool negative = left_out || fails(report.findings);  // what was left out may be worse
    report.sections.push_back({"check", "", {}, notes(known, left_out), {std::move(files)}, false});
    report.rules = rules_of(report.findings);
    report.answer = unread ? Answer::kNone : negative ? Answer::kNo : Answer::kYes;
    return report;
  }

  const Options& o_;
  const Streams& streams_;
  std::vector<Suppression> suppressions_;
  Baseline baseline_;
  std::vector<Finding> all_;  // those of the baseline too
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
