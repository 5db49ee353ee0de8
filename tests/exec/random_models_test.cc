// Seeded random models over every operator that the executor claims: the same bits for any number
// of threads and in another memory space; kernel sets, devices, and plans that fuse or not, as
// close as their arithmetic allows. ONNXTOOL_RANDOM_MODELS sets how many, ONNXTOOL_RANDOM_SEED the
// first one.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <set>

#include "calib/compare/side.h"
#include "calib/exec/attention_groups.h"
#include "calib/exec/modules.h"
#include "calib/exec/native_ops.h"
#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "tests/support/devices.h"
#include "tests/support/fake_device.h"
#include "tests/support/random_models.h"

namespace onnxtool::testing {
namespace {

using Sets = std::vector<const KernelSet*>;

struct Way {
  std::string name;
  Sets sets;
  int threads = 1;
  bool fuse = true;
};

Result<std::shared_ptr<const Plan>> plan_of(const RandomModel& m, const Way& way,
                                            std::vector<const Value*> watched = {}) {
  PlanOptions options;
  options.kernel_sets = way.sets;
  options.threads = way.threads;
  options.fuse = options.integers = way.fuse;
  options.watched = std::move(watched);
  return Plan::compile(m.model->graph(), options);
}

Result<std::vector<Datum>> outputs_of(const RandomModel& m, const Way& way) {
  ONNXTOOL_ASSIGN(const auto plan, plan_of(m, way));
  RunContext context(plan);
  std::vector<Datum> outputs;
  ONNXTOOL_TRY(context.run_data(m.inputs, &outputs));
  return outputs;
}

bool same_tensor(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return false;
  return a.dtype() == DataType::kString ? a.strings() == b.strings()
                                        : std::ranges::equal(a.bytes(), b.bytes());
}
bool same_datum(const Datum& a, const Datum& b) {
  if (a.kind() != b.kind()) return false;
  if (a.is_tensor()) return same_tensor(a.tensor(), b.tensor());
  if (a.is_map()) return same_tensor(a.keys(), b.keys()) && same_tensor(a.values(), b.values());
  return !a.is_sequence() || std::ranges::equal(a.items(), b.items(), same_datum);
}

// A bound for what a differently ordered sum may differ by: some units in the last place of the
// largest value about, of the result or of the products that went into it.
double allowed(const Tensor& t, double scale) {
  switch (t.dtype()) {
    case DataType::kFloat: return 0x1p-19 * scale;
    case DataType::kDouble: return 0x1p-46 * scale;
    case DataType::kFloat16: return 0x1p-8 * scale;
    case DataType::kBfloat16: return 0x1p-5 * scale;
    case DataType::kUint8:
    case DataType::kInt8: return 1;  // a step of quantization
    default: return 0;
  }
}

double largest(const Tensor& t) {
  double max = 1;
  if (is_float(t.dtype()))
    for (const double v : t.to_doubles())
      if (std::isfinite(v)) max = std::max(max, std::abs(v));
  return max;
}

std::string difference(const Tensor& a, const Tensor& b, double scale) {
  if (a.dtype() != b.dtype() || a.dims() != b.dims())
    return std::string(name(b.dtype())) + format_dims(b.dims()) + " instead of " +
           std::string(name(a.dtype())) + format_dims(a.dims());
  if (a.dtype() == DataType::kString) return same_tensor(a, b) ? "" : "other strings";
  const double bound = allowed(a, std::max(scale, largest(a)));
  const auto x = a.to_doubles(), y = b.to_doubles();
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    if (!(std::abs(x[i] - y[i]) <= bound))
      return "element " + std::to_string(i) + " is " + std::to_string(y[i]) + " instead of " +
             std::to_string(x[i]) + ", allowed " + std::to_string(bound);
  }
  return "";
}

Tensor copy_of(const ConstView& v) {
  const std::vector<int64_t> dims(v.dims.begin(), v.dims.end());
  if (v.dtype == DataType::kString) {
    const auto strings = v.as<std::string>();
    return Tensor::from_strings(dims, {strings.begin(), strings.end()});
  }
  const auto* data = static_cast<const std::byte*>(v.data);
  const size_t size = size_bytes_of(v.dtype, static_cast<uint64_t>(v.count));
  return Tensor::from_bytes(v.dtype, dims, {data, data + size});
}

// Every value that the reference gives, in the order of the watched.
class Recorder final : public Observer {
 public:
  explicit Recorder(size_t watched) : values(watched) {}
  Status observe(int watch, const ConstView& value) override {
    values[static_cast<size_t>(watch)] = copy_of(value);
    return {};
  }
  bool needs_plain() const override { return true; }
  std::vector<Tensor> values;
};

// Compares each value with the reference's and goes on with that one, so that an operator answers
// for its own rounding only.
class Comparer final : public Observer {
 public:
  Comparer(std::vector<const Tensor*> reference, double scale)
      : reference_(std::move(reference)), scale_(scale) {}
  Status observe(int watch, const ConstView& value) override {
    const Tensor& r = *reference_[static_cast<size_t>(watch)];
    const std::string d = difference(r, copy_of(value), scale_);
    if (!d.empty() && found.empty()) found = "watched value " + std::to_string(watch) + ": " + d;
    return {};
  }
  std::optional<Replacement> replacement(int watch) override {
    if (!found.empty()) return std::nullopt;
    return Replacement{view_of(*reference_[static_cast<size_t>(watch)])};
  }
  bool needs_plain() const override { return true; }
  std::string found;

 private:
  std::vector<const Tensor*> reference_;
  double scale_;
};

// Whether a small difference in a value stays small in what its readers make of it, so that plans
// may fuse them.
bool read_smoothly(const Value& v) {
  static const std::set<std::string_view> kSmooth = {"Add",       "Sub",  "Mul",     "Relu",
                                                     "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid",
                                                     "HardSwish", "Tanh"};
  return !v.uses().empty() && std::ranges::all_of(v.uses(), [](const Use& u) {
    return kSmooth.contains(u.user->op_type()) && u.user->domain().empty();
  });
}

struct Statistics {
  std::set<std::pair<std::string, std::string>> ran;  // domain, operator
  std::set<std::pair<const KernelInfo*, int>> served;
  std::map<int, int> models_of_recipe;
  std::map<std::string_view, std::set<std::string>> by_set;  // kernel set, operators
  int ran_models = 0, refused = 0, fused = 0;
};

void count_nodes(const Graph& graph, Statistics& s) {
  for (const Node& n : graph.nodes()) {
    s.ran.emplace(n.domain(), n.op_type());
    for (const KernelInfo* k : cpu_kernel_set().kernels)
      if (n.is(k->op, k->domain) && n.opset() >= k->since && n.opset() <= k->until)
        s.served.emplace(k, 0);
    n.for_each_subgraph([&](Graph& sub) { count_nodes(sub, s); });
  }
}

// Values that the reference gives for each result that is a tensor.
struct Reference {
  std::vector<const Value*> values;
  std::vector<Tensor> tensors;
  double scale = 1;  // of the products of inputs
};

Result<Reference> reference_of(const RandomModel& m) {
  Reference r;
  const Graph& graph = m.model->graph();
  for (const Node& n : graph.nodes())
    for (const Value* v : n.outputs())
      if (v && v->type().is_tensor() && !n.is("Constant")) r.values.push_back(v);
  const Way way{"reference", {&cpu_kernel_set()}, 1, false};
  ONNXTOOL_ASSIGN(const auto plan, plan_of(m, way, r.values));
  RunContext context(plan);
  Recorder recorder(r.values.size());
  std::vector<Datum> outputs;
  ONNXTOOL_TRY(context.run_data(m.inputs, &outputs, &recorder));
  r.tensors = std::move(recorder.values);
  double inputs = 1;
  for (const Datum& d : m.inputs)
    if (d.is_tensor()) inputs = std::max(inputs, largest(d.tensor()));
  for (const Value* v : graph.initializers()) inputs = std::max(inputs, largest(*v->initializer()));
  double values = inputs;
  for (const Tensor& t : r.tensors) values = std::max(values, largest(t));
  r.scale = values * inputs;
  return r;
}

std::string compare_locally(const RandomModel& m, const Reference& r, const Way& way,
                            Statistics& statistics) {
  std::vector<const Value*> watched;
  std::vector<const Tensor*> expected;
  for (size_t i = 0; i < r.values.size(); ++i) {
    const Value& v = *r.values[i];
    // Values inside of a recipe that is to fuse are nobody's business but the plan's.
    const bool inside = v.name()[0] != 'y' && !v.is_graph_output();
    if (way.fuse && (inside || read_smoothly(v))) continue;
    watched.push_back(&v);
    expected.push_back(&r.tensors[i]);
  }
  const auto plan = plan_of(m, way, watched);
  if (!plan.ok()) return plan.error().message;
  RunContext context(*plan);
  context.enable_profile();
  Comparer comparer(std::move(expected), r.scale);
  std::vector<Datum> outputs;
  if (const Status s = context.run_data(m.inputs, &outputs, &comparer); !s.ok())
    return s.error().message;
  for (const StepTime& t : context.profile()) {
    statistics.fused += t.operators.find(" + ") != std::string::npos;
    statistics.by_set[t.kernels].insert(t.operators.substr(0, t.operators.find(' ')));
  }
  if (comparer.found.empty()) return "";
  return comparer.found;
}

// Step by step, then recorded, then replayed: the same bits.
void check_recording(const RandomModel& m, const Way& way) {
  const auto plan = plan_of(m, way);
  CHECK_MESSAGE(plan.ok(), way.name);
  if (!plan.ok()) return;
  RunContext context(*plan);
  std::vector<Datum> first, again;
  CHECK_MESSAGE(context.run_data(m.inputs, &first).ok(), way.name);
  for (int run = 0; run < 2; ++run) {
    const Status s = context.run_data(m.inputs, &again);
    CHECK_MESSAGE(s.ok(), way.name << ": " << (s.ok() ? "" : s.error().message));
    CHECK_MESSAGE(std::ranges::equal(first, again, same_datum), way.name);
  }
}

void check_model(const RandomModel& m, const Sets& modules, const Sets& devices, uint32_t seed,
                 Statistics& statistics) {
  INFO("seed ", seed, "\n", m.text);
  const Way plain{"cpu", {&cpu_kernel_set()}};
  const auto first = outputs_of(m, plain);
  std::vector<Way> equal = {{"cpu, 2 threads", plain.sets, 2},
                            {"cpu, 7 threads", plain.sets, 7},
                            {"cpu, 3 threads, nothing fused", plain.sets, 3, false},
                            {"another memory space", {&fake_device_set(), &cpu_kernel_set()}, 2}};
  if (!first.ok()) {
    ++statistics.refused;
    for (const Way& way : equal)
      CHECK_MESSAGE(!outputs_of(m, way).ok(),
                    way.name << " does not refuse: " << first.error().message);
    if (std::getenv("ONNXTOOL_RANDOM_REFUSED"))
      std::cout << "seed " << seed << " refused: " << first.error().message << "\n" << m.text;
    return;
  }
  ++statistics.ran_models;
  count_nodes(m.model->graph(), statistics);
  const auto check_same = [&](const Way& way, const std::vector<Datum>& expected) {
    const auto other = outputs_of(m, way);
    CHECK_MESSAGE(other.ok(), way.name << ": " << (other.ok() ? "" : other.error().message));
    if (!other.ok()) return;
    for (size_t i = 0; i < expected.size(); ++i)
      CHECK_MESSAGE(same_datum(expected[i], (*other)[i]), way.name << ", output " << i);
  };
  for (const Way& way : equal)
    if (way.fuse && way.name != "another memory space") check_same(way, *first);
  Way unfused{"cpu, nothing fused", plain.sets, 1, false};
  const auto separate = outputs_of(m, unfused);
  CHECK(separate.ok());
  if (!separate.ok()) return;
  check_same(equal[2], *separate);
  unfused.name = "another memory space, nothing fused";
  unfused.sets = equal[3].sets;
  check_same(unfused, *separate);

  const auto reference = reference_of(m);
  CHECK_MESSAGE(reference.ok(), (reference.ok() ? "" : reference.error().message));
  if (!reference.ok()) return;
  std::vector<Way> close = {{"cpu, fused", plain.sets},
                            {"portable", {&cpu_kernel_set_portable()}, 1, false}};
  if (modules.size() > 1) {
    close.push_back({"modules", modules});
    close.push_back({"modules, nothing fused", modules, 1, false});
    const auto one = outputs_of(m, {"modules", modules});
    CHECK_MESSAGE(one.ok(), (one.ok() ? "" : one.error().message));
    if (one.ok()) check_same({"modules, 3 threads", modules, 3}, *one);
  }
  for (const KernelSet* device : devices) {
    const std::string name = "device " + std::string(device->isa);
    close.push_back({name, {device, &cpu_kernel_set()}});
    close.push_back({name + ", nothing fused", {device, &cpu_kernel_set()}, 1, false});
  }
  for (const KernelSet* device : devices)
    check_recording(m, {"recorded on " + std::string(device->isa), {device, &cpu_kernel_set()}});
  for (const Way& way : close) {
    const std::string found = compare_locally(m, *reference, way, statistics);
    CHECK_MESSAGE(found.empty(), way.name << ": " << found);
  }
}

}  // namespace

TEST_CASE("random models agree between threads, kernel sets, memory spaces, fused or not") {
  const auto models = RandomModels::load(std::filesystem::path(ONNXTOOL_SOURCE_DIR) / "testdata" /
                                         "exec" / "operators.txt");
  REQUIRE_MESSAGE(models.ok(), (models.ok() ? "" : models.error().message));
  const char* wanted = std::getenv("ONNXTOOL_RANDOM_MODELS");
  const char* from = std::getenv("ONNXTOOL_RANDOM_SEED");
  const auto count = wanted ? static_cast<size_t>(std::atoll(wanted)) : 3 * models->recipes();
  const auto start = from ? static_cast<size_t>(std::atoll(from)) : 0;
  const auto modules = load_kernel_sets("auto");
  REQUIRE(modules.ok());
  const Sets device_sets = devices();
  stand_in_count("onnxtool_replays");
  Statistics statistics;
  for (size_t i = start; i < start + count; ++i) {
    const auto seed = static_cast<uint32_t>(i);
    // Each recipe alone first, then at the head of longer models.
    const int more = i < models->recipes() ? 0 : static_cast<int>(i / models->recipes() % 7);
    auto made = models->make(seed, more);
    REQUIRE_MESSAGE(made.ok(), "seed " << seed << ": " << (made.ok() ? "" : made.error().message));
    if (!made->model) {
      if (std::getenv("ONNXTOOL_RANDOM_REFUSED"))
        std::cout << "seed " << seed << ": line " << models->line_of(seed) << " fits nothing\n";
      continue;
    }
    (void)infer_graph(made->model->graph());
    const int before = statistics.ran_models;
    check_model(*made, modules->sets, device_sets, seed, statistics);
    if (statistics.ran_models > before) ++statistics.models_of_recipe[models->line_of(seed)];
  }
  const int replays = stand_in_count("onnxtool_replays");
  std::cout << "random models: " << statistics.ran_models << " ran, " << statistics.refused
            << " refused, " << statistics.fused << " fused steps, " << replays << " replays\n";
  if (from || count < 3 * models->recipes()) return;
  CHECK(replays > 0);
  for (uint32_t i = 0; i < models->recipes(); ++i)
    CHECK_MESSAGE(statistics.models_of_recipe[models->line_of(i)] > 0,
                  "operators.txt:" << models->line_of(i) << ": no model of it runs");
  for (const KernelInfo* k : cpu_kernel_set().kernels)
    CHECK_MESSAGE((k->domain == kPlanDomain || statistics.served.contains({k, 0})),
                  "no model has " << k->domain << " " << k->op << " since " << k->since);
  for (const NativeOperator& op : native_operators())
    CHECK_MESSAGE(statistics.ran.contains({std::string(op.domain), std::string(op.op)}),
                  "no model has " << op.op);
  Sets others = modules->sets;
  others.push_back(device_sets[0]);
  for (const KernelSet* set : others)
    for (const KernelInfo* k : set->kernels)
      if (set->name != "cpu")
        CHECK_MESSAGE(statistics.by_set[set->name].contains(std::string(k->op)),
                      set->name << " never runs " << k->op);
  CHECK(statistics.fused > 0);
}

}  // namespace onnxtool::testing
