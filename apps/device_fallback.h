// What --device auto promises: where a GPU cannot do it, the CPU does.
#pragma once

#include <ostream>
#include <utility>

#include "apps/command.h"
#include "apps/model_flags.h"
#include "calib/exec/modules.h"

namespace onnxtool {

/// Runs a command that takes its options, whose `common` names the device. Where `auto` chose one
/// that then fails or has too little memory, says so and runs the command again on the CPU.
template <class Command, class Options>
Result<int> run_on_device(const Options& options, const Streams& streams) {
  Result<int> code = Command(options, streams).run();
  if (code.ok() || options.common.device != "auto" || !is_of_device(code.error())) return code;
  if (!options.common.quiet)
    streams.err << "note: " << code.error().message << "; runs on the CPU instead\n";
  Options on_host = options;
  on_host.common.device = "cpu";
  return Command(on_host, streams).run();
}

}  // namespace onnxtool
