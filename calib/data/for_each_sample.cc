// Runs samples on several threads, or ahead of one.

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "calib/data/source.h"

namespace onnxtool {
namespace {

using SampleFunction = std::function<Status(int worker, int64_t index, Sample sample)>;

// Samples read ahead of a single consumer: enough to hide a slow disk, few enough to forget about.
constexpr size_t kReadAhead = 2;

/// The failure of the lowest index. Indexes are handed out in order and none after a failure, so
/// all below it have run: which error is returned does not depend on timing.
class Failure {
 public:
  bool any() const { return any_.load(std::memory_order_relaxed); }
  void set(int64_t index, Status status, std::exception_ptr exception) {
    const std::lock_guard guard(lock_);
    if (any() && index > index_) return;
    index_ = index;
    status_ = std::move(status);
    exception_ = std::move(exception);
    any_ = true;
  }
  Status take() {
    if (exception_) std::rethrow_exception(exception_);
    return std::move(status_);
  }

 private:
  std::atomic<bool> any_ = false;
  std::mutex lock_;
  int64_t index_ = 0;
  Status status_;
  std::exception_ptr exception_;
};

Status read_and_run(const SampleSource& source, int worker, int64_t index,
                    const SampleFunction& fn) {
  ONNXTOOL_ASSIGN(Sample sample, source.read(index));
  return fn(worker, index, std::move(sample));
}

Status run_parallel(const SampleSource& source, int threads, const SampleFunction& fn) {
  std::atomic<int64_t> next = 0;
  Failure failure;
  const auto work = [&](int worker) {
    while (!failure.any()) {
      const int64_t index = next.fetch_add(1);
      if (index >= source.size()) return;
      try {
        Status status = read_and_run(source, worker, index, fn);
        if (!status.ok()) failure.set(index, std::move(status), nullptr);
      } catch (
          ...) {  // a check that failed, or no memory: the caller's to handle, on its own thread
        failure.set(index, {}, std::current_exception());
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (int w = 1; w < threads; ++w) others.emplace_back(work, w);
    work(0);
  }
  return failure.take();
}

/// A thread that reads ahead, and the queue between it and the consumer.
class Prefetcher {
 public:
  explicit Prefetcher(const SampleSource& source) : source_(source), thread_([this] { fill(); }) {}
  ~Prefetcher() {
    {
      const std::lock_guard guard(lock_);
      stop_ = true;
    }
    changed_.notify_all();
  }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  Result<Sample> next() {
    std::unique_lock guard(lock_);
    changed_.wait(guard, [&] { return !queue_.empty() || exception_; });
    if (queue_.empty()) std::rethrow_exception(exception_);
    Result<Sample> sample = std::move(queue_.front());
    queue_.pop_front();
    guard.unlock();
    changed_.notify_all();
    return sample;
  }

 private:
  void fill() {
    try {
      for (int64_t i = 0; i < source_.size(); ++i) {
        {
          std::unique_lock guard(lock_);
          changed_.wait(guard, [&] { return stop_ || queue_.size() < kReadAhead; });
          if (stop_) return;
        }
        Result<Sample> sample = source_.read(i);
        const bool ok = sample.ok();
        {
          const std::lock_guard guard(lock_);
          queue_.push_back(std::move(sample));
        }
        changed_.notify_all();
        if (!ok) return;
      }
    } catch (...) {
      const std::lock_guard guard(lock_);
      exception_ = std::current_exception();
      changed_.notify_all();
    }
  }

  const SampleSource& source_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<Result<Sample>> queue_;
  std::exception_ptr exception_;
  bool stop_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace

Status for_each_sample(const SampleSource& source, int threads, const SampleFunction& fn) {
  ONNXTOOL_CHECK(threads >= 1);
  if (threads > 1 && source.size() > 1)
    return run_parallel(source, static_cast<int>(std::min<int64_t>(threads, source.size())), fn);
  Prefetcher prefetcher(source);
  for (int64_t i = 0; i < source.size(); ++i) {
    ONNXTOOL_ASSIGN(Sample sample, prefetcher.next());
    ONNXTOOL_TRY(fn(0, i, std::move(sample)));
  }
  return {};
}

}  // namespace onnxtool
