// Throughput of calibration on a device: rows of the table in docs/benchmarks.md, in Markdown.
// scripts/cuda-check.sh calls it.
//
//   onnxtool_device_bench [--device DEVICE] [--samples N] [--rounds N] [--threads N] [--small]
//
// Samples lie in memory, decoded. Percentile's histograms are counted for the operands and results
// of all products and convolutions, and the same samples are run again with nothing watched;
// medians of rounds in turns. --small takes tiny models, to try the program without a GPU.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <set>
#include <string>

#include "bench/device_models.h"
#include "calib/exec/modules.h"
#include "calib/ranges/bundles.h"
#include "calib/ranges/collect.h"
#include "libopt/analysis/batch.h"
#include "libopt/analysis/seam.h"

namespace onnxtool::bench {
namespace {

struct Settings {
  std::string device = "cuda";
  int64_t samples = 4096;
  int rounds = 3, threads = 8;
  bool small = false;
};

// A few samples over and over.
class Pool final : public SampleSource {
 public:
  Pool(const BenchModel& model, int64_t size) : size_(size) {
    uint32_t state = 1;
    for (int i = 0; i < 64; ++i) {
      Sample sample{"sample " + std::to_string(i), {}, -1};
      for (const auto& dims : model.dims) {
        int64_t count = 1;
        for (const int64_t d : dims) count *= d;
        std::vector<int64_t> ids(static_cast<size_t>(model.ids ? count : 0));
        std::vector<float> values(static_cast<size_t>(model.ids ? 0 : count));
        const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
        for (int64_t& id : ids) id = static_cast<int64_t>(next()) % model.ids;
        for (float& x : values) x = static_cast<float>(next()) / 4194304.0f - 2.0f;
        sample.inputs.push_back(model.ids ? Tensor::from<int64_t>(dims, ids)
                                          : Tensor::from<float>(dims, values));
      }
      pool_.push_back(std::move(sample));
    }
  }
  int64_t size() const override { return size_; }
  Result<Sample> read(int64_t index) const override {
    return pool_[static_cast<size_t>(index) % pool_.size()];
  }
  SourceDescription describe() const override { return {}; }
  const std::vector<std::string>& labels() const override { return none_; }
  bool has_labels() const override { return false; }

 private:
  int64_t size_;
  std::vector<Sample> pool_;
  std::vector<std::string> none_;
};

bool is_product(std::string_view op) { return op == "Conv" || op == "MatMul" || op == "Gemm"; }

// What static quantization watches: operands and results of products.
std::vector<const Value*> operands(const Graph& graph) {
  std::set<int> seen;
  std::vector<const Value*> out;
  for (const Node& n : graph.nodes()) {
    if (!is_product(n.op_type())) continue;
    std::vector<const Value*> near(n.inputs().begin(), n.inputs().end());
    near.push_back(&n.output(0));
    for (const Value* v : near)
      if (!v->constant() && seen.insert(v->id()).second) out.push_back(v);
  }
  return out;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class T>
T or_exit(Result<T> result, const char* what) {
  if (result.ok()) return std::move(*result);
  std::cerr << "error: " << what << ": " << result.error().message << "\n";
  std::exit(2);
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

struct Shares {
  double products = 0;  // of the time of all steps
  bool same_bits = true;
};

// One stacked run over and over: where its time goes, and whether its bits stay.
Shares inspect(const Graph& graph, const Pool& source, const RunOptions& options) {
  PlanOptions plan_options;
  plan_options.kernel_sets = options.kernel_sets;
  plan_options.threads = options.threads;
  const auto plan = or_exit(Plan::compile(graph, plan_options), "compiling");
  Shares out;
  RunContext context(plan);
  const Sample bundle =
      or_exit(Bundles(source, std::min<int64_t>(32, source.size())).read(0), "data");
  const std::vector<Tensor> inputs = stacked(bundle.inputs, 1);
  std::vector<Tensor> first;
  for (int i = 0; i < 100; ++i) {
    std::vector<Tensor> outputs;
    if (const Status s = context.run(inputs, &outputs); !s.ok()) {
      std::cerr << "error: running: " << s.error().message << "\n";
      std::exit(2);
    }
    if (i == 0) first = outputs;
    for (size_t k = 0; k < outputs.size(); ++k) out.same_bits &= outputs[k].same_content(first[k]);
    if (options.kernel_sets[0]->device == nullptr && i > 2) break;  // this is about a device
  }
  context.enable_profile();
  for (int i = 0; i < 5; ++i) (void)context.run(inputs, nullptr);
  double all = 0;
  for (const StepTime& t : context.profile()) {
    all += static_cast<double>(t.duration_ns);
    if (is_product(t.operators.substr(0, t.operators.find(' '))))
      out.products += static_cast<double>(t.duration_ns);
  }
  out.products /= all > 0 ? all : 1;
  return out;
}

void measure(const BenchModel& m, const std::string& precision, const Settings& settings) {
  KernelSets sets = or_exit(load_kernel_sets("auto", settings.device), "device");
  if (const Status s = use_precision(sets, precision); !s.ok()) {
    std::printf("| %s | %s | %s | | | | |\n", m.name, precision.c_str(), s.error().message.c_str());
    return;
  }
  const Graph& graph = m.model->graph();
  const std::vector<const Value*> watched = operands(graph);
  std::string why_not;
  if (!computes_samples_alone(graph, watched, &why_not))
    std::cerr << "note: " << m.name << " runs sample by sample: " << why_not << "\n";
  RunOptions options;
  options.kernel_sets = sets.sets;
  options.threads = settings.threads;
  const Pool all(m, settings.samples), few(m, std::min<int64_t>(settings.samples, 96));
  const auto time = [&](const Pool& pool, std::span<const Value* const> what) {
    const auto start = std::chrono::steady_clock::now();
    or_exit(collect_summaries(graph, what, pool, options, Summary::Mode::kHistogram), m.name);
    return static_cast<double>(pool.size()) / seconds_since(start);
  };
  time(few, watched);
  time(few, {});
  std::vector<double> counted, bare;
  for (int i = 0; i < settings.rounds; ++i) {
    counted.push_back(time(all, watched));
    bare.push_back(time(all, {}));
  }
  const Shares shares = inspect(graph, few, options);
  std::printf("| %s, %d values | %s | %.0f | %.0f | %.2f | %.0f %% | %s |\n", m.name,
              static_cast<int>(watched.size()), precision.c_str(), median(counted), median(bare),
              median(bare) / median(counted), 100 * shares.products,
              shares.same_bits ? "yes" : "NO");
  std::fflush(stdout);
}

int run(const Settings& settings) {
  const KernelSets sets = or_exit(load_kernel_sets("auto", settings.device), "device");
  const std::time_t now = std::time(nullptr);
  char date[16];
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  std::printf("%s, %s %s, %lld samples in memory, up to 32 at once, %d threads, medians of %d\n\n",
              date, std::string(sets.sets[0]->name).c_str(), std::string(sets.sets[0]->isa).c_str(),
              static_cast<long long>(settings.samples), settings.threads, settings.rounds);
  std::printf(
      "| model | precision | samples/s | without counting | ratio | products' share of "
      "the time | 100 runs equal |\n|---|---|---|---|---|---|---|\n");
  for (const bool images : {true, false}) {
    const BenchModel m = images           ? settings.small ? resnet50(32, 8) : resnet50()
                                   : settings.small ? bert(2, 128, 16, 100)
                                          : bert();
    if (const Status s = infer_graph(m.model->graph()); !s.ok()) {
      std::cerr << "error: " << s.error().message << "\n";
      return 2;
    }
    for (const char* precision : {"f32", "bf16", "tf32", "fp16"}) measure(m, precision, settings);
  }
  return 0;
}

}  // namespace
}  // namespace onnxtool::bench

int main(int argc, char** argv) {
  onnxtool::bench::Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--small") {
      settings.small = true;
      continue;
    }
    ++i;
    if (flag == "--device")
      settings.device = value;
    else if (flag == "--samples")
      settings.samples = std::max(1, std::atoi(value));
    else if (flag == "--rounds")
      settings.rounds = std::max(1, std::atoi(value));
    else if (flag == "--threads")
      settings.threads = std::max(1, std::atoi(value));
    else
      return std::fprintf(stderr, "error: unknown argument %s\n", flag.c_str()), 2;
  }
  return onnxtool::bench::run(settings);
}
