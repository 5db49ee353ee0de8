// onnxtool bench: latency, throughput, profile and memory of a model; two models in turns.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "apps/bench.h"
#include "apps/command.h"
#include "apps/config.h"
#include "apps/device_fallback.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/models.h"
#include "apps/report/trace.h"
#include "calib/exec/folder.h"
#include "calib/exec/threads.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/convert_opset.h"
#include "libopt/io/pages.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Options {
  std::string model, other, data, profile, concurrency;
  int64_t runs = 0, warmup = 3;
  double seconds = 3;
  bool no_optimize = false;
  std::string settings_file;  // empty: none
  DataFlags data_flags;
  CommonFlags common;
};

// More samples are not kept in memory.
constexpr int64_t kMostSamples = 16;
constexpr int kMostStreams = 1024;

void add_flags(CLI::App& c, Options& o) {
  const std::string arguments = "Arguments", timing = "Timing", data = "Data";
  add_text(c, o.model, {"MODEL", "FILE", "Model (.onnx); - is stdin", arguments})->required();
  add_text(c, o.other,
           {"OTHER", "FILE", "A second model, timed in turns with the first", arguments});
  add_integer(
      c, o.runs, int64_t{1}, int64_t{1} << 32,
      {"--runs", "N", "Timed runs of each model (default: as many as --seconds gives, at least 10)",
       timing});
  add_number(c, o.seconds, 0, 86400,
             {"--seconds", "S", "Time to measure for, without --runs", timing});
  add_integer(c, o.warmup, int64_t{1}, int64_t{1} << 32,
              {"--warmup", "N", "Runs before any is timed", timing});
  add_text(c, o.concurrency,
           {"--concurrency", "N[,N...]",
            "Also measure so many streams at a time, each on one thread", timing});
  add_text(
      c, o.profile,
      {"--profile", "FILE", "Time each operator, and write a Chrome trace (JSON) here", timing});
  add_switch(
      c, o.no_optimize,
      {"--no-optimize", "", "Run the file as it is, without the passes of optimize", timing});
  CLI::Option* path = add_text(
      c, o.data,
      {"--data", "PATH",
       "Samples: images, .npy, .npz, safetensors, test_data_set_N (default: one random sample)",
       data});
  add_data_flags(c, o.data_flags);
  path->excludes(c.get_option("--random"));
  add_common_flags(c, o.common);
  add_precision_flag(c, o.common);
  add_device_flag(c, o.common);
  add_config_flags(c);
  c.footer("Example: onnxtool bench resnet.onnx resnet.int8.onnx --threads 1");
}

Result<std::vector<int>> stream_counts(const std::string& text) {
  std::vector<int> counts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    int n = 0;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, n);
    if (error != std::errc() || stop != text.data() + end || n < 1 || n > kMostStreams ||
        end + 1 == text.size())
      return Error{ErrorCode::kUsage,
                   "--concurrency " + text + ": expected whole numbers from 1 to " +
                       std::to_string(kMostStreams),
                   "as in --concurrency 1,2,4"};
    counts.push_back(n);
    at = end + 1;
  }
  return counts;
}

// Inputs' extents that nothing settles become 1, as that of a batch would be. Whether there were
// any.
bool settle_open_extents(Graph& graph) {
  bool any = false;
  for (Value* v : graph.inputs()) {
    ValueType type = v->type();
    if (!type.shape) continue;
    for (Dim& d : *type.shape) {
      if (d.value) continue;
      d = Dim::of(1);
      any = true;
    }
    v->set_type(std::move(type));
  }
  return any;
}

// What one operator or node took, without the steps of its subgraphs.
struct Cost {
  std::string name, kernels;
  int64_t calls = 0;
  double ms = 0;
};

class BenchCommand {
 public:
  BenchCommand(const Options& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_ASSIGN(const auto targets, report_targets(o_.common, false));
    ONNXTOOL_ASSIGN(streams_wanted_, stream_counts(o_.concurrency));
    ONNXTOOL_TRY(check_paths(targets));
    progress_.stage("load");
    ONNXTOOL_ASSIGN(const RunOptions run, run_options(o_.common, progress_, streams_));
    plan_options_.kernel_sets = run.kernel_sets;
    plan_options_.threads = run.threads;
    plan_options_.max_iterations = run.max_iterations;
    Report report;
    report.command = "bench";
    ONNXTOOL_TRY(open(o_.model, report));
    if (!o_.other.empty()) ONNXTOOL_TRY(open(o_.other, report));
    progress_.stage("warm up");
    for (BenchSubject& s : subjects_)
      for (int64_t i = 0; i < o_.warmup; ++i) ONNXTOOL_TRY(run_once(s));
    progress_.stage("measure");
    ONNXTOOL_TRY(time_in_turns(subjects_, {o_.runs, o_.seconds}, [&](double done) {
      progress_.update(static_cast<int64_t>(1e3 * std::min(done, 1.0)), 1000);
    }));
    // Before the profile, whose records count too.
    Section timing{"timing", "Latency", {}, {}, {}, true};
    describe_latency(timing);
    ONNXTOOL_TRY(measure_streams(timing));
    if (!o_.profile.empty()) ONNXTOOL_TRY(write_profile(timing));
    progress_.finish();
    report.sections.push_back(plan_section());
    report.sections.push_back(std::move(timing));
    return write_reports(report, targets, o_.common, false, streams_);
  }

 private:
  Status check_paths(const std::vector<ReportTarget>& targets) const {
    std::vector<NamedPath> inputs = data_inputs(o_.data, o_.data_flags);
    inputs.push_back({"MODEL", o_.model});
    inputs.push_back({"OTHER", o_.other});
    inputs.push_back({"--config", o_.settings_file});
    if (o_.model == "-" && o_.other == "-")
      return Error{ErrorCode::kUsage, "both models are -: stdin holds one", {}};
    if (o_.profile == "-")
      return Error{ErrorCode::kUsage, "--profile -: the trace is a file",
                   "name a file, as in --profile trace.json"};
    std::vector<NamedPath> outputs = {{"the output", ""}, {"--profile", o_.profile}};
    for (const ReportTarget& t : targets) outputs.push_back({"--report", t.path});
    return check_files(inputs, outputs);
  }

  // Loads, prepares and plans a model; says in the report what it runs on.
  Status open(const std::string& path, Report& report) {
    const bool first = subjects_.empty();
    BenchSubject s;
    s.path = path;
    ONNXTOOL_ASSIGN(
        s.model, first ? open_model(path, o_.data_flags) : open_second_model(path, o_.data_flags));
    DataFlags flags = o_.data_flags;
    const bool no_data = o_.data.empty() && flags.raw.empty();
    if (!samples_given(o_.data, flags)) flags.random = 1;
    const bool opened = no_data && settle_open_extents(s.model->graph());
    if (opened) ONNXTOOL_TRY(infer_graph(s.model->graph()));
    auto source = open_samples(*s.model, o_.data, flags);
    if (!source.ok()) return std::move(source).error().at(path);
    for (int64_t i = 0; i < std::min((*source)->size(), kMostSamples); ++i) {
      ONNXTOOL_ASSIGN(Sample sample, (*source)->read(i));
      s.samples.push_back(std::move(sample));
    }
    if (!o_.no_optimize) ONNXTOOL_TRY(optimize(*s.model));
    auto plan = Plan::compile(s.model->graph(), plan_options_);
    if (!plan.ok()) return std::move(plan).error().at(path);
    s.plan = *std::move(plan);
    s.context = std::make_unique<RunContext>(s.plan);
    report.inputs.push_back(path);
    if (first) {
      report.sections.push_back(
          data_section(**source, *s.model, "Data", "data",
                       "random samples: models whose time depends on values may take another"));
      if (opened)
        report.sections.back().notes.push_back(
            "extents that the model leaves open are 1: settle them with --dim or --input-shape");
      if ((*source)->size() > kMostSamples)
        report.sections.back().notes.push_back(
            fmt::format("the first {} samples are run", kMostSamples));
    }
    subjects_.push_back(std::move(s));
    return {};
  }

  // As a runtime would when it loads the model; types were inferred, so that shapes given by flags
  // count.
  static Status optimize(Model& model) {
    promote_initializers(model);
    const std::unique_ptr<Folder> folder = make_folder();
    PassContext context;
    context.folder = folder.get();
    run_passes(model, optimization_pipeline(), context);
    // Passes that compare weights have read all of them.
    for (const Value* v : model.graph().initializers()) release_pages(*v->initializer());
    return infer_graph(model.graph());
  }

  Section plan_section() const {
    Section s{"plan", "Plan", {}, {}, {}, false};
    s.fields.push_back({"threads", "threads inside a run", int64_t{plan_options_.threads}, ""});
    s.fields.push_back({"optimized", "optimized first", !o_.no_optimize, ""});
    Table t{"models", "", {{"model", "model", ""}, {"kernels", "kernels", ""}}, {}, 0};
    for (const BenchSubject& b : subjects_) t.rows.push_back({b.path, b.plan->describe_kernels()});
    s.tables.push_back(std::move(t));
    return s;
  }

  void describe_latency(Section& s) const {
    Table t{"latency", "one sample after the other", {}, {}, 0};
    t.columns = {{"model", "model", ""},    {"runs", "runs", ""},    {"p50_ms", "p50", "ms"},
                 {"p90_ms", "p90", "ms"},   {"p99_ms", "p99", "ms"}, {"min_ms", "min", "ms"},
                 {"mean_ms", "mean", "ms"}, {"cpu_ms", "CPU", "ms"}, {"per_second", "runs/s", ""}};
    for (const BenchSubject& b : subjects_) {
      const Latency l = summarize_latency(b.ms);
      t.rows.push_back(
          {b.path, l.runs, l.p50, l.p90, l.p99, l.min, l.mean, b.cpu_ms, 1e3 / l.mean});
    }
    s.tables.push_back(std::move(t));
    if (subjects_.size() == 2) describe_ratio(s);
    int64_t buffers = 0;
    for (const BenchSubject& b : subjects_)
      buffers += static_cast<int64_t>(b.context->memory_bytes());
    s.fields.push_back({"buffers_bytes", "memory of buffers", buffers, "bytes"});
    s.fields.push_back(
        {"peak_memory_bytes", "peak memory of the process", peak_memory_bytes(), "bytes"});
  }

  void describe_ratio(Section& s) const {
    const auto &a = subjects_[0].round_ms, &b = subjects_[1].round_ms;
    const RatioInterval r = ratio_interval(a, b);
    s.fields.push_back({"ratio", "time of the first / the second", r.ratio, ""});
    if (a.size() >= kFewestPairs) {
      s.fields.push_back({"ratio_low", "95 % interval from", r.low, ""});
      s.fields.push_back({"ratio_high", "to", r.high, ""});
    } else {
      s.notes.push_back(
          fmt::format("too few pairs for an interval: {}, of {} at least", a.size(), kFewestPairs));
    }
    if (const std::string other = difference_of_inputs(); !other.empty())
      s.notes.push_back("the models do not run on the same inputs: " + other);
  }

  // Of the first samples; empty: there is none.
  std::string difference_of_inputs() const {
    const auto &a = subjects_[0].samples[0].inputs, &b = subjects_[1].samples[0].inputs;
    if (a.size() != b.size()) return fmt::format("{} and {}", a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i)
      if (a[i].dtype() != b[i].dtype() || a[i].dims() != b[i].dims())
        return fmt::format("input {} is {}{} and {}{}", i, name(a[i].dtype()),
                           format_dims(a[i].dims()), name(b[i].dtype()), format_dims(b[i].dims()));
    return {};
  }

  Status measure_streams(Section& s) {
    if (streams_wanted_.empty()) return {};
    progress_.stage("measure streams");
    Table t{"load", "streams at a time, one thread each", {}, {}, 0};
    t.columns = {{"model", "model", ""},  {"streams", "streams", ""}, {"per_second", "runs/s", ""},
                 {"p50_ms", "p50", "ms"}, {"p90_ms", "p90", "ms"},    {"p99_ms", "p99", "ms"}};
    PlanOptions single = plan_options_;
    single.threads = 1;
    for (const BenchSubject& b : subjects_) {
      ONNXTOOL_ASSIGN(const auto plan, Plan::compile(b.model->graph(), single));
      for (const int n : streams_wanted_) {
        ONNXTOOL_ASSIGN(const LoadPoint p, measure_load(plan, b.samples, n, o_.seconds));
        t.rows.push_back(
            {b.path, int64_t{n}, p.per_second, p.latency.p50, p.latency.p90, p.latency.p99});
      }
    }
    s.tables.push_back(std::move(t));
    return {};
  }

  Status write_profile(Section& s) {
    progress_.stage("profile");
    std::vector<TraceProcess> processes;
    std::vector<TraceEvent> events;
    Table operators{"operators", "operators, of one run", {}, {}, 15},
        nodes{"nodes", "nodes that take longest", {}, {}, 10};
    operators.columns = {{"model", "model", ""},     {"operator", "operator", ""},
                         {"kernels", "kernels", ""}, {"calls", "calls", ""},
                         {"ms", "time", "ms"},       {"share_percent", "share", "%"}};
    nodes.columns = {{"model", "model", ""}, {"node", "node", ""}, {"kernels", "kernels", ""},
                     {"calls", "calls", ""}, {"ms", "time", "ms"}, {"share_percent", "share", "%"}};
    for (BenchSubject& b : subjects_) {
      constexpr int kRuns = 11;
      std::vector<std::vector<StepTime>> runs(kRuns);
      int64_t begin = 0;  // the next run's, in the trace
      processes.push_back({static_cast<int>(processes.size()) + 1, b.path});
      for (std::vector<StepTime>& run : runs) {
        b.context->enable_profile();
        ONNXTOOL_TRY(run_once(b));
        run = b.context->profile();
        for (const StepTime& t : run)
          events.push_back({t.operators, std::string(t.kernels), std::string(t.node),
                            processes.back().id, 1, begin + t.start_ns, t.duration_ns});
        if (!run.empty()) begin += run.back().start_ns + run.back().duration_ns;
      }
      const auto add_rows = [&](Table& table, bool by_node) {
        const std::vector<Cost> costs = typical_costs(runs, by_node);
        double all = 0;
        for (const Cost& c : costs) all += c.ms;
        for (const Cost& c : costs)
          table.rows.push_back({b.path, c.name, c.kernels, c.calls, c.ms, 100 * c.ms / all});
      };
      add_rows(operators, false);
      add_rows(nodes, true);
    }
    s.tables.push_back(std::move(operators));
    s.tables.push_back(std::move(nodes));
    return write_text(o_.profile, render_trace(processes, events));
  }

  // The median over runs of each operator's or node's cost, slowest first: whatever else runs on
  // the machine stops some step of nearly every run for a while.
  static std::vector<Cost> typical_costs(const std::vector<std::vector<StepTime>>& runs,
                                         bool by_node) {
    std::map<std::pair<std::string, std::string>, std::vector<Cost>> all;
    for (const auto& steps : runs)
      for (Cost& c : costs_of(steps, by_node)) all[{c.name, c.kernels}].push_back(std::move(c));
    std::vector<Cost> out;
    for (auto& [key, costs] : all) {
      const auto middle = costs.begin() + static_cast<std::ptrdiff_t>(costs.size() / 2);
      std::nth_element(costs.begin(), middle, costs.end(),
                       [](const Cost& a, const Cost& b) { return a.ms < b.ms; });
      out.push_back(std::move(*middle));
    }
    std::stable_sort(out.begin(), out.end(),
                     [](const Cost& a, const Cost& b) { return a.ms > b.ms; });
    return out;
  }

  // Of one run, by operator or by node.
  static std::vector<Cost> costs_of(const std::vector<StepTime>& steps, bool by_node) {
    std::map<std::pair<std::string, std::string>, Cost> costs;
    std::vector<int64_t> within;  // by depth: what the subgraphs of the step to come took
    for (const StepTime& t : steps) {
      const auto depth = static_cast<size_t>(t.depth);
      if (within.size() < depth + 2) within.resize(depth + 2, 0);
      Cost& c = costs[{by_node ? std::string(t.node) : t.operators, std::string(t.kernels)}];
      ++c.calls;
      c.ms += static_cast<double>(t.duration_ns - within[depth + 1]) / 1e6;
      within[depth + 1] = 0;
      within[depth] += t.duration_ns;
    }
    std::vector<Cost> out;
    for (auto& [key, c] : costs) out.push_back({key.first, key.second, c.calls, c.ms});
    return out;
  }

  const Options& o_;
  const Streams& streams_;
  Progress progress_;
  PlanOptions plan_options_;
  std::vector<int> streams_wanted_;
  std::vector<BenchSubject> subjects_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->settings_file = settings_file(*app);
    return run_on_device<BenchCommand>(*options, streams);
  };
}

}  // namespace

extern constinit const CommandInfo kBenchCommand{
    "bench", "Time a model, or two in turns: latency, throughput, profile, memory", add};

}  // namespace onnxtool
