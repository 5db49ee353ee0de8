#include "apps/bench.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fstream>
#include <string>
#include <system_error>
#include <thread>

namespace onnxtool {
namespace {

// Long against the clock, short against what else disturbs the machine.
constexpr double kRoundMs = 4;

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double cpu_now_ms() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

Status time_round(BenchSubject& s, int64_t runs) {
  const size_t first = s.ms.size();
  for (int64_t i = 0; i < runs; ++i) {
    const double start = now_ms();
    ONNXTOOL_TRY(run_once(s));
    s.ms.push_back(std::max(now_ms() - start, 1e-6));
  }
  // Not the mean of all: of microseconds, one interruption would be more than the whole round.
  s.round_ms.push_back(
      middle_mean({s.ms.begin() + static_cast<std::ptrdiff_t>(first), s.ms.end()}));
  return {};
}

// How many runs of every subject make a round: the same for all, so that pairs of rounds are pairs.
Result<int64_t> runs_of_a_round(std::vector<BenchSubject>& subjects) {
  double fastest = kRoundMs;
  for (BenchSubject& s : subjects) {
    const double start = now_ms();
    ONNXTOOL_TRY(run_once(s));
    fastest = std::min(fastest, now_ms() - start);
  }
  return std::clamp<int64_t>(static_cast<int64_t>(kRoundMs / std::max(fastest, 1e-4)), 1, 4096);
}

}  // namespace

Status run_once(BenchSubject& s) {
  const Sample& sample = s.samples[s.next_sample];
  s.next_sample = (s.next_sample + 1) % s.samples.size();
  Status ran = s.context->run(sample.inputs, nullptr);
  return ran.ok() ? std::move(ran) : Status(std::move(ran).error().at(s.path));
}

Status time_in_turns(std::vector<BenchSubject>& subjects, const BenchLimit& limit,
                     const std::function<void(double)>& tick) {
  ONNXTOOL_ASSIGN(int64_t per_round, runs_of_a_round(subjects));
  // An interval needs rounds: few runs make few of them.
  if (limit.runs) per_round = std::clamp<int64_t>(limit.runs / int64_t{kFewestPairs}, 1, per_round);
  const double begin = now_ms();
  std::vector<double> cpu(subjects.size());
  for (int64_t round = 0;; ++round) {
    const auto done = static_cast<int64_t>(subjects[0].ms.size());
    const double gone = (now_ms() - begin) / 1e3;
    tick(limit.runs ? static_cast<double>(done) / static_cast<double>(limit.runs)
                    : gone / limit.seconds);
    if (limit.runs ? done >= limit.runs
                   : gone >= limit.seconds && subjects[0].round_ms.size() >= kFewestPairs)
      break;
    const int64_t runs = limit.runs ? std::min(per_round, limit.runs - done) : per_round;
    for (size_t k = 0; k < subjects.size(); ++k) {
      const size_t which = round % 2 ? subjects.size() - 1 - k : k;
      const double start = cpu_now_ms();
      ONNXTOOL_TRY(time_round(subjects[which], runs));
      cpu[which] += cpu_now_ms() - start;
    }
  }
  for (size_t k = 0; k < subjects.size(); ++k)
    subjects[k].cpu_ms = cpu[k] / static_cast<double>(subjects[k].ms.size());
  return {};
}

Result<LoadPoint> measure_load(const std::shared_ptr<const Plan>& plan,
                               const std::vector<Sample>& samples, int streams, double seconds) {
  struct Stream {
    std::vector<double> ms;
    Status status;
    std::exception_ptr exception;
  };
  std::vector<Stream> all(static_cast<size_t>(streams));
  std::atomic<int> ready = 0;
  std::atomic<bool> stop = false;
  const auto run = [&](Stream& stream, size_t first, bool& counted) {
    RunContext context(plan);
    // The arena is laid out by the first run.
    for (int i = 0; i < 2 && stream.status.ok(); ++i)
      stream.status = context.run(samples[first % samples.size()].inputs, nullptr);
    counted = true;
    ++ready;
    while (ready.load() < streams) std::this_thread::yield();
    for (size_t k = first;
         stream.status.ok() && (!stop.load(std::memory_order_relaxed) || stream.ms.empty()); ++k) {
      const double start = now_ms();
      stream.status = context.run(samples[k % samples.size()].inputs, nullptr);
      stream.ms.push_back(now_ms() - start);
    }
  };
  const auto serve = [&](Stream& stream, size_t first) {
    bool counted = false;
    try {
      run(stream, first, counted);
    } catch (...) {
      stream.exception = std::current_exception();
    }
    if (!counted) ++ready;
  };
  std::vector<std::thread> threads;
  Status started;
  for (size_t i = 0; i < all.size() && started.ok(); ++i) try {
      threads.emplace_back(serve, std::ref(all[i]), i);
    } catch (const std::system_error& e) {
      started =
          Error{ErrorCode::kLimit,
                fmt::format("only {} of {} streams could be started: {}", i, streams, e.what()),
                "ask for fewer with --concurrency"};
      stop = true;
      ready = streams;
    }
  while (ready.load() < streams) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const double begin = now_ms();
  if (started.ok()) std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop = true;
  for (std::thread& t : threads) t.join();
  const double gone = now_ms() - begin;
  ONNXTOOL_TRY(std::move(started));
  std::vector<double> ms;
  for (Stream& s : all) {
    if (s.exception) std::rethrow_exception(s.exception);
    ONNXTOOL_TRY(std::move(s.status));
    ms.insert(ms.end(), s.ms.begin(), s.ms.end());
  }
  const double per_second = 1e3 * static_cast<double>(ms.size()) / gone;
  return LoadPoint{streams, summarize_latency(std::move(ms)), per_second};
}

// Not getrusage(): its maximum survives exec(), so that a large program which starts this one would
// be counted.
int64_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (int64_t kib = 0; std::sscanf(line.c_str(), "VmHWM: %" SCNd64 " kB", &kib) == 1)
      return kib * 1024;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace onnxtool
