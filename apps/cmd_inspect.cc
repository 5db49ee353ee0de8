// onnxtool inspect: what is in a model, where its bytes and its work are.
#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/data_flags.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/inspect_report.h"
#include "apps/mobile_report.h"
#include "apps/model_flags.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"

namespace onnxtool {
namespace {

struct Options {
  std::string model, node, tensor, dot;
  bool want_dot = false;
  std::string target = "ort-cpu";
  int rows = 10;
  DataFlags shapes;
  MobileFlags mobile;
  std::string settings_file;
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  const std::string what = "What is shown", shapes = "Shapes";
  add_text(c, o.model, {"MODEL", "FILE", "Model (.onnx); - is stdin", "Arguments"})->required();
  add_text(c, o.node,
           {"--node", "NAME", "One node: inputs, outputs, attributes; by its name or an output's",
            what});
  add_text(c, o.tensor, {"--tensor", "NAME", "One tensor: storage, sha256, statistics", what});
  add_switch_with_value(
      c, o.dot,
      {"--dot", "PATH", "Write the graph for Graphviz, to stdout or to PATH, instead of a report",
       what});
  add_integer(c, o.rows, 1, 1000000,
              {"--rows", "N", "Rows of long tables; reports for programs have all", what});
  std::string targets;
  for (const Target* t : all_targets())
    if (t->is_onnxruntime && !t->ops.empty())
      targets += (targets.empty() ? "" : "|") + std::string(t->name);
  add_choice(c, o.target,
             {"--target", targets, "Runtime whose integer operators are predicted", what});
  add_mobile_flags(c, o.mobile, what);
  add_list(c, o.shapes.dims,
           {"--dim", "NAME=VALUE", "Give a symbolic extent of the inputs a value", shapes});
  add_list(c, o.shapes.input_shapes,
           {"--input-shape", "NAME=D0,D1,...", "Give an input these extents", shapes});
  add_report_flags(c, o.common);
  add_config_flags(c);
  c.footer("Example: onnxtool inspect model.onnx --dim batch=1");
}

// Declared symbols of outputs are promises that inference keeps; with inputs settled, numbers say
// more.
void forget_output_symbols(Model& model) {
  for (Value* v : model.graph().outputs()) {
    ValueType type = v->type();
    if (!v->producer() || !type.shape) continue;
    for (Dim& d : *type.shape) d.symbol.clear();
    v->set_type(std::move(type));
  }
}

class InspectCommand {
 public:
  InspectCommand(const Options& options, const Streams& streams) : o_(options), streams_(streams) {}

  Result<int> run() {
    ONNXTOOL_TRY(check_mobile_flags(o_.mobile));
    ONNXTOOL_ASSIGN(const std::vector<ReportTarget> targets, report_targets(o_.common, false));
    std::vector<NamedPath> outputs = {{"the output", ""}, {"--dot", o_.dot}};
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    ONNXTOOL_TRY(check_files({{"MODEL", o_.model}, {"--config", o_.settings_file}}, outputs));
    ONNXTOOL_ASSIGN(const std::unique_ptr<Model> model, load_model(o_.model));
    ONNXTOOL_TRY(apply_shapes(*model, o_.shapes));
    if (!o_.shapes.dims.empty() || !o_.shapes.input_shapes.empty()) forget_output_symbols(*model);
    Report report;
    report.command = "inspect";
    report.inputs = {o_.model};
    // What contradicts itself can be looked at too; check says what is wrong.
    if (const Status s = infer_graph(model->graph()); !s.ok())
      report.findings.push_back(
          {"type-conflict", "warning", s.error().message, "", "see onnxtool check"});
    if (o_.want_dot) return write_dot(*model);
    const bool draws =
        std::ranges::any_of(targets, [](const ReportTarget& t) { return t.format == "html"; });
    ONNXTOOL_ASSIGN(report.sections, sections(*model, draws));
    ONNXTOOL_TRY(write_reports(report, targets, o_.common, false, streams_));
    return 0;
  }

 private:
  Result<int> write_dot(const Model& model) {
    const std::string text = dot_text(model);
    if (o_.dot.empty() || o_.dot == "-")
      streams_.out << text << std::flush;
    else
      ONNXTOOL_TRY(write_text(o_.dot, text));
    return 0;
  }

  Result<std::vector<Section>> sections(const Model& model, bool draws) const {
    std::vector<Section> out;
    if (!o_.node.empty()) {
      ONNXTOOL_ASSIGN(Section s, node_panel(model, o_.node));
      out.push_back(std::move(s));
    }
    if (!o_.tensor.empty()) {
      ONNXTOOL_ASSIGN(Section s, tensor_panel(model, o_.tensor));
      out.push_back(std::move(s));
    }
    if (!out.empty()) return out;
    const InspectLimits limits{static_cast<size_t>(o_.rows)};
    out.push_back(model_summary(model, o_.model));
    out.push_back(inputs_and_outputs(model));
    if (draws) out.push_back(graph_drawing(model));
    out.push_back(operators(model, limits));
    out.push_back(layers(model, limits));
    out.push_back(largest_tensors(model, limits));
    out.push_back(memory_over_time(model, limits));
    out.push_back(quantization_state(model, *find_target(o_.target)));
    if (o_.mobile.check) out.push_back(mobile_section(model, o_.mobile));
    return out;
  }

  const Options& o_;
  const Streams& streams_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->want_dot = app->get_option("--dot")->count() > 0;
    options->settings_file = settings_file(*app);
    return InspectCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kInspectCommand{
    "inspect", "Say what is in a model: operators, work, memory, tensors", add};

}  // namespace onnxtool
