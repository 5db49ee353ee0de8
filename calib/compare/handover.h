// Two runs that take turns, one of which hands values to the other: both need to run once only, and
// few values are held at a time, however many there are.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "calib/compare/kept_value.h"

namespace onnxtool {

/// A thread that runs one thing after another. The same for all samples of a worker: libraries keep
/// streams, handles and memory by thread.
class Companion {
 public:
  ~Companion();
  /// Runs f on the thread. One at a time: wait() comes before the next.
  void start(std::function<void()> f);
  /// Until f has ended. What it threw is thrown on.
  void wait();

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> next_;
  std::exception_ptr thrown_;
  bool busy_ = false, leave_ = false;
  std::thread thread_;  // once it is needed
};

/// Only one of the two computes at a time: the giver until `budget_bytes` wait to be taken, the
/// taker until it wants a value that is not there. A taker that wants them in another order makes
/// the giver go on beyond the budget.
class Handover {
 public:
  Handover(size_t count, uint64_t budget_bytes) : values_(count), budget_(budget_bytes) {}

  /// Runs both from their beginnings to their ends, `give` beside this thread. What either throws
  /// is thrown on, the giver's first.
  void run(Companion& beside, const std::function<void()>& give, const std::function<void()>& take);

  /// The same one after the other on this thread, with all values held: cheaper where they are few.
  void run_in_order(const std::function<void()>& give, const std::function<void()>& take);
  /// Whether all that was given is within the budget.
  bool fits() const { return given_ <= budget_; }

  /// Of the giver: value i is there. false: nobody will take it, the other run has ended.
  bool give(size_t i, KeptValue value);
  /// Of the taker: value i, at most once. nullopt: the giver ended without it.
  std::optional<KeptValue> take(size_t i);

 private:
  enum class Turn : uint8_t { kGiver, kTaker };
  void pass_on(std::unique_lock<std::mutex>& lock, Turn to, bool wait);

  std::mutex mutex_;
  std::condition_variable changed_;
  Turn turn_ = Turn::kGiver;
  bool gave_all_ = false, took_all_ = false;
  std::vector<std::optional<KeptValue>> values_;
  std::optional<size_t> wanted_;
  uint64_t budget_, held_ = 0, given_ = 0;  // bytes; held: not taken yet
  bool in_order_ = false;
};

}  // namespace onnxtool
