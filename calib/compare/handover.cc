#include "calib/compare/handover.h"

#include <utility>

namespace onnxtool {
namespace {

struct Finally {
  std::function<void()> then;
  ~Finally() { then(); }
};

}  // namespace

Companion::~Companion() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    leave_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Companion::start(std::function<void()> f) {
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  {
    const std::lock_guard lock(mutex_);
    next_ = std::move(f);
    busy_ = true;
  }
  changed_.notify_all();
}

void Companion::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !busy_; });
  if (std::exception_ptr e = std::exchange(thrown_, nullptr)) std::rethrow_exception(e);
}

void Companion::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return next_ || leave_; });
    if (!next_) return;
    const std::function<void()> f = std::exchange(next_, nullptr);
    lock.unlock();
    std::exception_ptr thrown;
    try {
      f();
    } catch (...) {
      thrown = std::current_exception();
    }
    lock.lock();
    thrown_ = thrown;
    busy_ = false;
    changed_.notify_all();
  }
}

void Handover::pass_on(std::unique_lock<std::mutex>& lock, Turn to, bool wait) {
  const Turn own = turn_;
  turn_ = to;
  changed_.notify_all();
  if (wait) changed_.wait(lock, [&] { return turn_ == own; });
}

void Handover::run(Companion& beside, const std::function<void()>& give,
                   const std::function<void()>& take) {
  const auto end = [this](bool& ended, Turn next) {
    std::unique_lock lock(mutex_);
    ended = true;
    pass_on(lock, next, false);
  };
  beside.start([&] {
    // Also when an exception leaves: the other run must not wait for what never comes.
    const Finally passed{[&] { end(gave_all_, Turn::kTaker); }};
    give();
  });
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return turn_ == Turn::kTaker; });
  }
  std::exception_ptr thrown;
  try {
    take();
  } catch (...) {
    thrown = std::current_exception();
  }
  end(took_all_, Turn::kGiver);
  beside.wait();
  if (thrown) std::rethrow_exception(thrown);
}

void Handover::run_in_order(const std::function<void()>& give, const std::function<void()>& take) {
  in_order_ = true;
  give();
  gave_all_ = true;
  take();
}

bool Handover::give(size_t i, KeptValue value) {
  std::unique_lock lock(mutex_);
  if (took_all_) return false;
  held_ += value.size_bytes();
  given_ += value.size_bytes();
  values_[i] = std::move(value);
  if (!in_order_ && held_ >= budget_ && (!wanted_ || values_[*wanted_]))
    pass_on(lock, Turn::kTaker, true);
  return !took_all_;
}

std::optional<KeptValue> Handover::take(size_t i) {
  std::unique_lock lock(mutex_);
  wanted_ = i;
  while (!values_[i] && !gave_all_) pass_on(lock, Turn::kGiver, true);
  wanted_.reset();
  std::optional<KeptValue> value = std::exchange(values_[i], std::nullopt);
  if (value) held_ -= value->size_bytes();
  return value;
}

}  // namespace onnxtool
