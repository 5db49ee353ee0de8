// Steps of a plan on a device that are run as one recording: where shapes repeat, the host prepares
// and checks each launch once, not in every run.
#pragma once

#include <memory>
#include <vector>

#include "calib/exec/plan_impl.h"
#include "calib/exec/recorder.h"

namespace onnxtool {

/// The recordings of one context. A stretch is a number of consecutive steps on the device none of
/// which looks at values in host memory, but for constants: control flow and steps of the CPU end
/// it. It runs step by step in the first run with given shapes and is recorded in the next one.
///
/// What goes in is copied to memory of the recording's, what comes out lies where it was recorded.
class Recordings {
 public:
  /// nullptr: the plan has nothing to record.
  static std::unique_ptr<Recordings> make(const Plan::Impl& plan);
  ~Recordings();

  enum class Outcome : uint8_t { kNone, kRan, kStartOver };
  /// Runs the stretch that starts at `step`, if there is one and its time has come; `end` is then
  /// the step behind it. kStartOver: values are lost, since recording failed; it will not be tried
  /// again, and the run has to begin anew.
  Result<Outcome> run(RunContext::Impl& context, size_t step, size_t& end);

 private:
  struct Stretch;
  Recordings(const Plan::Impl& plan, const RecorderApi* recorder);

  /// Inputs where the recording reads them.
  Status enter(RunContext::Impl& context, Stretch& s) const;
  /// Results where it leaves them; nothing else is left of the stretch.
  void leave(RunContext::Impl& context, const Stretch& s) const;
  Result<bool> record(RunContext::Impl& context, Stretch& s) const;
  void forget(Stretch& s) const;

  const Plan::Impl& plan_;
  const RecorderApi* recorder_;
  std::vector<std::unique_ptr<Stretch>> stretches_;
  std::vector<Stretch*> at_;  // of each step: the stretch that it starts
};

}  // namespace onnxtool
