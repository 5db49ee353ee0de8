// Counting on a device against Summary on the host: equal in every count. On the module that stands
// in for a GPU, and on one where there is one.
#include <doctest/doctest.h>

#include <atomic>
#include <bit>
#include <climits>
#include <cmath>
#include <limits>

#include "calib/kernels/cpu/cpu_kernels.h"
#include "calib/ranges/collect.h"
#include "calib/ranges/device_counts.h"
#include "calib/ranges/range_file.h"
#include "calib/ranges/shard.h"
#include "libopt/analysis/seam.h"
#include "libopt/support/half.h"
#include "tests/support/devices.h"

namespace onnxtool {
namespace {

template <class T>
ConstView view_of(DataType type, const std::vector<T>& v, const std::vector<int64_t>& dims) {
  return {type, dims, v.data(), static_cast<int64_t>(v.size())};
}

// The same values twice, as two samples of one tensor, counted on the device and on the host.
void check_counted(const DeviceApi& device, const ConstView& value, size_t size_bytes,
                   Summary::Mode mode) {
  void* const there = device.allocate(size_bytes + 1);
  REQUIRE(there);
  REQUIRE(device.to_device(there, value.data, size_bytes).ok());
  ConstView moved = value;
  moved.data = there;
  moved.space = MemorySpace::kDevice;
  DeviceTables tables(3, mode);
  DeviceCounts counts(tables, 3);
  Summary expected(mode), held(Summary::Mode::kMinMax);
  for (int sample = 0; sample < 2; ++sample) {
    REQUIRE(expected.add(value).ok());
    const auto taken = counts.observe(device, 1, moved);
    REQUIRE(taken.ok());
    CHECK(*taken);
    REQUIRE(device.finish().ok());
    const auto parts = counts.take_sample();
    REQUIRE(parts.ok());
    REQUIRE(parts->size() == 1);
    CHECK(parts->front().watch == 1);
    const auto sample_held = Summary::restore(Summary::Mode::kMinMax, parts->front().held, {});
    REQUIRE(sample_held.ok());
    held.merge(*sample_held);
  }
  const auto found_counts = tables.counts(1);
  REQUIRE(found_counts.ok());
  const auto found =
      Summary::restore(mode,
                       {held.zeros(), held.nan(), held.positive_infinity(),
                        held.negative_infinity(), held.finite(), held.min(), held.max()},
                       *found_counts);
  REQUIRE_MESSAGE(found.ok(), (found.ok() ? "" : found.error().message));
  CHECK(*found == expected);
  device.release(there);
}

TEST_CASE("device counts: equal to the host's for all kinds of values and types") {
  // Every sign and exponent, so that octaves fight for a block's slots; more than one block.
  std::vector<float> any(70000);
  uint32_t state = 7;
  for (float& x : any) {
    state = state * 1664525u + 1013904223u;
    x = std::bit_cast<float>(state ^ state >> 11);
  }
  // What activations look like: many zeros of either sign, few octaves.
  std::vector<float> usual(50001);
  for (size_t i = 0; i < usual.size(); ++i)
    usual[i] = i % 3 == 0 ? (i % 2 ? 0.0f : -0.0f)
                          : std::sin(static_cast<float>(i)) * static_cast<float>(i % 17);
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> odd = {kInf, -kInf, std::nanf(""), -0.0f, 1e-45f, -1e-45f, 3.4e38f};
  std::vector<double> doubles(usual.begin(), usual.end());
  doubles[5] = 1e300;  // infinite as a float
  doubles[6] = 1.0 + 1e-12;
  std::vector<uint16_t> patterns(1 << 16);
  for (size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<uint16_t>(i);

  for (const KernelSet* set : testing::devices()) {
    const bool can_count = set->device->count != nullptr;
    REQUIRE(can_count);
    for (const auto mode : {Summary::Mode::kHistogram, Summary::Mode::kMinMax}) {
      const auto check = [&]<class T>(DataType type, const std::vector<T>& v) {
        CAPTURE(name(type));
        CAPTURE(v.size());
        const std::vector<int64_t> dims = {static_cast<int64_t>(v.size())};
        check_counted(*set->device, view_of(type, v, dims), v.size() * sizeof(T), mode);
      };
      check(DataType::kFloat, any);
      check(DataType::kFloat, usual);
      check(DataType::kFloat, odd);
      check(DataType::kFloat, std::vector<float>{-2.5f});
      check(DataType::kFloat, std::vector<float>{-0.0f});
      check(DataType::kFloat, std::vector<float>{});
      check(DataType::kDouble, doubles);
      check(DataType::kFloat16, patterns);
      check(DataType::kBfloat16, patterns);
    }
  }
}

// Counts what travels back.
std::atomic<int64_t> g_fetched{0};
const DeviceApi* g_api = nullptr;

struct CountedSet {
  explicit CountedSet(const KernelSet& of, bool counts) : set(of), api(*of.device) {
    g_api = of.device;
    api.to_host = [](void* to, const void* from, size_t size) {
      g_fetched += 1;
      return g_api->to_host(to, from, size);
    };
    if (!counts) api.count = nullptr;
    set.device = &api;
    g_fetched = 0;
  }
  KernelSet set;
  DeviceApi api;
};

// Without labels; sample `infinite` overflows in the model.
class MadeSamples : public SampleSource {
 public:
  MadeSamples(int64_t count, int64_t infinite) : infinite_(infinite), count_(count) {}
  int64_t size() const override { return count_; }
  SourceDescription describe() const override { return {}; }
  const std::vector<std::string>& labels() const override { return none_; }
  bool has_labels() const override { return false; }

 protected:
  int64_t infinite_;

 private:
  int64_t count_;
  std::vector<std::string> none_;
};

class Ramps final : public MadeSamples {
 public:
  explicit Ramps(int64_t count, int64_t infinite = -1) : MadeSamples(count, infinite) {}
  Result<Sample> read(int64_t index) const override {
    std::vector<float> v(600);
    for (size_t i = 0; i < v.size(); ++i)
      v[i] = (static_cast<float>(i) - 250.0f) * static_cast<float>(index + 1) / 64.0f;
    // 3e38 twice: the input is finite, the sum is not.
    if (index == infinite_) v[17] = 3e38f;
    Sample sample;
    sample.id = "ramp " + std::to_string(index);
    sample.inputs = {Tensor::from<float>({2, 300}, v)};
    return sample;
  }
};

// Steps that give the same bits anywhere.
constexpr const char* kExactModel = R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,300] x) => (float[2,300] y) <int64[1] a = {1}>
{ t = Add (x, x)  r = Relu (t)  n = Neg (r)  m = ReduceMax (n, a)  y = Sub (n, m) })";

struct Collected {
  std::vector<Summary> summaries;
  std::vector<std::vector<Extremes>> extremes;
};

Result<Collected> collected(const std::vector<const KernelSet*>& sets, const SampleSource& source,
                            int threads) {
  auto model = parse_text(kExactModel);
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  std::vector<const Value*> watched;
  for (const char* name : {"x", "t", "r", "n", "m", "y"})
    watched.push_back((*model)->graph().find(name));
  RunOptions options;
  options.kernel_sets = sets;
  options.threads = threads;
  Collected out;
  ONNXTOOL_ASSIGN(out.summaries, collect_summaries((*model)->graph(), watched, source, options,
                                                   Summary::Mode::kHistogram, &out.extremes));
  return out;
}

TEST_CASE("device counts: calibration counts where values lie and fetches summaries only") {
  const Ramps source(9);
  const auto expected = collected({&cpu_kernel_set()}, source, 1);
  REQUIRE(expected.ok());
  for (const KernelSet* device : testing::devices())
    for (const int threads : {1, 3})
      for (const bool counts : {true, false}) {
        const CountedSet counted(*device, counts);
        const auto found = collected({&counted.set, &cpu_kernel_set()}, source, threads);
        REQUIRE_MESSAGE(found.ok(), (found.ok() ? "" : found.error().message));
        CHECK(found->summaries == expected->summaries);
        CHECK(found->extremes == expected->extremes);
        // Six values are watched, five of them made on the device and one uploaded: one fetch a
        // sample, and one histogram a value; a device that cannot count has copied what it made.
        CHECK(g_fetched == (counts ? 9 + 6 : 9 * 5));
      }
}

TEST_CASE("device counts: a value that is not finite is named as on the host") {
  const Ramps source(3, /*infinite=*/1);
  const auto expected = collected({&cpu_kernel_set()}, source, 1);
  REQUIRE(!expected.ok());
  CHECK(expected.error().message.find("tensor 't'") != std::string::npos);
  for (const KernelSet* device : testing::devices()) {
    const auto found = collected({device, &cpu_kernel_set()}, source, 1);
    REQUIRE(!found.ok());
    CHECK(found.error().code == ErrorCode::kNotFinite);
    CHECK(found.error().message == expected.error().message);
  }
}

// Images of random values, the same in every run.
class Images final : public MadeSamples {
 public:
  Images(int64_t count, bool one_shape, int64_t infinite = -1)
      : MadeSamples(count, infinite), one_shape_(one_shape) {}
  Result<Sample> read(int64_t index) const override {
    const int64_t width = one_shape_ ? 6 : 6 + index % 2;
    std::vector<float> v(static_cast<size_t>(3 * 5 * width));
    uint32_t state = static_cast<uint32_t>(index) * 77 + 5;
    for (float& x : v) {
      state = state * 1664525u + 1013904223u;
      // Few bits: sums of products are exact in any order.
      x = static_cast<float>(state >> 28) - 7.0f;
    }
    if (index == infinite_) v[3] = 3e38f;
    Sample sample;
    sample.id = "image " + std::to_string(index);
    sample.inputs = {Tensor::from<float>({1, 3, 5, width}, v)};
    return sample;
  }

 private:
  bool one_shape_;
};

constexpr const char* kBatchModel = R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[N,3,5,W] x) => (float[N,4] y)
<float[4,3,1,1] w = {1.0, 2.0, -1.0, 3.0, 0.5, 1.0, 2.0, -2.0, 1.0, 1.0, -1.0, 4.0}, int64[2] s = {0, -1}>
{ d = Add (x, x)  c = Conv (d, w)  r = Relu (c)  m = GlobalMaxPool (r)  y = Reshape (m, s) })";

struct Batched {
  Result<std::vector<Summary>> summaries;
  int64_t runs = 0;  // fetches of a run's counts
};

Batched calibrate_batches(const char* text, const std::vector<const KernelSet*>& sets,
                          const SampleSource& source, int threads,
                          int64_t* restarts = nullptr) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  std::vector<const Value*> watched;
  for (const char* name : {"d", "r", "y"}) watched.push_back((*model)->graph().find(name));
  Batched out{std::vector<Summary>{}};
  RunOptions options;
  options.kernel_sets = sets;
  options.threads = threads;
  int64_t last = 0;
  options.progress = [&](int64_t done, int64_t total) {
    if (restarts && done <= last)
      ++*restarts;
    else
      CHECK(done > last);
    CHECK(total == source.size());
    last = done;
  };
  const int64_t before = g_fetched;
  out.summaries =
      collect_summaries((*model)->graph(), watched, source, options, Summary::Mode::kHistogram);
  out.runs = g_fetched - before - 3;  // three histograms
  CHECK((!out.summaries.ok() || last == source.size()));
  return out;
}

TEST_CASE("device counts: samples that the model computes apart run at once") {
  for (const KernelSet* device : testing::devices())
    for (const int threads : {1, 3})
      for (const bool one_shape : {true, false}) {
        const Images source(71, one_shape);
        const CountedSet counted(*device, true);
        const Batched expected = calibrate_batches(kBatchModel, {&cpu_kernel_set()}, source, 2);
        const Batched found =
            calibrate_batches(kBatchModel, {&counted.set, &cpu_kernel_set()}, source, threads);
        REQUIRE(expected.summaries.ok());
        REQUIRE_MESSAGE(found.summaries.ok(),
                        (found.summaries.ok() ? "" : found.summaries.error().message));
        CHECK(*found.summaries == *expected.summaries);
        CHECK(found.runs == (one_shape ? 3 : 71));  // of 32, 32 and 7; or one by one
      }
}

TEST_CASE("device counts: samples that a model mixes run one at a time") {
  constexpr const char* kMixes = R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[N,3,5,W] x) => (float[1,3,5,W] y) <int64[1] a = {0}>
{ d = Add (x, x)  r = Relu (d)  [over] y = ReduceMax (r, a) })";
  const Images source(5, true);
  for (const KernelSet* device : testing::devices()) {
    const CountedSet counted(*device, true);
    const Batched found = calibrate_batches(kMixes, {&counted.set, &cpu_kernel_set()}, source, 1);
    REQUIRE(found.summaries.ok());
    CHECK(found.runs == 5);
  }
}

TEST_CASE("device counts: of samples that ran at once, the one that fails is named") {
  const Images source(40, true, /*infinite=*/35);
  const Batched expected = calibrate_batches(kBatchModel, {&cpu_kernel_set()}, source, 1);
  REQUIRE(!expected.summaries.ok());
  CHECK(expected.summaries.error().message.find("image 35") != std::string::npos);
  for (const KernelSet* device : testing::devices()) {
    const Batched found = calibrate_batches(kBatchModel, {device, &cpu_kernel_set()}, source, 1);
    REQUIRE(!found.summaries.ok());
    CHECK(found.summaries.error().code == ErrorCode::kNotFinite);
    CHECK(found.summaries.error().message == expected.summaries.error().message);
  }
}

TEST_CASE("device counts: where memory is short, fewer samples run at once") {
  // Of a request's size, in bytes; a sample's largest value has 4 * 30 floats.
  static constexpr size_t kMost = 480 * 10;
  const Images source(20, true);
  for (const KernelSet* device : testing::devices()) {
    CountedSet small(*device, true);
    small.api.allocate = [](size_t size) -> void* {
      // Histograms and parameters aside.
      return size > kMost && size < 65536 ? nullptr : g_api->allocate(size);
    };
    const Batched expected = calibrate_batches(kBatchModel, {&cpu_kernel_set()}, source, 1);
    const Batched found =
        calibrate_batches(kBatchModel, {&small.set, &cpu_kernel_set()}, source, 1);
    REQUIRE_MESSAGE(found.summaries.ok(),
                    (found.summaries.ok() ? "" : found.summaries.error().message));
    CHECK(*found.summaries == *expected.summaries);
    CHECK(found.runs == 2);  // 20 do not fit, 10 do
  }
}

TEST_CASE("device counts: what broadcasts within a sample runs one by one") {
  constexpr const char* kScaled = R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[N,3] x, float[M,3] s) => (float[K,3] d, float[K,3] r, float[K,3] y)
{ d = Mul (x, s)  r = Relu (d)  y = Neg (r) })";
  class Scaled final : public MadeSamples {
   public:
    Scaled() : MadeSamples(6, -1) {}
    Result<Sample> read(int64_t index) const override {
      const float x = static_cast<float>(index) - 2.5f;
      Sample sample;
      sample.id = std::to_string(index);
      sample.inputs = {Tensor::from<float>({2, 3}, {x, 1, x, 2, x, 3}),
                       Tensor::from<float>({1, 3}, {1, x, 2})};
      return sample;
    }
  };
  const Scaled source;
  const Batched expected = calibrate_batches(kScaled, {&cpu_kernel_set()}, source, 1);
  REQUIRE(expected.summaries.ok());
  for (const KernelSet* device : testing::devices()) {
    const CountedSet counted(*device, true);
    const Batched found =
        calibrate_batches(kScaled, {&counted.set, &cpu_kernel_set()}, source, 1);
    REQUIRE_MESSAGE(found.summaries.ok(),
                    (found.summaries.ok() ? "" : found.summaries.error().message));
    CHECK(*found.summaries == *expected.summaries);
    CHECK(found.runs == 6);
  }
}

TEST_CASE("device counts: where a later bundle does not fit, all are counted anew") {
  // Of values of more than 16 samples: refused from one in the second of three bundles on.
  static std::atomic<int> g_large, g_most;
  const Images source(71, true);
  const Batched expected = calibrate_batches(kBatchModel, {&cpu_kernel_set()}, source, 1);
  for (const KernelSet* device : testing::devices()) {
    CountedSet small(*device, true);
    small.api.allocate = [](size_t size) -> void* {
      const bool large = size > 16 * 480 && size < 65536;
      return large && ++g_large > g_most ? nullptr : g_api->allocate(size);
    };
    const auto calibrate = [&](int most, int64_t* restarts) {
      g_large = 0;
      g_most = most;
      const Batched found = calibrate_batches(kBatchModel, {&small.set, &cpu_kernel_set()}, source,
                                              1, restarts);
      REQUIRE_MESSAGE(found.summaries.ok(),
                      (found.summaries.ok() ? "" : found.summaries.error().message));
      CHECK(*found.summaries == *expected.summaries);
    };
    calibrate(INT_MAX, nullptr);
    // As many in the run that tries whether they fit, and in each of the two that count.
    const int all = g_large;
    int64_t restarts = 0;
    REQUIRE(all >= 3);
    calibrate(all - 1, &restarts);
    CHECK(restarts == 1);
  }
}

TEST_CASE("device counts: shards of a device and of the host join where asked to") {
  const auto part_of = [](const KernelSet& set, int shard, int64_t samples) {
    RangeFile file;
    file.key = {"model", DataDigest().hex(), "options", std::string(set.name),
                std::string(set.isa)};
    file.shard_count = 2;
    file.shards = {shard};
    file.samples = static_cast<uint64_t>(samples);
    file.all_samples = 8;
    auto found = collected({&set, &cpu_kernel_set()}, Ramps(samples), 1);
    REQUIRE(found.ok());
    file.tensors.emplace("t", found->summaries[1]);
    return file;
  };
  for (const KernelSet* device : testing::devices()) {
    const RangeFile here = part_of(cpu_kernel_set(), 0, 4), there = part_of(*device, 1, 4);
    const auto refused = merge_ranges({here, there});
    REQUIRE(!refused.ok());
    CHECK(refused.error().message.find("kernel set and ISA is cuda " + std::string(device->isa)) !=
          std::string::npos);
    const auto joined = merge_ranges({here, there}, /*mix_isa=*/true);
    REQUIRE_MESSAGE(joined.ok(), (joined.ok() ? "" : joined.error().message));
    CHECK(joined->key.kernel_set == "mixed");
    Summary both = here.tensors.at("t");
    both.merge(here.tensors.at("t"));  // the same samples on either side, counted alike
    CHECK(joined->tensors.at("t") == both);
  }
}

}  // namespace
}  // namespace onnxtool
