// Progress on stderr: a bar on a terminal; elsewhere a line per stage and at most one per 30 s.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "apps/command.h"

namespace onnxtool {

class Progress {
 public:
  Progress(const Streams& streams, bool quiet) : streams_(streams), quiet_(quiet) {}
  ~Progress() { finish(); }

  /// Ends the stage before and starts another; its time goes to times().
  void stage(std::string name);
  /// Of the running stage. Any thread.
  void update(int64_t done, int64_t total);
  void finish();
  /// Stage and seconds, in order.
  const std::vector<std::pair<std::string, double>>& times() const { return times_; }

 private:
  using Clock = std::chrono::steady_clock;
  void draw(int64_t done, int64_t total);
  const Streams& streams_;
  bool quiet_;
  std::mutex mutex_;
  std::string stage_;
  Clock::time_point started_, drawn_;
  bool bar_ = false;
  std::vector<std::pair<std::string, double>> times_;
};

}  // namespace onnxtool
