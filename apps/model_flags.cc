#include "apps/model_flags.h"

#include <ostream>

#include "calib/exec/threads.h"
#include "libopt/support/atomic_file.h"

namespace onnxtool {

void add_common_flags(CLI::App& command, CommonFlags& f) {
  command.add_option("--report", f.reports, "Write a report: text or json, to stdout or to PATH; repeatable")->type_name("FORMAT[=PATH]")->group("Report");
  command.add_flag("--json", f.json, "Same as --report json")->group("Report");
  command.add_flag("--reproducible", f.reproducible, "Leave times out of reports")->group("Report");
  command.add_flag("-q,--quiet", f.quiet, "No progress and no text report")->group("Report");
  command.add_flag("--exit-zero", f.exit_zero, "Exit with 0 where the answer is no (1)")->group("Report");
  command.add_option("--threads", f.threads, "Threads; default: what affinity and cgroup quota allow")->type_name("N")->group("Running")->check(CLI::Range(1, 1024));
  command.add_option("--kernels", f.kernels, "Kernel sets: auto, cpu, dnnl, or a list")->capture_default_str()->type_name("SETS")->group("Running");
}

Result<std::vector<ReportTarget>> report_targets(const CommonFlags& f) {
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
  if (on_stdout > 1) return Error{ErrorCode::kUsage, "two reports to stdout", "give all but one a path: --report json=FILE"};
  if (on_stdout == 0 && !f.quiet) targets.push_back({"text", ""});
  return targets;
}

Status write_reports(const Report& report, const std::vector<ReportTarget>& targets, const CommonFlags& f, bool model_on_stdout, const Streams& streams) {
  RenderOptions options;
  options.reproducible = f.reproducible;
  for (const ReportTarget& t : targets) {
    const std::string text = render(report, t.format, options);
    if (t.path.empty()) {
      (model_on_stdout ? streams.err : streams.out) << text << std::flush;
      continue;
    }
    ONNXTOOL_ASSIGN(AtomicFile file, AtomicFile::create(t.path));
    ONNXTOOL_TRY(file.write(std::as_bytes(std::span(text.data(), text.size()))));
    ONNXTOOL_TRY(file.commit());
  }
  return {};
}

int effective_threads(const CommonFlags& f) { return f.threads > 0 ? f.threads : available_threads(); }

}  // namespace onnxtool
