#include "calib/compare/trial_inputs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <span>

#include "calib/data/arrays.h"
#include "calib/data/model_inputs.h"
#include "calib/data/split_mix.h"
#include "libopt/analysis/assumptions.h"
#include "libopt/analysis/settled_extents.h"
#include "libopt/support/checked.h"

namespace onnxtool {

// Extents of one attempt: of dynamic dimensions that come first in an input (batches, as a rule),
// and of all others, whose symbols differ from each other by `step`.
struct TrialInputs::Extents {
  int64_t first, other, step;

  // Towards 1, 1 and 0, batches first: images and sound want room.
  void shrink() {
    int64_t& extent = first > 1 ? first : other > 1 ? other : step;
    extent /= 2;
  }
};

namespace {

// As first, other and step. A model that fails on small images or sound gets larger ones later.
constexpr int64_t kExtents[][3] = {{2, 6, 0}, {1, 16, 0},  {3, 7, 1},  {1, 64, 0},
                                   {1, 1, 0}, {2, 224, 0}, {1, 32, 3}, {4, 4, 0}};

// What dynamic dimensions above 1 may add to all inputs of an attempt: the model makes many times
// as much of them.
constexpr int64_t kMostMoreElements = int64_t{1} << 21;

// Integers that nothing bounds.
constexpr std::array<IntegerBounds, 3> kUnbounded = {{{0, 1}, {-3, 3}, {1, 2}}};

// An input this large would not be run for a comparison.
constexpr int64_t kMaxElements = int64_t{1} << 28;

// Above kMaxElements where it is, and where a dimension is negative.
int64_t elements_of(const std::vector<int64_t>& dims) {
  const auto count = checked_product(dims);
  return count ? std::min(*count, kMaxElements + 1) : kMaxElements + 1;
}
int64_t elements_of(const std::vector<std::vector<int64_t>>& all_dims) {
  int64_t sum = 0;
  for (const auto& dims : all_dims) sum += elements_of(dims);
  return sum;
}

constexpr std::array<double, 6> kEdges = {0.0, -0.0, 1.0, -1.0, 1e-30, 100.0};
constexpr std::array<double, 3> kNonFinite = {std::numeric_limits<double>::quiet_NaN(),
                                              std::numeric_limits<double>::infinity(),
                                              -std::numeric_limits<double>::infinity()};
// One value in so many is an edge.
constexpr uint64_t kEdgeEvery = 7;

bool is_integer(DataType t) {
  switch (t) {
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
    case DataType::kInt64:
    case DataType::kUint8:
    case DataType::kUint16:
    case DataType::kUint32:
    case DataType::kUint64: return true;
    default: return false;
  }
}

bool is_unsigned(DataType t) {
  return t == DataType::kUint8 || t == DataType::kUint16 || t == DataType::kUint32 ||
         t == DataType::kUint64;
}

// Of numbers that cost little: images are drawn in a fraction of an inference's time.
class Random {
 public:
  explicit Random(uint64_t seed) : generator_(seed) {}
  uint64_t below(uint64_t n) { return generator_.next() % n; }
  double between(double low, double high) { return low + generator_.uniform() * (high - low); }

 private:
  SplitMix64 generator_;
};

template <class T>
Tensor drawn(DataType dtype, const std::vector<int64_t>& dims, size_t count, Random& random,
             bool edges, bool non_finite) {
  std::vector<std::byte> bytes(count * sizeof(T));
  const std::span<T> values(reinterpret_cast<T*>(bytes.data()), count);
  for (T& v : values) {
    v = static_cast<T>(random.between(-2, 2));
    if (!edges || random.below(kEdgeEvery)) continue;
    const uint64_t pick = random.below(kEdges.size() + (non_finite ? kNonFinite.size() : 0));
    v = static_cast<T>(pick < kEdges.size() ? kEdges[pick] : kNonFinite[pick - kEdges.size()]);
  }
  return Tensor::from_bytes(dtype, dims, std::move(bytes));
}

// Every value is finite in every type, or infinite already.
Tensor floats(DataType dtype, const std::vector<int64_t>& dims, size_t count, Random& random,
              bool edges, bool non_finite) {
  // Without the copies that a conversion makes.
  if (dtype == DataType::kFloat) return drawn<float>(dtype, dims, count, random, edges, non_finite);
  return *convert_tensor(drawn<double>(DataType::kDouble, dims, count, random, edges, non_finite),
                         dtype);
}

IntegerBounds range_of(DataType dtype, int attempt) {
  if (dtype == DataType::kBool) return {0, 1};
  // Bytes are pixels and quantized values: all of them make sense.
  if (dtype == DataType::kUint8) return {0, 255};
  if (dtype == DataType::kInt8) return {-128, 127};
  IntegerBounds bounds = kUnbounded[static_cast<size_t>(attempt) % kUnbounded.size()];
  if (is_unsigned(dtype)) bounds.low = std::max<int64_t>(bounds.low, 0);
  return bounds;
}

// One element may be the condition of an If: of every two attempts one draws 0 and the other not,
// as far as the bounds have such numbers. Which one comes first differs between inputs and between
// pairs.
int64_t condition(IntegerBounds bounds, bool zero, Random& random) {
  if (zero && bounds.low <= 0 && bounds.high >= 0) return 0;
  const auto draw = [&] {
    return bounds.low +
           static_cast<int64_t>(random.below(static_cast<uint64_t>(bounds.high - bounds.low) + 1));
  };
  int64_t value = draw();
  while (!zero && value == 0 && bounds.low < bounds.high) value = draw();
  return value;
}

// What the value is a rearrangement of.
const Value& source_of(const Value& value) {
  const Value* v = &value;
  for (const Node* n = v->producer(); n && n->has_input(0); n = v->producer()) {
    const bool moves = std::ranges::any_of(
        std::array{"Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Transpose"},
        [&](const char* op) { return n->is(op); });
    if (!moves) break;
    v = &n->input(0);
  }
  return *v;
}

std::set<std::string> masks_of(const Graph& graph) {
  std::set<std::string> names;
  for (const Node& softmax : graph.nodes()) {
    if (!softmax.is("Softmax") || !softmax.has_input(0)) continue;
    const Node* add = source_of(softmax.input(0)).producer();
    if (!add || !add->is("Add")) continue;
    for (int i = 0; i < add->num_inputs(); ++i)
      if (add->has_input(i)) names.insert(source_of(add->input(i)).name());
  }
  return names;
}

Tensor strings(const std::vector<int64_t>& dims, size_t count, Random& random) {
  static constexpr std::array<const char*, 5> kWords = {"", "a", "The", "onnx", "1"};
  std::vector<std::string> values(count);
  for (std::string& s : values) s = kWords[random.below(kWords.size())];
  return Tensor::from_strings(dims, std::move(values));
}

}  // namespace

Result<TrialInputs> TrialInputs::of(const Model& model) {
  TrialInputs trial;
  trial.ranges_ = assumptions_of(model);
  const auto bounds = integer_bounds(model);
  const std::set<std::string> masks = masks_of(model.graph());
  for (const Value* v : model.graph().inputs()) {
    if (v->initializer()) continue;
    const ValueType& type = v->type();
    const bool drawable = is_float(type.dtype) || is_integer(type.dtype) ||
                          type.dtype == DataType::kBool || type.dtype == DataType::kString;
    if (!type.is_tensor() || !type.shape || !drawable)
      return Error{
          ErrorCode::kUnsupported,
          "no values can be drawn for input '" + v->name() + "', which is " + format_type(type),
          {}};
    Input input{v->name(), type.dtype, *type.shape,
                false,     {},         is_float(type.dtype) && masks.contains(v->name())};
    if (const auto known = bounds.find(v->name()); known != bounds.end()) {
      input.bounded = true;
      input.bounds = known->second;
    }
    trial.inputs_.push_back(std::move(input));
  }
  // Most models have no open ones.
  if (trial.has_dynamic_dims()) trial.settle(settled_extents(model));
  return trial;
}

void TrialInputs::settle(const std::map<std::pair<std::string, int>, int64_t>& extents) {
  for (Input& in : inputs_)
    for (size_t axis = 0; axis < in.dims.size(); ++axis)
      if (const auto at = extents.find({in.name, static_cast<int>(axis)}); at != extents.end())
        in.dims[axis] = Dim::of(at->second);
}

std::vector<std::vector<int64_t>> TrialInputs::dims_at(const Extents& extents) const {
  std::map<std::string, int64_t> symbols;
  std::vector<std::vector<int64_t>> out;
  for (const Input& in : inputs_) {
    std::vector<int64_t>& dims = out.emplace_back();
    for (size_t axis = 0; axis < in.dims.size(); ++axis) {
      const Dim& d = in.dims[axis];
      int64_t extent = axis == 0 && in.dims.size() > 1 ? extents.first : extents.other;
      if (!d.value && !d.symbol.empty()) {
        const auto [it, fresh] =
            symbols.emplace(d.symbol, extent + extents.step * static_cast<int64_t>(symbols.size()));
        if (const auto range = ranges_.find(d.symbol); fresh && range != ranges_.end())
          it->second =
              std::clamp(it->second, range->second.low,
                         range->second.high.value_or(std::max(it->second, range->second.low)));
        extent = it->second;
      }
      dims.push_back(d.value.value_or(extent));
    }
  }
  return out;
}

std::vector<Tensor> TrialInputs::make(int attempt, bool edges, bool non_finite) const {
  const auto& [first, other, step] = kExtents[static_cast<size_t>(attempt) % std::size(kExtents)];
  Extents extents{first, other, step};
  const int64_t most = elements_of(dims_at({1, 1, 0})) + kMostMoreElements;
  auto all_dims = dims_at(extents);
  while (elements_of(all_dims) > most) {
    extents.shrink();
    all_dims = dims_at(extents);
  }
  constexpr uint64_t kSeed = 0x6f6e6e78u;
  Random random(kSeed + static_cast<uint64_t>(attempt));
  Random pairs(~kSeed -
               static_cast<uint64_t>(attempt / 2));  // the same for both attempts of a pair
  std::vector<Tensor> out;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const Input& in = inputs_[i];
    std::vector<int64_t>& dims = all_dims[i];
    const bool zero = pairs.below(2) == static_cast<uint64_t>(attempt % 2);
    // Too large to be run: one element a dimension is left to try.
    if (elements_of(dims) > kMaxElements)
      for (int64_t& extent : dims) extent = std::clamp<int64_t>(extent, 0, 1);
    const auto n = static_cast<size_t>(elements_of(dims));
    if (in.dtype == DataType::kString) {
      out.push_back(strings(dims, n, random));
    } else if (is_float(in.dtype)) {
      out.push_back(floats(in.dtype, dims, n, random, edges, non_finite));
    } else {
      IntegerBounds b = in.bounded ? in.bounds : range_of(in.dtype, attempt);
      if (b.high < b.low) b.high = b.low;
      std::vector<int64_t> values(n);
      for (int64_t& v : values)
        v = b.low + static_cast<int64_t>(random.below(static_cast<uint64_t>(b.high - b.low) + 1));
      if (n == 1 && !in.bounded) values[0] = condition(b, zero, random);
      auto converted = convert_tensor(Tensor::from(dims, values), in.dtype);
      // Bounds beyond a narrow type: what fits every one is 0.
      out.push_back(converted.ok() ? *std::move(converted)
                                   : *convert_tensor(Tensor::from(dims, std::vector<int64_t>(n, 0)),
                                                     in.dtype));
    }
  }
  return out;
}

void TrialInputs::hide_last_rows(std::vector<Tensor>& inputs) const {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const Tensor& t = inputs[i];
    if (!inputs_[i].mask || t.rank() == 0 || t.count() == 0) continue;
    std::vector<double> values = t.to_doubles();
    std::fill(values.end() - static_cast<std::ptrdiff_t>(t.dims().back()), values.end(),
              -std::numeric_limits<double>::infinity());
    inputs[i] = *convert_tensor(Tensor::from(t.dims(), values), t.dtype());
  }
}

bool TrialInputs::has_dynamic_dims() const {
  return std::ranges::any_of(inputs_, [](const Input& in) {
    return std::ranges::any_of(in.dims, [](const Dim& d) { return !d.value; });
  });
}

std::vector<std::string> TrialInputs::names() const {
  std::vector<std::string> out;
  for (const Input& in : inputs_) out.push_back(in.name);
  return out;
}

}  // namespace onnxtool
