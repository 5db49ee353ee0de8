// onnxtool ops-config: the operators that a reduced build of ONNX Runtime must have for given
// models.
#include <ostream>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/model_files.h"
#include "libopt/io/load.h"
#include "libopt/ort/config.h"
#include "libopt/ort/prepare.h"

namespace onnxtool {
namespace {

struct Options {
  std::vector<std::string> models;
  std::string output;
  bool type_reduction = false;
  std::string settings_file;
};

void add_flags(CLI::App& c, Options& o) {
  add_list(
      c, o.models,
      {"MODELS", "PATH...",
       "Models (.onnx, .ort), and directories that are searched for them; - is stdin", "Arguments"})
      ->required()
      ->allow_extra_args();
  add_text(c, o.output,
           {"-o,--output", "FILE", "Where the config goes, instead of stdout", "Output"});
  add_switch(
      c, o.type_reduction,
      {"--type-reduction", "", "Also list the types that each operator is used with", "Output"});
  add_config_flags(c);
  c.footer(
      "Example: onnxtool ops-config models/ --type-reduction -o "
      "required_operators_and_types.config");
}

Status add_model(const std::string& path, OperatorConfig& config) {
  ONNXTOOL_ASSIGN(const std::unique_ptr<Model> model, load_model(path));
  Status status = prepare_operators(*model);
  if (status.ok()) status = config.add(*model, path);
  if (!status.ok()) return std::move(status).error().at(path);
  return {};
}

Result<int> run(const Options& o, const Streams& streams) {
  ONNXTOOL_ASSIGN(const std::vector<FoundModel> models, find_models(o.models, {".onnx", ".ort"}));
  std::vector<NamedPath> inputs{{"--config", o.settings_file}};
  for (const FoundModel& m : models) inputs.push_back({"MODELS", m.path});
  const bool to_file = !o.output.empty() && o.output != "-";
  if (to_file) ONNXTOOL_TRY(check_files(inputs, {{"-o", o.output}}));
  OperatorConfig config(o.type_reduction);
  for (const FoundModel& m : models) ONNXTOOL_TRY(add_model(m.path, config));
  if (to_file) {
    ONNXTOOL_TRY(write_text(o.output, config.text()));
    return 0;
  }
  streams.out << config.text();
  return 0;
}

Run add(CLI::App& command) {
  auto o = std::make_shared<Options>();
  add_flags(command, *o);
  return [o, &command](const Streams& streams) -> Result<int> {
    o->settings_file = settings_file(command);
    return run(*o, streams);
  };
}

}  // namespace

extern constinit const CommandInfo kOpsConfigCommand{
    "ops-config", "List the operators that a reduced build of ONNX Runtime needs for models", add};

}  // namespace onnxtool
