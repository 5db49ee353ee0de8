#include "apps/model_flags.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <ostream>

#include "apps/files.h"
#include "apps/flags.h"
#include "calib/exec/threads.h"

namespace onnxtool {

namespace {

constexpr const char* kReport = "Report";
constexpr const char* kRunning = "Running";

void add_targets(CLI::App& command, CommonFlags& f) {
  add_list(command, f.reports,
           {"--report", "FORMAT[=PATH]", "Write a report to stdout or to PATH: " + report_formats(),
            kReport});
  add_switch(command, f.json, {"--json", "", "Same as --report json", kReport});
}

void add_quiet(CLI::App& command, CommonFlags& f) {
  add_switch(command, f.quiet,
             {"-q,--quiet", "", "No progress, and no text report on stdout", kReport});
}

// What -q leaves of the findings: the errors, or where the answer is no without one, all.
std::string decisive(const Report& report) {
  Report left;
  left.inputs = report.inputs;
  std::ranges::copy_if(report.findings, std::back_inserter(left.findings),
                       [](const Finding& f) { return f.severity == "error"; });
  if (left.findings.empty() && report.answer != Answer::kYes) left.findings = report.findings;
  return render_findings(left);
}

}  // namespace

void add_common_flags(CLI::App& command, CommonFlags& f, bool chooses_kernels) {
  add_targets(command, f);
  add_switch(command, f.reproducible,
             {"--reproducible", "", "Leave times out of reports", kReport});
  add_quiet(command, f);
  add_verdict_flags(command, f);
  if (!chooses_kernels) return;
  add_text(command, f.kernels,
           {"--kernels", "SETS",
            "Kernel sets, preferred first: cpu, dnnl, or auto for all that are there", kRunning});
  add_integer(command, f.max_iterations, int64_t{1}, std::numeric_limits<int64_t>::max(),
              {"--max-iterations", "N", "Fail where a Loop or Scan takes more than N iterations",
               kRunning});
}

void add_precision_flag(CLI::App& command, CommonFlags& f) {
  add_choice(command, f.precision,
             {"--calib-precision", "f32|tf32|bf16|fp16",
              "Round the operands of products and convolutions: bf16 where the CPU multiplies "
              "these, or on a GPU; tf32 and fp16 on a GPU",
              kRunning});
}

void add_device_flag(CLI::App& command, CommonFlags& f) {
  add_text(command, f.device,
           {"--device", "DEVICE",
            "cpu, cuda or cuda:N (an NVIDIA GPU, experimental), or auto: a GPU where one is there",
            kRunning});
}

void add_report_flags(CLI::App& command, CommonFlags& f) {
  add_targets(command, f);
  add_quiet(command, f);
}

void add_verdict_flags(CLI::App& command, CommonFlags& f) {
  add_switch(command, f.exit_zero,
             {"--exit-zero", "", "Exit with 0 instead of 1 where the answer is no", kReport});
  add_integer(
      command, f.threads, 1, 1024,
      {"--threads", "N", "Threads (default: what affinity and cgroup quota allow)", kRunning});
}

Result<std::vector<ReportTarget>> report_targets(const CommonFlags& f, bool model_on_stdout) {
  std::vector<ReportTarget> targets;
  int on_stdout = 0;
  for (const std::string& text : f.reports) {
    ONNXTOOL_ASSIGN(ReportTarget t, parse_report_target(text));
    on_stdout += t.path.empty();
    targets.push_back(std::move(t));
  }
  if (f.json) {
    targets.push_back({"json", ""});
    ++on_stdout;
  }
  if (on_stdout > 1)
    return Error{ErrorCode::kUsage, "two reports would go to stdout",
                 "give all but one a path, as in --report json=FILE"};
  const bool for_programs = std::any_of(targets.begin(), targets.end(), [](const ReportTarget& t) {
    return t.path.empty() && t.format != "text";
  });
  if (model_on_stdout && for_programs)
    return Error{ErrorCode::kUsage, "the model and a report would both go to stdout",
                 "give the report a path, as in --report json=FILE"};
  if (on_stdout == 0 && !f.quiet) targets.push_back({"text", ""});
  return targets;
}

Result<int> write_reports(Report& report, const std::vector<ReportTarget>& targets,
                          const CommonFlags& f, bool model_on_stdout, const Streams& streams) {
  report.exit_zero = f.exit_zero;
  RenderOptions options;
  options.reproducible = f.reproducible;
  bool people_see_findings = false;
  for (const ReportTarget& t : targets) {
    const std::string text = render(report, t.format, options);
    if (t.path.empty()) {
      people_see_findings |= t.format == "text";
      (model_on_stdout ? streams.err : streams.out) << text << std::flush;
    } else {
      ONNXTOOL_TRY(write_text(t.path, text));
    }
  }
  if (!people_see_findings) streams.err << (f.quiet ? decisive(report) : render_findings(report));
  return report.exit_code();
}

int effective_threads(const CommonFlags& f) {
  return f.threads > 0 ? f.threads : available_threads();
}

}  // namespace onnxtool
