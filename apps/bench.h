// Timing models: what bench measures, apart from flags and reports.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "calib/compare/latency.h"
#include "calib/data/source.h"
#include "calib/exec/plan.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// One model, ready to be timed. Contexts refer to nothing else in here but the plan.
struct BenchSubject {
  std::string path;
  std::unique_ptr<Model> model;
  std::vector<Sample> samples;  // run in turns
  std::shared_ptr<const Plan> plan;
  std::unique_ptr<RunContext> context;
  size_t next_sample = 0;

  std::vector<double> ms;        // one for each timed run
  std::vector<double> round_ms;  // middle_mean() of a round, see time_in_turns()
  double cpu_ms = 0;             // of the process, mean of a run
};

/// When to stop: after so many runs where that is not 0, else when so much time has gone.
struct BenchLimit {
  int64_t runs = 0;
  double seconds = 0;
};

/// One run on the next sample; nothing is copied out.
Status run_once(BenchSubject& subject);

/// Times all subjects in turns: rounds of some milliseconds each, in changing order, so that
/// neither the clock nor who ran before counts; as many rounds as an interval needs (kFewestPairs)
/// unless the limit is of fewer runs. `tick` is told of the share done.
Status time_in_turns(std::vector<BenchSubject>& subjects, const BenchLimit& limit,
                     const std::function<void(double)>& tick);

/// What a number of streams get, each running one sample after the other on `plan`.
struct LoadPoint {
  int streams = 0;
  Latency latency;
  double per_second = 0;
};
Result<LoadPoint> measure_load(const std::shared_ptr<const Plan>& plan,
                               const std::vector<Sample>& samples, int streams, double seconds);

/// The most memory that the process has held.
int64_t peak_memory_bytes();

}  // namespace onnxtool
