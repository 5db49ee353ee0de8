// The process: streams, signals, and the last resort for exceptions.
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "apps/command.h"
#include "libopt/io/mapped_file.h"
#include "libopt/support/atomic_file.h"

namespace {

// Handlers may not ask.
bool g_err_is_terminal = false;

void write_error(const char* text) {
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, std::strlen(text));
}

// Leaves nothing half-written behind, then dies by the signal, so that shells see which one it was.
void on_signal(int number) {
  onnxtool::remove_temporary_files();
  // A progress bar may stand there.
  if (g_err_is_terminal) write_error("\r\033[K");
  signal(number, SIG_DFL);
  raise(number);
}

// A mapped file shrank under us. Only async-signal-safe calls from here on.
void on_shrunk_file(const char* path) {
  onnxtool::remove_temporary_files();
  if (g_err_is_terminal) write_error("\r\033[K");
  write_error("error[not-found]: ");
  write_error(path);
  write_error(
      ": the file shrank while it was being read\nhint: run again when nothing writes to it\n");
  ::_exit(2);
}

void install_handlers() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    // What the caller had ignored (nohup, background jobs of a script) stays so; but a closed pipe
    // must end a run that nobody reads, whoever started it.
    struct sigaction action = {};
    sigaction(number, nullptr, &action);
    if (action.sa_handler == SIG_IGN && number != SIGPIPE) continue;
    action = {};
    action.sa_handler = on_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    sigaction(number, &action, nullptr);
  }
  // A write beyond the limit on file sizes then fails like one to a full disk.
  signal(SIGXFSZ, SIG_IGN);
  onnxtool::install_mapping_fault_handler(on_shrunk_file);
}

// Lines of help on a terminal follow it; elsewhere they are the same everywhere.
size_t line_width() {
  struct winsize size = {};
  if (!::isatty(STDOUT_FILENO) || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
      size.ws_col == 0)
    return 100;
  return std::clamp<size_t>(size.ws_col, 60, 120);
}

// A dumb terminal cannot redraw a line.
bool can_redraw() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) && term && *term && std::strcmp(term, "dumb") != 0;
}

}  // namespace

int main(int argc, char** argv) {
  g_err_is_terminal = can_redraw();
  install_handlers();
  const onnxtool::Streams streams{std::cout, std::cerr, g_err_is_terminal, line_width()};
  int code = 3;
  try {
    code = onnxtool::run_command_line({argv + std::min(argc, 1), argv + argc}, streams);
    std::cout.flush();
    if (!std::cout && code < 2) {
      onnxtool::print_error(std::cerr,
                            {onnxtool::ErrorCode::kWriteFailed, "stdout: cannot write the report",
                             "is the disk full that it goes to?"});
      code = 2;
    }
  } catch (const std::exception& e) {
    std::cerr
        << "internal error: " << e.what()
        << "\nhint: this is a bug of onnxtool; please report it with the command and the model\n";
  }
  onnxtool::remove_temporary_files();
  return code;
}
