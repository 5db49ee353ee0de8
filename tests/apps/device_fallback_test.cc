// --device auto: what a GPU cannot do, the CPU does, and a line says so.
#include "apps/device_fallback.h"

#include <doctest/doctest.h>

#include <sstream>

namespace onnxtool {
namespace {

struct FallbackOptions {
  CommonFlags common;
  std::vector<std::string>* ran;
  Error on_device;
};

// Fails on every device but the CPU.
class FallbackCommand {
 public:
  FallbackCommand(const FallbackOptions& options, const Streams&) : o_(options) {}
  Result<int> run() {
    o_.ran->push_back(o_.common.device);
    if (o_.common.device == "cpu") return 7;
    return o_.on_device;
  }

 private:
  const FallbackOptions& o_;
};

TEST_CASE("a device that fails under auto gives way to the CPU, with a note") {
  const Error full{ErrorCode::kOutOfMemory, "the device is out of memory: it has no 64 bytes more",
                   "use --device cpu, or fewer threads or smaller samples"};
  const Error of_model{ErrorCode::kMismatch, "input 'x' has rank 2", "give it rank 3"};
  const struct {
    std::string device;
    Error error;
    bool quiet;
    std::vector<std::string> ran;
    std::string note;
  } cases[] = {
      {"auto",
       full,
       false,
       {"auto", "cpu"},
       "note: the device is out of memory: it has no 64 bytes more; runs on the CPU instead\n"},
      {"auto", full, true, {"auto", "cpu"}, ""},
      {"auto", of_model, false, {"auto"}, ""},
      {"cuda", full, false, {"cuda"}, ""},
  };
  for (const auto& c : cases) {
    std::vector<std::string> ran;
    FallbackOptions options{{}, &ran, c.error};
    options.common.device = c.device;
    options.common.quiet = c.quiet;
    std::ostringstream out, err;
    const Result<int> code = run_on_device<FallbackCommand>(options, Streams{out, err});
    CHECK(ran == c.ran);
    CHECK(err.str() == c.note);
    CHECK(code.ok() == (c.ran.size() == 2));
    if (!code.ok()) CHECK(code.error().message == c.error.message);
  }
}

}  // namespace
}  // namespace onnxtool
