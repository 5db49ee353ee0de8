// onnxtool quantize: a float model in, a smaller or faster one out that computes nearly the same.
#include "apps/command.h"
#include "apps/config.h"
#include "apps/device_fallback.h"
#include "apps/quantize_flags.h"
#include "apps/quantize_job.h"

namespace onnxtool {
namespace {

Run add(CLI::App& command) {
  auto options = std::make_shared<QuantizeFlags>();
  add_quantize_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->save = save_options(*app, options->output);
    options->settings_file = settings_file(*app);
    for (const CLI::Option* o : app->get_options())
      if (o->count() && !o->get_positional()) options->given.insert("--" + o->get_lnames().at(0));
    options->settings = given_settings(*app);
    return run_on_device<QuantizeJob>(*options, streams);
  };
}

}  // namespace

extern constinit const CommandInfo kQuantizeCommand{
    "quantize", "Make an int8 model from a float model and calibration samples", add};

}  // namespace onnxtool
