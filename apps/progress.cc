#include "apps/progress.h"

#include <fmt/format.h>

#include <ostream>

namespace onnxtool {
namespace {

// A terminal is redrawn often enough to look alive; a log gets a line now and then.
constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kLogLine{30};

double seconds(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

}  // namespace

void Progress::stage(std::string name) {
  finish();
  const std::lock_guard lock(mutex_);
  stage_ = std::move(name);
  started_ = drawn_ = Clock::now();
  if (quiet_) return;
  if (streams_.err_is_terminal)
    streams_.err << stage_ << " ..." << std::flush;
  else
    streams_.err << stage_ << std::endl;
  bar_ = streams_.err_is_terminal;
}

void Progress::update(int64_t done, int64_t total) {
  const std::lock_guard lock(mutex_);
  if (quiet_) return;
  const auto now = Clock::now();
  if (now - drawn_ < (streams_.err_is_terminal
                          ? std::chrono::duration_cast<Clock::duration>(kRedraw)
                          : std::chrono::duration_cast<Clock::duration>(kLogLine)))
    return;
  drawn_ = now;
  draw(done, total);
}

void Progress::draw(int64_t done, int64_t total) {
  const double spent = seconds(Clock::now() - started_),
               rate = spent > 0 ? static_cast<double>(done) / spent : 0;
  const double left = rate > 0 ? static_cast<double>(total - done) / rate : 0;
  const std::string figures =
      fmt::format("{}/{}  {:.1f}/s  {:.0f} s left", done, total, rate, left);
  if (!streams_.err_is_terminal) {
    streams_.err << stage_ << ": " << figures << std::endl;
    return;
  }
  constexpr int kWidth = 24;
  const int filled = total > 0 ? static_cast<int>(kWidth * done / total) : 0;
  streams_.err << fmt::format("\r\033[K{} [{}{}] {}", stage_,
                              std::string(static_cast<size_t>(filled), '#'),
                              std::string(static_cast<size_t>(kWidth - filled), '.'), figures)
               << std::flush;
  bar_ = true;
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (bar_) streams_.err << "\r\033[K" << std::flush;
  bar_ = false;
  if (!stage_.empty()) times_.emplace_back(std::move(stage_), seconds(Clock::now() - started_));
  stage_.clear();
}

}  // namespace onnxtool
