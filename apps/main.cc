// The process: streams, signals, and the last resort for exceptions.
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <new>

#include "apps/command.h"
#include "libopt/io/mapped_file.h"
#include "libopt/support/atomic_file.h"

namespace {

// Leaves nothing half-written behind, then dies by the signal, so that shells see which one it was.
void on_signal(int number) {
  onnxtool::remove_temporary_files();
  signal(number, SIG_DFL);
  raise(number);
}

void write_error(const char* text) {
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, std::strlen(text));
}

// A mapped file shrank under us. Only async-signal-safe calls from here on.
void on_shrunk_file(const char* path) {
  onnxtool::remove_temporary_files();
  write_error("error[not-found]: ");
  write_error(path);
  write_error(": the file shrank while it was being read\nhint: run again when nothing writes to it\n");
  ::_exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    sigaction(number, &action, nullptr);
  }
  onnxtool::install_mapping_fault_handler(on_shrunk_file);
  const onnxtool::Streams streams{std::cout, std::cerr, ::isatty(STDERR_FILENO) != 0};
  int code = 3;
  try {
    code = onnxtool::run_command_line({argv + 1, argv + argc}, streams);
    std::cout.flush();
    if (!std::cout && code == 0) {
      onnxtool::print_error(std::cerr, {onnxtool::ErrorCode::kWriteFailed, "stdout: cannot write", {}});
      code = 2;
    }
  } catch (const std::bad_alloc&) {
    onnxtool::print_error(std::cerr, {onnxtool::ErrorCode::kOutOfMemory, "out of memory", {}});
    code = 2;
  } catch (const std::exception& e) {
    std::cerr << "internal error: " << e.what() << "\nhint: this is a bug of onnxtool; please report it with the command and the model\n";
  }
  onnxtool::remove_temporary_files();
  return code;
}
