// onnxtool optimize: the same model in fewer nodes, and the proof that it is the same.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <set>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/data_flags.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/model_flags.h"
#include "apps/model_output.h"
#include "apps/models.h"
#include "apps/near_miss_report.h"
#include "apps/progress.h"
#include "apps/verification.h"
#include "calib/exec/folder.h"
#include "libopt/analysis/census.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/convert_opset.h"
#include "libopt/convert/strip.h"
#include "libopt/io/load.h"
#include "libopt/io/reread.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/node_names.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

constexpr const char* kSuffix = ".opt.onnx";

struct Options {
  std::string model;
  OutputFlags output;
  SaveOptions save;
  std::vector<std::string> passes, disable, keep;
  int64_t max_growth = 0;
  int opset = 0, allow_opset = 0;
  bool freeze = false, strip = false, explain = false;
  std::string explain_what;
  DataFlags shapes;  // dims and input_shapes of it
  std::string verify = "quick";
  std::string level = "basic", target = "portable";
  std::string settings_file;  // empty: none
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  add_text(c, o.model, {"MODEL", "FILE", "Model (.onnx); - is stdin", "Arguments"})->required();
  const std::string how = "Optimization", shapes = "Shapes and versions";
  add_output_flags(c, o.output, kSuffix);
  add_verify_flag(c, o.verify, "Output");
  add_choice(c, o.level,
             {"--level", "basic|extended",
              "Which passes run (docs/passes.md): basic writes the standard's operators only, "
              "extended those too that the target has besides",
              how});
  add_choice(
      c, o.target,
      {"--target", "portable|ort-cpu", "Runtime that will run the model; portable means any", how});
  add_list(c, o.passes,
           {"--passes", "NAME[,NAME]", "Run only these passes (docs/passes.md lists them)", how});
  add_list(c, o.disable, {"--disable", "NAME[,NAME]", "Leave these passes out", how});
  add_list(c, o.keep,
           {"--keep", "SELECTOR",
            "Leave these nodes as they are: op:TYPE, name:GLOB, or @FILE with one a line", how});
  add_integer(
      c, o.max_growth, int64_t{0}, int64_t{1} << 50,
      {"--max-growth", "BYTES", "How much larger folding may make the file (default: 0)", how});
  add_switch_with_value(c, o.explain_what,
                        {"--explain", "PASS|SELECTOR",
                         "Show what passes came close to and did not do, and why: of one pass, of "
                         "op:TYPE or name:GLOB, or counted",
                         how});
  add_list(c, o.shapes.dims, {"--dim", "NAME=N", "Make a named dynamic dimension N", shapes});
  add_list(c, o.shapes.input_shapes,
           {"--input-shape", "INPUT=DIMS", "Make the shape of an input static, as in x=1,3,224,224",
            shapes});
  add_switch(c, o.freeze,
             {"--freeze", "",
              "Make inputs that have a default constants, as exporters mean them that list weights "
              "among the inputs",
              shapes});
  add_switch(
      c, o.strip,
      {"--strip", "",
       "Leave out doc strings, metadata of nodes and values, and names of nodes; the model's "
       "own metadata stays",
       shapes});
  add_integer(c, o.opset, 1, kMaxConvertTarget,
              {"--opset", "N", "Raise the version of the standard operators to N", shapes});
  add_integer(c, o.allow_opset, 1, kMaxConvertTarget,
              {"--allow-opset", "N",
               "Raise that version up to N where a fusion needs an operator that is newer", shapes});
  add_common_flags(c, o.common);
  add_config_flags(c);
  c.footer("Example: onnxtool optimize resnet.onnx -o resnet.opt.onnx");
}

// --- what to run ---------------------------------------------------------------------------------

Result<std::set<std::string>> pass_names(const std::string& flag,
                                         const std::vector<std::string>& lists) {
  std::vector<std::string> known;
  for (const PassInfo* p : all_passes()) known.emplace_back(p->name);
  std::set<std::string> out;
  for (const std::string& list : lists)
    for (size_t start = 0; start <= list.size();) {
      const size_t end = std::min(list.find(',', start), list.size());
      const std::string name = list.substr(start, end - start);
      start = end + 1;
      if (find_pass(name)) {
        out.insert(name);
        continue;
      }
      const std::string hint = did_you_mean(name, known);
      return Error{ErrorCode::kUsage, fmt::format("{}: there is no pass '{}'", flag, name),
                   hint.empty() ? fmt::format("there are: {}", fmt::join(known, ", ")) : hint};
    }
  return out;
}

// Extended passes write operators of the target, and a portable model has none of them.
bool writes_foreign_operators(const Options& o) {
  return o.level == "extended" && o.target != "portable";
}

Result<std::vector<const PassInfo*>> chosen_passes(const Options& o) {
  ONNXTOOL_ASSIGN(const auto only, pass_names("--passes", o.passes));
  ONNXTOOL_ASSIGN(const auto without, pass_names("--disable", o.disable));
  const bool extended = writes_foreign_operators(o);
  for (const std::string& name : only) {
    if (find_pass(name)->level == Level::kAll)
      return Error{
          ErrorCode::kUsage,
          fmt::format("--passes: {} is for files that the runtime loads as they are", name),
          "onnxtool convert-ort --level all runs it"};
    if (!extended && find_pass(name)->level == Level::kExtended)
      return Error{ErrorCode::kUsage,
                   fmt::format("--passes: {} writes operators that only some runtimes have", name),
                   "--level extended --target ort-cpu permits it"};
  }
  std::vector<const PassInfo*> chosen;
  for (const PassInfo* p : optimization_pipeline(extended ? Level::kExtended : Level::kBasic))
    if ((only.empty() || only.contains(std::string(p->name))) &&
        !without.contains(std::string(p->name)))
      chosen.push_back(p);
  return chosen;
}

std::vector<NamedPath> inputs_of(const Options& o) {
  std::vector<NamedPath> in = {{"MODEL", o.model}, {"--config", o.settings_file}};
  for (const std::string& selector : o.keep)
    if (selector.starts_with("@")) in.push_back({"selector", selector.substr(1)});
  return in;
}

// --- the report ----------------------------------------------------------------------------------

struct Before {
  Census census;
  int64_t bytes = 0;
  int64_t opset = 0, ir_version = 0;
};

Section model_section(const Options& o, const Before& before, const Model& after,
                      const SavedFiles* saved, const std::string& output) {
  Section s{"model", "Model", {}, {}, {}, false};
  s.fields.push_back({"input", "input", o.model, ""});
  if (saved) s.fields.push_back({"output", "output", output, ""});
  if (saved && !saved->data_path.empty())
    s.fields.push_back({"external_data", "external data", saved->data_path, ""});
  const auto changed = [&](const std::string& key, const std::string& label, int64_t was,
                           int64_t is, const std::string& unit = "") {
    const auto text = [](int64_t v) { return format_scalar(v, ""); };
    s.fields.push_back({key, label, was == is ? text(is) : text(was) + " -> " + text(is), unit,
                        Audience::kPeople});
    s.fields.push_back({key + "_before", "", was, "", Audience::kPrograms});
    s.fields.push_back({key + "_after", "", is, "", Audience::kPrograms});
  };
  const Census census = count(after);
  changed("nodes", "nodes", before.census.nodes, census.nodes);
  if (before.census.subgraph_nodes)
    changed("subgraph_nodes", "of them in subgraphs", before.census.subgraph_nodes,
            census.subgraph_nodes);
  changed("parameters", "parameters", before.census.parameters, census.parameters);
  if (saved)
    changed("bytes", "size", before.bytes,
            static_cast<int64_t>(saved->model_bytes + saved->data_bytes), "bytes");
  changed("opset", "opset", before.opset, after.opset(""));
  changed("ir_version", "IR version", before.ir_version, after.ir_version);

  Table ops{"operators",
            "nodes by operator, where they changed",
            {{"op", "operator", ""}, {"before", "before", ""}, {"after", "after", ""}},
            {},
            0};
  std::map<std::string, std::pair<int64_t, int64_t>> counts;
  for (const auto& [op, n] : before.census.by_operator) counts[op].first = n;
  for (const auto& [op, n] : census.by_operator) counts[op].second = n;
  Table all{"all_operators", "", ops.columns, {}, 0, false};
  for (const auto& [op, n] : counts) {
    all.rows.push_back({op, n.first, n.second});
    if (n.first != n.second) ops.rows.push_back(all.rows.back());
  }
  if (!ops.rows.empty()) s.tables.push_back(std::move(ops));
  s.tables.push_back(std::move(all));
  return s;
}

// A pass may stand in the pipeline at several places.
std::vector<PassReport> by_pass(const std::vector<PassReport>& reports) {
  std::vector<PassReport> out;
  for (const PassReport& r : reports) {
    const auto known = std::ranges::find(out, r.pass, &PassReport::pass);
    if (known == out.end()) {
      out.push_back(r);
      continue;
    }
    known->fired += r.fired;
    known->time_ms += r.time_ms;
  }
  return out;
}

Section passes_section(const std::vector<PassReport>& reports, const std::vector<Breach>& dropped) {
  Section s{"passes", "Passes", {}, {}, {}, false};
  const std::vector<PassReport> passes = by_pass(reports);
  Table t{"passes", "", {{"pass", "pass", ""}, {"fired", "fired", ""}}, {}, 0};
  for (const PassReport& p : passes)
    if (p.fired) t.rows.push_back({std::string(p.pass), int64_t{p.fired}});
  if (t.rows.empty())
    s.notes.push_back("nothing to do: no pass found anything");
  else
    s.tables.push_back(std::move(t));
  for (const Breach& d : dropped)
    s.notes.push_back(fmt::format(
        "{} was left out: at {} it brings to light that types contradict each other: {}", d.pass,
        d.node, d.difference));
  return s;
}

Section timing_by_pass(const Progress& progress, const std::vector<PassReport>& passes) {
  Section s = timing_section(progress);
  Table t{"passes", "", {{"pass", "pass", ""}, {"time_ms", "time", "ms"}}, {}, 0, false};
  for (const PassReport& p : by_pass(passes)) t.rows.push_back({std::string(p.pass), p.time_ms});
  s.tables.push_back(std::move(t));
  return s;
}

// --- the command ---------------------------------------------------------------------------------

// What --dim and --input-shape settled holds for every value that names the same dimension.
Status freeze_dims(Model& model, const DataFlags& flags) {
  std::vector<std::vector<Dim>> declared;
  for (const Value* v : model.graph().inputs())
    declared.push_back(v->type().shape.value_or(std::vector<Dim>()));
  ONNXTOOL_TRY(apply_shapes(model, flags));
  std::map<std::string, int64_t> settled;
  for (size_t i = 0; i < declared.size(); ++i) {
    const auto& now = model.graph().inputs()[i]->type().shape;
    for (size_t axis = 0; axis < declared[i].size(); ++axis) {
      const std::string& symbol = declared[i][axis].symbol;
      if (symbol.empty() || declared[i][axis].value || !(*now)[axis].value) continue;
      const auto [it, fresh] = settled.emplace(symbol, *(*now)[axis].value);
      if (!fresh && it->second != *(*now)[axis].value)
        return Error{ErrorCode::kMismatch,
                     fmt::format("dimension '{}' is {} and {} by different flags", symbol,
                                 it->second, *(*now)[axis].value),
                     "a name stands for one extent: give it with --dim"};
    }
  }
  const auto settle = [&](const auto& self, Graph& graph) -> void {
    for (Value* v : graph.values()) {
      ValueType type = v->type();
      if (!type.shape) continue;
      for (Dim& d : *type.shape)
        if (const auto it = settled.find(d.symbol); !d.value && it != settled.end())
          d = Dim::of(it->second);
      v->set_type(std::move(type));
    }
    for (Node& n : graph.nodes()) n.for_each_subgraph([&](Graph& sub) { self(self, sub); });
  };
  if (!settled.empty()) settle(settle, model.graph());
  return {};
}

// Defaults become constants; how many.
int freeze_inputs(Graph& graph) {
  int count = 0;
  for (Value* v : graph.initializers())
    if (v->is_graph_input()) {
      graph.remove_input(*v);
      ++count;
    }
  return count;
}

class OptimizeCommand {
 public:
  OptimizeCommand(const Options& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_ASSIGN(const auto passes, chosen_passes(o_));
    ONNXTOOL_ASSIGN(const Selector keep, Selector::parse(o_.keep));
    ONNXTOOL_ASSIGN(const Explanation explanation, Explanation::parse(o_.explain, o_.explain_what));
    ONNXTOOL_ASSIGN(output_, output_path(o_.output, o_.model, kSuffix));
    ONNXTOOL_ASSIGN(targets_, report_targets(o_.common, output_ == "-"));
    SaveOptions save = o_.save;
    std::vector<NamedPath> outputs = {{"the output", output_},
                                      {"--external-data", data_path_of(output_, save.data_name)}};
    for (const ReportTarget& t : targets_) outputs.push_back({"--report", t.path});
    ONNXTOOL_TRY(check_target(output_, save));
    ONNXTOOL_TRY(check_files(inputs_of(o_), outputs));

    progress_.stage("load");
    ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, load_model(o_.model));
    ONNXTOOL_TRY(keep.check(*model));
    save.protected_files = payload_files(*model);
    save.external_data |= model->had_external_data;
    ONNXTOOL_TRY(check_target(output_, save));
    const Before before{count(*model), bytes_on_disk(*model, o_.model), model->opset(""),
                        model->ir_version};
    ONNXTOOL_TRY(freeze_dims(*model, o_.shapes));
    if (Status s = infer_graph(model->graph()); !s.ok()) return std::move(s).error().at(o_.model);

    progress_.stage("optimize");
    if (const int promoted = promote_initializers(*model))
      notes_.push_back(fmt::format(
          "{} initializers are no longer listed as graph inputs, as IR versions below 4 had to",
          promoted));
    if (o_.freeze)
      if (const int frozen = freeze_inputs(model->graph()))
        notes_.push_back(fmt::format("{} inputs with a default are constants now", frozen));
    std::unique_ptr<Verifier> verifier =
        make_chosen_verifier(*model, o_.verify, effective_threads(o_.common));
    ONNXTOOL_ASSIGN(const bool converted, convert(*model));
    const std::unique_ptr<Folder> folder = make_folder();
    PassContext context;
    context.folder = folder.get();
    context.max_growth_bytes = o_.max_growth;
    context.ort_cpu = writes_foreign_operators(o_);
    context.allowed_opset = o_.allow_opset;
    if (o_.level == "extended" && !context.ort_cpu)
      notes_.push_back(
          "level extended adds nothing for target portable, which has the standard's operators "
          "only: --target ort-cpu has more");
    context.keep = &keep;
    const VerifiedRun result = run_verified(model, passes, context, verifier.get(), converted);

    if (!context.opset_obstacle.empty())
      notes_.push_back("the opset was not raised: " + context.opset_obstacle);
    Report report;
    report.command = "optimize";
    report.inputs = {o_.model};
    const bool strict_failure = fails_strict(o_.verify, result.verification);
    std::optional<SavedFiles> saved;
    if (!result.breach && !strict_failure) {
      if (o_.strip)
        if (const int stripped = strip(*model))
          notes_.push_back(fmt::format(
              "{} doc strings, entries of metadata and names of nodes were left out", stripped));
      progress_.stage("write");
      make_node_names_unique(model->graph());
      ONNXTOOL_ASSIGN(saved, save_model(*model, output_, save));
    }
    progress_.finish();
    report.sections = {model_section(o_, before, *model, saved ? &*saved : nullptr, output_),
                       passes_section(result.passes, result.dropped),
                       verification_section(result.verification, !verifier),
                       timing_by_pass(progress_, result.passes)};
    if (explanation.wanted() && !result.breach)
      report.sections.insert(report.sections.begin() + 2,
                             explanation.section(*model, without(passes, result.dropped), context));
    report.sections[0].notes = notes_;
    if (result.breach) report.findings.push_back(breach_finding(*result.breach));
    if (strict_failure)
      report.findings.push_back(
          {"unverified", "error",
           fmt::format("{} node{} cannot be verified", result.verification->unverified_nodes,
                       result.verification->unverified_nodes == 1 ? "" : "s"),
           o_.model, "nothing was written; --verify full accepts what cannot be run"});
    if (!saved) {
      report.status = "negative";
      report.exit_code = o_.common.exit_zero ? 0 : 1;
    }
    ONNXTOOL_TRY(write_reports(report, targets_, o_.common, output_ == "-", streams_));
    return report.exit_code;
  }

 private:
  static std::vector<const PassInfo*> without(std::vector<const PassInfo*> passes,
                                              const std::vector<Breach>& dropped) {
    std::erase_if(passes, [&](const PassInfo* p) {
      return std::ranges::find(dropped, p->name, &Breach::pass) != dropped.end();
    });
    return passes;
  }

  // Whether the model was changed.
  Result<bool> convert(Model& model) {
    if (o_.opset == 0 || model.opset("") == o_.opset) return false;
    if (model.opset("") > o_.opset)
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: opset is {} already, and --opset {} is below it", o_.model,
                               model.opset(""), o_.opset),
                   "opsets are raised only"};
    auto converted = convert_opset(model, o_.opset);
    if (!converted.ok()) return std::move(converted).error().at(o_.model);
    for (const std::string& change : converted->changes)
      notes_.push_back(fmt::format("opset {}: {}", o_.opset, change));
    return true;
  }

  Finding breach_finding(const Breach& breach) const {
    if (breach.pass.empty())
      return {"not-equal", "error",
              "the model converted to another opset computes something else: " + breach.difference,
              o_.model, "nothing was written; leave out --opset, and please report this model"};
    return {"not-equal", "error",
            fmt::format("{} at {} changes what the model computes: {}", breach.pass, breach.node,
                        breach.difference),
            o_.model,
            fmt::format("nothing was written; leave the pass out with --disable {}, and please "
                        "report this model",
                        breach.pass)};
  }

  const Options& o_;
  const Streams& streams_;
  std::string output_;
  std::vector<ReportTarget> targets_;
  std::vector<std::string> notes_;
  Progress progress_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->save = save_options(*app, options->output);
    options->settings_file = settings_file(*app);
    options->explain = app->get_option("--explain")->count() > 0;
    return OptimizeCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kOptimizeCommand{
    "optimize", "Make the same model with fewer nodes, verified against the original", add};

}  // namespace onnxtool
