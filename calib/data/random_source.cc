// Samples of random values: the same on every machine.

#include <algorithm>
#include <cmath>

#include "calib/data/arrays.h"
#include "calib/data/model_inputs.h"
#include "calib/data/source.h"
#include "calib/data/split_mix.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

/// ln(x) for normal x in (0, 1), from operations that IEEE 754 rounds exactly: libm's logarithms
/// differ in the last bit between systems. Within 2e-16 relative of ln in the test's range.
double portable_log(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // [0.5, 1)
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), s2 = s * s;  // ln m = 2 artanh s, |s| <= 0.1716
  double sum = 0;
  for (int k = 23; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
  return 2 * s * sum + exponent * 0.69314718055994531;
}

/// Pairs from N(0, 1) by Marsaglia's polar method.
class Normal {
 public:
  explicit Normal(SplitMix64& generator) : generator_(generator) {}
  double next() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    double u, v, s;
    do {
      u = 2 * generator_.uniform() - 1;
      v = 2 * generator_.uniform() - 1;
      s = u * u + v * v;
    } while (s >= 1 || s == 0);
    const double factor = std::sqrt(-2 * portable_log(s) / s);
    spare_ = v * factor;
    has_spare_ = true;
    return u * factor;
  }

 private:
  SplitMix64& generator_;
  double spare_ = 0;
  bool has_spare_ = false;
};

struct RandomInput {
  InputSpec spec;
  IntegerBounds bounds;  // of integers and bool
};

class RandomSource final : public SampleSource {
 public:
  RandomSource(int64_t count, uint64_t seed, std::vector<RandomInput> inputs)
      : count_(count), seed_(seed), inputs_(std::move(inputs)) {}

  int64_t size() const override { return count_; }

  Result<Sample> read(int64_t index) const override {
    ONNXTOOL_CHECK(index >= 0 && index < count_);
    Sample sample;
    sample.id = "random " + std::to_string(index);
    for (size_t i = 0; i < inputs_.size(); ++i) {
      // Streams of different samples and inputs start at unrelated points of the generator's cycle.
      uint64_t state = SplitMix64::mix(seed_ + 0x9e3779b97f4a7c15u);
      state = SplitMix64::mix(state ^ static_cast<uint64_t>(index)) + i;
      SplitMix64 generator(SplitMix64::mix(state));
      ONNXTOOL_ASSIGN(Tensor tensor, fill(inputs_[i], generator));
      sample.inputs.push_back(std::move(tensor));
    }
    return sample;
  }

  SourceDescription describe() const override {
    SourceDescription d;
    d.format = "random";
    d.count = count_;
    d.random = true;
    d.seed = seed_;
    for (const RandomInput& in : inputs_)
      d.inputs.push_back(is_float(in.spec.dtype) ? "N(0, 1)"
                                                 : std::to_string(in.bounds.low) + " to " +
                                                       std::to_string(in.bounds.high));
    return d;
  }
  const std::vector<std::string>& labels() const override { return no_names_; }
  bool has_labels() const override { return false; }

 private:
  static Result<Tensor> fill(const RandomInput& input, SplitMix64& generator) {
    const std::vector<int64_t>& dims = input.spec.dims;
    const auto count = static_cast<size_t>(*checked_product(dims));
    if (is_float(input.spec.dtype)) {
      Normal normal(generator);
      std::vector<double> values(count);
      for (double& v : values) v = normal.next();
      return convert_tensor(Tensor::from(dims, values), input.spec.dtype);
    }
    const auto low = static_cast<uint64_t>(input.bounds.low);
    const uint64_t span = static_cast<uint64_t>(input.bounds.high) - low + 1;  // 0: all of 64 bits
    std::vector<int64_t> values(count);
    for (int64_t& v : values)
      v = static_cast<int64_t>(low + (span ? generator.below(span) : generator.next()));
    return convert_tensor(Tensor::from(dims, values), input.spec.dtype);
  }

  int64_t count_;
  uint64_t seed_;
  std::vector<RandomInput> inputs_;
  std::vector<std::string> no_names_;
};

// `x=1,3,224,224`: what is known of the shape, and 1 for the rest.
std::string shape_of_ones(const InputSpec& spec) {
  if (!spec.known_rank) return spec.name + "=D0,D1,...";
  std::string out;
  for (const int64_t d : spec.dims) out += (out.empty() ? "" : ",") + std::to_string(d < 0 ? 1 : d);
  return spec.name + "=" + out;
}

// Which flags make all extents known.
std::string how_to_settle(const InputSpec& spec) {
  std::string names;
  bool all_named = spec.known_rank;
  for (size_t i = 0; i < spec.dims.size(); ++i) {
    if (spec.dims[i] >= 0) continue;
    const std::string name = i < spec.dim_names.size() ? spec.dim_names[i] : "";
    all_named &= !name.empty();
    const std::string flag = " --dim " + name + "=...";
    if (names.find(flag) == std::string::npos) names += flag;
  }
  return "settle them with" + (all_named ? names + ", or with" : "") + " --input-shape " +
         shape_of_ones(spec);
}

}  // namespace

Result<std::unique_ptr<SampleSource>> open_random(
    int64_t count, uint64_t seed, std::span<const InputSpec> specs,
    const std::map<std::string, IntegerBounds>& bounds) {
  const auto usage = [](std::string message, std::string hint = {}) {
    return Error{ErrorCode::kUsage, "--random: " + std::move(message), std::move(hint)};
  };
  if (count < 1) return usage(std::to_string(count) + " samples, expected 1 or more");
  std::vector<RandomInput> inputs;
  for (const InputSpec& spec : specs) {
    RandomInput input{spec, {0, 1}};
    if (!spec.known_rank || std::find_if(spec.dims.begin(), spec.dims.end(),
                                         [](int64_t d) { return d < 0; }) != spec.dims.end())
      return usage("input " + format_spec(spec) + " has unknown dims", how_to_settle(spec));
    const auto elements = checked_product(spec.dims);
    constexpr int64_t kMaxElements = int64_t{1}
                                     << 40;  // a product of sizes from a model, not a real request
    if (!elements || *elements > kMaxElements)
      return usage("input " + format_spec(spec) + " has too many elements");
    if (const auto range = range_of_type(spec.dtype)) {
      const auto given = bounds.find(spec.name);
      if (given != bounds.end()) {
        input.bounds = given->second;
      } else if (names_a_mask(spec.name)) {
        input.bounds = {0, 1};
      } else if (bits_of(spec.dtype) == 8) {
        // Bytes are pixels and quantized values: all of them make sense.
        input.bounds = {range->low, range->high};
      } else {
        return usage("no range is known for the values of input " + format_spec(spec),
                     "give it with --random-range " + spec.name + "=LOW,HIGH, or give data");
      }
      if (input.bounds.low > input.bounds.high || input.bounds.low < range->low ||
          input.bounds.high > range->high)
        return usage("range " + std::to_string(input.bounds.low) + " to " +
                     std::to_string(input.bounds.high) + " of input " + format_spec(spec) +
                     " is empty or passes its type");
    } else if (!is_float(spec.dtype) && spec.dtype != DataType::kBool) {
      return Error{ErrorCode::kUnsupported,
                   "--random: no random values for input " + format_spec(spec), "give data for it"};
    }
    inputs.push_back(std::move(input));
  }
  return std::unique_ptr<SampleSource>(
      std::make_unique<RandomSource>(count, seed, std::move(inputs)));
}

}  // namespace onnxtool
