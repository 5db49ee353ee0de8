// Flags that every command on models shares: output, reports, threads, verbosity.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "apps/command.h"
#include "apps/report/report.h"
#include "calib/exec/plan.h"

namespace onnxtool {

struct CommonFlags {
  std::vector<std::string> reports;
  bool json = false;
  bool reproducible = false;
  bool quiet = false;
  bool exit_zero = false;
  int64_t max_iterations = kMaxIterations;
  int threads = 0;  // 0: what affinity and cgroup quota allow
  std::string kernels = "auto";
  std::string precision = "f32";
  std::string device = "cpu";
};

/// All of them. Without chooses_kernels no --kernels: the command compares on those of the CPU.
void add_common_flags(CLI::App& command, CommonFlags& flags, bool chooses_kernels = true);
/// --device, for commands that run models on the user's samples.
void add_device_flag(CLI::App& command, CommonFlags& flags);
/// Of them: where reports go; and what commands that give an answer have, --exit-zero and
/// --threads.
void add_report_flags(CLI::App& command, CommonFlags& flags);
void add_verdict_flags(CLI::App& command, CommonFlags& flags);
/// Of commands whose runs may be less exact for speed.
void add_precision_flag(CLI::App& command, CommonFlags& flags);

/// Where reports go, checked before any work is done. With the model on stdout text goes to stderr,
/// and nothing else may want stdout.
Result<std::vector<ReportTarget>> report_targets(const CommonFlags& flags, bool model_on_stdout);

/// Writes every report; a file is replaced atomically. Findings go to stderr where no text on
/// stdout shows them. The exit code that the report's answer has.
Result<int> write_reports(Report& report, const std::vector<ReportTarget>& targets,
                          const CommonFlags& flags, bool model_on_stdout, const Streams& streams);

int effective_threads(const CommonFlags& flags);

}  // namespace onnxtool
