#include "apps/memory_limit.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>

#include "calib/exec/threads.h"
#include "libopt/support/headroom.h"

namespace onnxtool {
namespace {

// Said when memory ran out.
std::string& limit_in_force() {
  static std::string text;
  return text;
}

std::optional<uint64_t> parse_size(const std::string& text) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || number == 0) return std::nullopt;
  const std::string unit(rest, end);
  const int shift = unit.empty() ? 0 : unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : -1;
  if (shift < 0 || number > (std::numeric_limits<uint64_t>::max() >> (shift + 1)))
    return std::nullopt;
  return number << shift;
}

// cgroup v2 writes a number or "max"; v1 a number near 2^63 where there is no limit.
std::optional<uint64_t> cgroup_limit() {
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    uint64_t bytes = 0;
    if (file >> bytes && bytes > 0 && bytes < (uint64_t{1} << 60)) return bytes;
  }
  return std::nullopt;
}

// Stacks are mapped whole, and hardly used: they count little in memory but fully in the limit.
uint64_t stacks() {
  rlimit stack{};
  constexpr rlim_t kUsual = rlim_t{8} << 20;
  const bool known = ::getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur != RLIM_INFINITY;
  return uint64_t{known ? std::min(stack.rlim_cur, kUsual) : kUsual} *
         static_cast<uint64_t>(available_threads());
}

void limit(uint64_t bytes, std::string said) {
  rlimit now{};
  if (::getrlimit(RLIMIT_DATA, &now) != 0) return;
  const rlim_t wanted = data_in_use() + stacks() + bytes;
  if (now.rlim_cur != RLIM_INFINITY && now.rlim_cur <= wanted) return;
  now.rlim_cur = wanted;
  if (::setrlimit(RLIMIT_DATA, &now) == 0) limit_in_force() = std::move(said);
}

}  // namespace

Status limit_memory(const std::string& text) {
  if (text.empty()) {
    if (const auto bytes = cgroup_limit())
      limit(*bytes, fmt::format("the cgroup's limit is {} MB", *bytes >> 20));
    return {};
  }
  const auto bytes = parse_size(text);
  if (!bytes)
    return Error{ErrorCode::kUsage, fmt::format("--max-memory: '{}' is no size", text),
                 "a number of bytes above 0, or one with K, M or G behind it, as in 2G"};
  limit(*bytes, fmt::format("--max-memory is {}", text));
  return {};
}

Error out_of_memory(Error error) {
  if (!limit_in_force().empty()) error.message += ": " + limit_in_force();
  if (error.hint.empty())
    error.hint = "give it more, or use fewer --threads: each has a sample of its own";
  return error;
}

}  // namespace onnxtool
