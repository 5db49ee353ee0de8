// What only a process shows: signals, terminals, full disks, files that change under it.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <regex>
#include <thread>

#include "libopt/io/load.h"
#include "libopt/io/save.h"
#include "libopt/support/atomic_file.h"
#include "tests/apps/command_line.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;
using namespace testing;
using Clock = std::chrono::steady_clock;

// Under the sanitizers everything takes ten times as long.
constexpr std::chrono::seconds kPatience{60};

const std::string kImages =
    " --calib calib --resize 32 --channels grey --mean 0.3 --std 0.35 --kernels cpu ";

bool wait_until(const std::function<bool()>& condition) {
  const auto end = Clock::now() + kPatience;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

bool has_stage(const RunningCommand& command, const std::string& stage) {
  return command.err().find("\n" + stage + "\n") != std::string::npos;
}

TEST_CASE("a signal ends calibration at once, by that signal, and leaves nothing") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 1);
  write_file(directory.path() / "out.onnx", "old");
  const auto before = snapshot(directory.path());
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    // Samples for an hour.
    RunningCommand command(
        "exec onnxtool quantize model.onnx --random 10000000 --dim batch=1 --kernels cpu "
        "--save-ranges r.json --report json=r.json2 -o out.onnx",
        directory.path());
    REQUIRE(wait_until([&] { return has_stage(command, "calibrate"); }));
    const auto sent = Clock::now();
    ::kill(command.pid(), number);
    const Finished f = command.wait();
    CHECK(f.code == 128 + number);
    CHECK(Clock::now() - sent < std::chrono::seconds(5));
    CHECK(f.out.empty());
    CHECK(differences(before, snapshot(directory.path())).empty());
  }
}

TEST_CASE("a signal while a directory is written leaves nothing of it") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 1);
  const auto before = snapshot(directory.path());
  const std::string flags = " --random 10000000 --dim batch=1 --kernels cpu";
  for (const std::string& work :
       {std::string("run model.onnx -o out"), std::string("diff model.onnx --record gold")}) {
    RunningCommand command("exec onnxtool " + work + flags, directory.path());
    // Some samples are there already.
    REQUIRE(wait_until([&] { return snapshot(directory.path()).size() > before.size() + 10; }));
    ::kill(command.pid(), SIGTERM);
    CHECK(command.wait().code == 128 + SIGTERM);
    CHECK(differences(before, snapshot(directory.path())).empty());
  }
}

TEST_CASE("signals that the caller ignores stay ignored") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 1);
  // As nohup does.
  RunningCommand command(
      "trap '' HUP; exec onnxtool quantize model.onnx --random 10000000 --dim batch=1 --kernels "
      "cpu -o out.onnx",
      directory.path());
  REQUIRE(wait_until([&] { return has_stage(command, "calibrate"); }));
  ::kill(command.pid(), SIGHUP);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ::kill(command.pid(), SIGTERM);
  CHECK(command.wait().code == 128 + SIGTERM);
}

#ifndef __SANITIZE_ADDRESS__  // its own allocator ends the process instead
TEST_CASE("a limit on memory ends a command with its name, at whatever place it strikes") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 4);
  const auto before = snapshot(directory.path());
  int refused = 0;
  for (int kilobytes = 64; kilobytes < 64 * 1024; kilobytes = kilobytes * 5 / 4) {
    const std::string limit = std::to_string(kilobytes) + "K";
    const Finished f = run_command(
        "onnxtool quantize model.onnx" + kImages + "-q --max-memory " + limit + " -o out.onnx",
        directory.path());
    INFO(limit << ": " << f.err);
    REQUIRE((f.code == 0 || f.code == 2));
    if (f.code == 0) {
      fs::remove(directory.path() / "out.onnx");
    } else {
      // A library that reads images says so in its own words.
      CHECK(f.err.find("memory") != std::string::npos);
      refused += f.err.find("--max-memory is " + limit) != std::string::npos;
    }
    CHECK(differences(before, snapshot(directory.path())).empty());
  }
  CHECK(refused > 0);
  CHECK(run_command("onnxtool quantize model.onnx" + kImages + "-q --max-memory 1G -o out.onnx",
                    directory.path())
            .code == 0);
}
#endif

TEST_CASE("a closed pipe ends the run quietly even where SIGPIPE was ignored") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 1);
  const Finished f =
      run_command("trap '' PIPE; bash -c 'onnxtool quantize model.onnx" + kImages +
                      "--verify off -q --json -o out.onnx | true; exit ${PIPESTATUS[0]}'",
                  directory.path());
  CHECK(f.code == 141);
  CHECK(f.err.empty());
}

TEST_CASE("a model that shrinks while it is used is an error, not a crash") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 1);
  const auto before = snapshot(directory.path());
  RunningCommand command(
      "exec onnxtool quantize model.onnx --random 1000 --dim batch=1 --kernels cpu -o out.onnx",
      directory.path());
  REQUIRE(wait_until([&] { return has_stage(command, "calibrate"); }));
  // Its weights are read once more when they are quantized.
  REQUIRE(::truncate((directory.path() / "model.onnx").c_str(), 0) == 0);
  const Finished f = command.wait();
  CHECK(f.code == 2);
  CHECK(
      f.err.ends_with("error[not-found]: model.onnx: the file shrank while it was being "
                      "read\nhint: run again when nothing writes to it\n"));
  CHECK(differences(before, snapshot(directory.path())) ==
        std::vector<std::string>{"~ model.onnx"});
}

TEST_CASE("a model that shrinks while weights are copied out of it") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 1);
  const std::string fifo = (directory.path() / "out.fifo").string();
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  // The Gemm's weights stay in the mapped file until they are written.
  RunningCommand command("exec onnxtool quantize model.onnx" + kImages +
                             "--no-equalize --exclude op:Gemm --verify off -o out.fifo",
                         directory.path());
  REQUIRE(wait_until([&] { return has_stage(command, "write"); }));
  REQUIRE(::truncate((directory.path() / "model.onnx").c_str(), 0) == 0);
  // Open for both ways it waits for no writer, should the command have ended before it came to
  // write.
  const int reader = ::open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  REQUIRE(reader >= 0);
  std::atomic<bool> ended = false;
  std::thread drain([&] {
    char buffer[4096];
    while (!ended)
      if (::read(reader, buffer, sizeof buffer) <= 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  const Finished f = command.wait();
  ended = true;
  drain.join();
  ::close(reader);
  CHECK(f.code == 2);
  // The kernel finds out when it copies for a write, or the program when it reads.
  CHECK(f.err.find(" shrank") != std::string::npos);
}

TEST_CASE("a disk that fills up: the old output stays, nothing is left") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 1);
  fs::create_directory(directory.path() / "disk");
  // A file system of its own, where this process may have one.
  const std::string mount = "mount -t tmpfs -o size=64k none disk && echo old > disk/out.onnx && ";
  if (run_command("unshare -Urm sh -c '" + mount + "true'", directory.path()).code != 0) {
    std::cout << "SKIP: no file system can be mounted here\n";
    return;
  }
  for (const std::string external : {"", "--external-data"}) {
    const Finished f = run_command(
        "unshare -Urm sh -c '" + mount + "onnxtool quantize model.onnx" + kImages + external +
            " -q -o disk/out.onnx; code=$?; cat disk/out.onnx; ls -A disk; exit $code'",
        directory.path());
    CHECK(f.code == 2);
    CHECK(f.out == "old\nout.onnx\n");
    CHECK(f.err.find("No space left on device") != std::string::npos);
    CHECK(f.err.find("hint: free space there") != std::string::npos);
  }
}

TEST_CASE("a terminal gets a bar, and a clean line at the end") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 1);
  const Finished f = run_command(
      "TERM=xterm script -qec 'onnxtool quantize model.onnx --random 2000 --dim batch=1 --kernels "
      "cpu --threads 1 --verify off --report text=r.txt -o out.onnx > /dev/null' /dev/null",
      directory.path());
  if (f.err.find("failed to create pseudo-terminal") != std::string::npos) {
    std::cout << "SKIP: no terminals can be made here\n";
    return;
  }
  CHECK(f.code == 0);
  CHECK(f.out.find("\r\x1b[Kcalibrate [##") != std::string::npos);
  CHECK(f.out.find("/2000  ") != std::string::npos);
  CHECK(f.out.ends_with("\r\x1b[K"));
  const Finished dumb = run_command(
      "TERM=dumb script -qec 'onnxtool quantize model.onnx --random 2 --dim batch=1 --kernels cpu "
      "--verify off -q -o out.onnx' /dev/null",
      directory.path());
  CHECK(dumb.out.empty());
}

TEST_CASE("models are neither read from a terminal nor written to one") {
  const TemporaryDirectory directory;
  copy_digits(directory.path(), 1);
  const auto on_terminal = [&](const std::string& command) {
    return run_command("TERM=dumb script -qec '" + command + "' /dev/null", directory.path());
  };
  if (on_terminal("true").code != 0) {
    std::cout << "SKIP: no terminals can be made here\n";
    return;
  }
  const Finished to = on_terminal("onnxtool quantize model.onnx" + kImages + "-q -o -");
  CHECK(to.code == 2);
  CHECK(to.out.find("refusing to write a model to a terminal") != std::string::npos);
  const Finished device = on_terminal("onnxtool quantize model.onnx" + kImages + "-q -o /dev/tty");
  CHECK(device.code == 2);
  CHECK(device.out.find("/dev/tty: refusing to write a model to a terminal") != std::string::npos);
  const Finished from = on_terminal("onnxtool quantize -" + kImages + "-q -o out.onnx");
  CHECK(from.code == 2);
  CHECK(from.out.find("refusing to read a model from a terminal") != std::string::npos);
}

// One MatMul of 64 x 64, its weights in weights.bin.
void write_external(const fs::path& directory) {
  std::vector<float> w(64 * 64);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i % 17) / 16 - 0.5f;
  write_file(directory / "weights.bin",
             std::string(reinterpret_cast<const char*>(w.data()), w.size() * sizeof(float)));
  std::string values;
  for (const float v : w) values += (values.empty() ? "" : ", ") + std::to_string(v);
  const Status s = write_model(directory / "big.onnx",
                               "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,64] x) => "
                               "(float[1,64] y) <float[64,64] w = {" +
                                   values + "}> { y = MatMul (x, w) }",
                               {"weights.bin", 0});
  REQUIRE(s.ok());
  write_npy(directory / "x.npy", {1, 64}, std::vector<float>(64, 0.5f));
}

TEST_CASE("a model with external data keeps external data") {
  const TemporaryDirectory directory;
  write_external(directory.path());
  const auto before = snapshot(directory.path());
  const Finished f = run_command(
      "onnxtool quantize big.onnx --calib x.npy --include op:MatMul --kernels cpu -o out.onnx",
      directory.path());
  CHECK_MESSAGE(f.code == 0, f.err);
  const auto changes = differences(before, snapshot(directory.path()));
  REQUIRE(changes.size() == 2);
  CHECK(changes[0].starts_with("+ out."));
  CHECK(changes[0].ends_with(".data"));
  CHECK(changes[1] == "+ out.onnx");
  // Both sizes count.
  CHECK(std::regex_search(f.out, std::regex("size before +16,")));
  const auto model = load_model((directory.path() / "out.onnx").string());
  REQUIRE(model.ok());
  CHECK((*model)->had_external_data);
}

TEST_CASE("no output takes the place of the input's external data") {
  const TemporaryDirectory directory;
  write_external(directory.path());
  const auto before = snapshot(directory.path());
  for (const std::string output :
       {"-o weights.bin", "-o out.onnx --external-data=weights.bin", "-o -"}) {
    const Finished f = run_command(
        "onnxtool quantize big.onnx --calib x.npy --kernels cpu -q " + output, directory.path());
    CHECK(f.code == 2);
    CHECK(f.out.empty());
    CHECK(f.err.starts_with("error[usage]: "));
    CHECK(differences(before, snapshot(directory.path())).empty());
  }
}

TEST_CASE("a data file whose model was never committed goes") {
  const TemporaryDirectory directory;
  const fs::path kept = directory.path() / "kept", dropped = directory.path() / "dropped";
  for (const fs::path& p : {kept, dropped}) {
    write_file(p, "data");
    UncommittedFile file(p.string());
    if (p == kept) file.keep();
  }
  CHECK(fs::exists(kept));
  CHECK_FALSE(fs::exists(dropped));
}

}  // namespace
}  // namespace onnxtool
