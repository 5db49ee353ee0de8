// onnxtool inspect: what is in a model, where its bytes and its work are.
#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/data_flags.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/inspect_activations.h"
#include "apps/inspect_report.h"
#include "apps/mobile_report.h"
#include "apps/model_flags.h"
#include "apps/models.h"
#include "apps/optimize_inputs.h"
#include "apps/partition_report.h"
#include "apps/report/svg.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/look.h"
#include "libopt/io/sparse_initializers.h"

namespace onnxtool {
namespace {

struct Options {
  std::string model, second, node, tensor, dot, provider, runtime;
  std::vector<std::string> pictures;
  bool want_dot = false, statistics = false;
  std::string target = "ort-cpu";
  int rows = 10;
  std::string data;
  DataFlags data_flags;
  MobileFlags mobile;
  std::string settings_file;
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  const std::string what = "What is shown";
  add_text(c, o.model, {"MODEL", "FILE", "Model (.onnx); - is stdin", "Arguments"})->required();
  add_text(
      c, o.second,
      {"AFTER", "FILE", "A second model: what it is after, say, onnxtool optimize", "Arguments"});
  add_text(c, o.node,
           {"--node", "NAME", "One node: inputs, outputs, attributes; by its name or an output's",
            what});
  add_text(c, o.tensor, {"--tensor", "NAME", "One tensor: storage, sha256, statistics", what});
  add_switch_with_value(
      c, o.dot,
      {"--dot", "PATH", "Write the graph for Graphviz, to stdout or to PATH, instead of a report",
       what});
  add_list(c, o.pictures,
           {"--svg", "FIGURE=PATH",
            "Write a figure as SVG: treemap (bytes of constants) or memory (activations along the "
            "nodes); repeatable",
            what});
  add_switch(
      c, o.statistics,
      {"--statistics", "", "Read all constants, and list their values' figures and sha256", what});
  add_integer(c, o.rows, 1, 1000000,
              {"--rows", "N", "Rows of long tables; reports for programs have all", what});
  std::string targets;
  for (const Target* t : all_targets())
    if (t->is_onnxruntime && !t->ops.empty())
      targets += (targets.empty() ? "" : "|") + std::string(t->name);
  add_choice(c, o.target,
             {"--target", targets, "Runtime whose integer operators are predicted", what});
  add_mobile_flags(c, o.mobile, what);
  add_choice(c, o.provider,
             {"--provider", partition_providers(),
              "Say which nodes this provider would take, and what is copied at the borders", what});
  add_text(c, o.runtime,
           {"--runtime", "RELEASE",
            "The release of ONNX Runtime whose provider it is (default: the newest known)", what});
  CLI::Option* path =
      add_text(c, o.data,
               {"--data", "PATH",
                "Run the model on these samples, and say what its values hold: images, .npy, .npz, "
                "safetensors, test_data_set_N",
                "Data"});
  add_data_flags(c, o.data_flags);
  path->excludes(c.get_option("--random"));
  add_common_flags(c, o.common);
  for (const char* report : {"--report", "--json"})
    c.get_option("--dot")->excludes(c.get_option(report));
  add_config_flags(c);
  c.footer("Example: onnxtool inspect model.onnx --dim batch=1");
}

class InspectCommand {
 public:
  InspectCommand(const Options& options, const Streams& streams) : o_(options), streams_(streams) {}

  Result<int> run() {
    ONNXTOOL_TRY(check_mobile_flags(o_.mobile));
    ONNXTOOL_ASSIGN(const std::vector<ReportTarget> targets, report_targets(o_.common, false));
    std::vector<NamedPath> outputs = {{"the output", ""}, {"--dot", o_.dot}};
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    ONNXTOOL_TRY(parse_pictures(outputs));
    ONNXTOOL_TRY(parse_runtime());
    ONNXTOOL_TRY(check_files(inputs(), outputs));
    if (o_.model == "-" && o_.second == "-")
      return Error{ErrorCode::kUsage, "both models would come from stdin", "name one of the files"};
    if (!o_.second.empty() && (!o_.node.empty() || !o_.tensor.empty() || !pictures_.empty()))
      return Error{ErrorCode::kUsage, "--node, --tensor and --svg show one model, two are given",
                   "inspect them one by one, or compare them: onnxtool diff --structure"};
    Report report;
    ONNXTOOL_ASSIGN(const std::unique_ptr<Model> model, load(o_.model, report));
    if (!o_.second.empty()) {
      ONNXTOOL_ASSIGN(second_, load(o_.second, report));
    }
    report.command = "inspect";
    report.inputs = {o_.model};
    if (second_) report.inputs.push_back(o_.second);
    if (o_.want_dot) return write_dot(*model);
    ONNXTOOL_ASSIGN(std::vector<Section> panels, panels_of(*model));
    if (runs()) ONNXTOOL_TRY(run_samples_of(*model));
    ONNXTOOL_TRY(write_pictures(*model));
    const bool draws =
        std::ranges::any_of(targets, [](const ReportTarget& t) { return t.format == "html"; });
    report.sections = sections(*model, std::move(panels), draws);
    return write_reports(report, targets, o_.common, false, streams_);
  }

 private:
  bool runs() const { return samples_given(o_.data, o_.data_flags); }

  std::vector<NamedPath> inputs() const {
    std::vector<NamedPath> out = data_inputs(o_.data, o_.data_flags);
    out.push_back({"MODEL", o_.model});
    out.push_back({"AFTER", o_.second});
    out.push_back({"--config", o_.settings_file});
    return out;
  }

  Status run_samples_of(const Model& model) {
    if (second_)
      return Error{ErrorCode::kUsage, "--data and --random run one model, two are given",
                   "compare two with onnxtool diff, or inspect them one by one"};
    if (!o_.node.empty())
      return Error{ErrorCode::kUsage, "--node says nothing of samples", "use --tensor NAME"};
    Progress progress(streams_, o_.common.quiet);
    progress.stage("run");
    ONNXTOOL_ASSIGN(source_, open_samples(model, o_.data, o_.data_flags));
    ONNXTOOL_ASSIGN(const RunOptions run, run_options(o_.common, progress, streams_));
    ONNXTOOL_ASSIGN(activations_, collect_activations(model, *source_, run, o_.tensor));
    progress.finish();
    return {};
  }

  Result<std::unique_ptr<Model>> load(const std::string& path, Report& report) const {
    ONNXTOOL_ASSIGN(
        std::unique_ptr<Model> model,
        look_at_model(path, runs() ? ExternalData::kRequired : ExternalData::kWhereThere));
    ONNXTOOL_TRY(freeze_dims(*model, o_.data_flags));
    if (!o_.data_flags.dims.empty() || !o_.data_flags.input_shapes.empty())
      forget_inner_shapes(model->graph());
    type_sparse_initializers(model->graph());
    // What contradicts itself can be looked at, too, but not run; check says what is wrong.
    if (Status s = infer_graph(model->graph()); !s.ok()) {
      if (runs()) return std::move(s).error().at(path);
      report.findings.push_back(
          {"type-conflict", "warning", s.error().message, "", "see onnxtool check", path});
    }
    return model;
  }

  Status parse_pictures(std::vector<NamedPath>& outputs) {
    for (const std::string& text : o_.pictures) {
      const size_t equals = text.find('=');
      const std::string figure = text.substr(0, equals);
      if (equals == std::string::npos || equals + 1 == text.size() ||
          (figure != "treemap" && figure != "memory"))
        return Error{ErrorCode::kUsage, "--svg: '" + text + "' is no FIGURE=PATH",
                     "write treemap=PATH or memory=PATH"};
      pictures_.emplace_back(figure, text.substr(equals + 1));
      outputs.push_back({"--svg", pictures_.back().second});
    }
    return {};
  }

  Status parse_runtime() {
    runtime_ = &all_runtimes().back();
    if (o_.runtime.empty()) return {};
    if (o_.provider.empty())
      return Error{ErrorCode::kUsage, "--runtime without --provider", "add --provider cuda"};
    if (!(runtime_ = find_runtime(o_.runtime)))
      return Error{ErrorCode::kUsage, "--runtime: unknown release '" + o_.runtime + "'",
                   "known: " + std::string(all_runtimes().front().name) + " to " +
                       std::string(all_runtimes().back().name)};
    return {};
  }

  Status write_pictures(const Model& model) const {
    for (const auto& [figure, path] : pictures_) {
      const Section s =
          figure == "treemap" ? largest_tensors(model, {}) : memory_over_time(model, {});
      if (s.figures.empty())
        return Error{ErrorCode::kUsage, "--svg " + figure + ": there is nothing to draw",
                     figure == "treemap" ? "the model has no constants"
                                         : "settle extents with --dim or --input-shape"};
      const std::string picture = std::holds_alternative<Treemap>(s.figures[0])
                                      ? svg_of(std::get<Treemap>(s.figures[0]))
                                      : svg_of(std::get<Curve>(s.figures[0]));
      ONNXTOOL_TRY(write_text(path, picture));
    }
    return {};
  }

  // Two models: the difference, then what draws, first before, then after.
  std::vector<Section> both(const Model& before, const Model& after, bool draws) const {
    std::vector<Section> out = {before_and_after(before, after, *find_target(o_.target))};
    const auto add = [&](Section s, const char* which) {
      s.key += std::string("_") + which;
      s.title += std::string(", ") + which;
      out.push_back(std::move(s));
    };
    const InspectLimits limits{static_cast<size_t>(o_.rows)};
    for (const auto& [which, model] : {std::pair{"before", &before}, {"after", &after}}) {
      add(model_summary(*model, model == &before ? o_.model : o_.second), which);
      if (draws) add(graph_drawing(*model), which);
      add(layers(*model, limits), which);
      add(largest_tensors(*model, limits), which);
      add(memory_over_time(*model, limits), which);
      add(quantization_state(*model, *find_target(o_.target)), which);
    }
    return out;
  }

  Result<int> write_dot(const Model& model) {
    const std::string text = dot_text(model);
    if (o_.dot.empty() || o_.dot == "-")
      streams_.out << text << std::flush;
    else
      ONNXTOOL_TRY(write_text(o_.dot, text));
    return 0;
  }

  // What was asked for by name: told before anything runs, since a name may be wrong.
  Result<std::vector<Section>> panels_of(const Model& model) const {
    std::vector<Section> out;
    if (!o_.node.empty()) {
      ONNXTOOL_ASSIGN(Section s, node_panel(model, o_.node));
      out.push_back(std::move(s));
    }
    if (!o_.tensor.empty()) {
      ONNXTOOL_ASSIGN(Section s, tensor_panel(model, o_.tensor));
      out.push_back(std::move(s));
    }
    return out;
  }

  std::vector<Section> sections(const Model& model, std::vector<Section> panels, bool draws) const {
    std::vector<Section> out = std::move(panels);
    if (!out.empty()) {
      add_activations(model, out);
      return out;
    }
    if (second_) return both(model, *second_, draws);
    const InspectLimits limits{static_cast<size_t>(o_.rows)};
    out.push_back(model_summary(model, o_.model));
    out.push_back(inputs_and_outputs(model));
    if (draws) out.push_back(graph_drawing(model, activations_));
    out.push_back(operators(model, limits));
    out.push_back(layers(model, limits));
    out.push_back(largest_tensors(model, limits));
    out.push_back(memory_over_time(model, limits));
    out.push_back(quantization_state(model, *find_target(o_.target)));
    if (o_.statistics) out.push_back(constant_statistics(model, limits));
    add_activations(model, out);
    if (!o_.provider.empty())
      out.push_back(partition_section(model, o_.provider, *runtime_, limits.rows));
    if (o_.mobile.check) out.push_back(mobile_section(model, o_.mobile));
    return out;
  }

  void add_activations(const Model& model, std::vector<Section>& out) const {
    if (!source_) return;
    out.push_back(data_section(*source_, model, "Data", "data",
                               "random samples: real ones hold other values"));
    out.push_back(activations_section(activations_, source_->size(),
                                      InspectLimits{static_cast<size_t>(o_.rows)}));
  }

  const Options& o_;
  const Streams& streams_;
  std::unique_ptr<Model> second_;
  std::unique_ptr<SampleSource> source_;  // of --data; nullptr: nothing is run
  std::vector<Activation> activations_;
  std::vector<std::pair<std::string, std::string>> pictures_;  // figure and path
  const RuntimeRelease* runtime_ = nullptr;
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
