// What values an integer input may take: found from what reads it, backwards from indices and
// comparisons through the arithmetic between.
#include <algorithm>
#include <cmath>
#include <optional>
#include <ranges>
#include <unordered_map>
#include <vector>

#include "calib/data/model_inputs.h"
#include "libopt/analysis/statistics.h"

namespace onnxtool {
namespace {

// The known extent of an input along an axis, which may count from the end.
std::optional<int64_t> extent_of(const Node& n, int input, int64_t axis) {
  if (n.num_inputs() <= input || !n.has_input(input) || !n.input(input).type().shape) return {};
  const auto& shape = *n.input(input).type().shape;
  if (axis < 0) axis += static_cast<int64_t>(shape.size());
  if (axis < 0 || axis >= static_cast<int64_t>(shape.size())) return {};
  return shape[static_cast<size_t>(axis)].value;
}

// How many different indices a reader takes: they are 0 to one less.
std::optional<int64_t> indices_of(const Node& n, int index) {
  if (index == 1 && (n.is("Gather") || n.is("GatherElements") || n.is("ScatterElements")))
    return extent_of(n, 0, n.attr<int64_t>("axis", 0));
  if (index == 1 && (n.is("GatherND") || n.is("ScatterND"))) {
    // Entries of a row index neighbouring dims: the smallest of them holds for all.
    const auto width = extent_of(n, 1, -1);
    const auto rank = n.has_input(0) ? n.input(0).type().rank() : std::nullopt;
    const int64_t first = n.is("GatherND") ? n.attr<int64_t>("batch_dims", 0) : 0;
    if (!rank || first < 0 || first >= *rank) return std::nullopt;
    std::optional<int64_t> least;
    for (int64_t i = 0; i < std::min<int64_t>(width.value_or(0), 16); ++i)
      if (const auto extent = extent_of(n, 0, first + i))
        least = std::min(*extent, least.value_or(*extent));
    return least;
  }
  if (index == 0 && n.is("OneHot") && n.num_inputs() > 1 && n.has_input(1)) {
    const Tensor* depth = n.input(1).constant();
    const bool known = depth && depth->count() == 1 && has_statistics(depth->dtype());
    if (const double d = known ? depth->to_doubles()[0] : std::nan(""); !std::isnan(d))
      return static_cast<int64_t>(std::clamp(d, 0.0, 1e9));
  }
  // Turns of a loop, of which few will do.
  if (index == 0 && n.is("Loop")) return 5;
  // Words, positions and segments of embeddings.
  if (n.domain() == "com.microsoft" && n.op_type() == "EmbedLayerNormalization")
    return index == 0   ? extent_of(n, 2, 0)
           : index == 1 ? extent_of(n, 4, 0)
           : index == 8 ? extent_of(n, 3, 0)
                        : std::nullopt;
  return std::nullopt;
}

bool is_any_of(const Node& n, std::initializer_list<const char*> ops) {
  return std::ranges::any_of(ops, [&](const char* op) { return n.is(op); });
}

// Operators whose results are numbers of input 0.
bool moves(const Node& n) {
  return is_any_of(
      n, {"Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Transpose", "Flatten",
          "Tile", "Slice", "Split", "Gather", "GatherElements", "GatherND"});
}

// What the value is a rearrangement of.
const Value& source_of(const Value& value) {
  constexpr int kMostSteps = 24;
  const Value* v = &value;
  for (int i = 0; i < kMostSteps && v->producer() && moves(*v->producer()); ++i) {
    if (!v->producer()->has_input(0)) break;
    v = &v->producer()->input(0);
  }
  return *v;
}

// Least and greatest of whole numbers, whatever their type; nullopt: not a constant, or fractions.
std::optional<IntegerBounds> whole_numbers(const Value& value) {
  constexpr int64_t kMost = 1 << 16;
  constexpr double kLargest = 1e9;
  const Tensor* t = source_of(value).constant();
  if (!t || t->count() == 0 || t->count() > kMost || !has_statistics(t->dtype()))
    return std::nullopt;
  const std::vector<double> numbers = t->to_doubles();
  if (!std::ranges::all_of(numbers,
                           [](double d) { return std::abs(d) <= kLargest && d == std::floor(d); }))
    return std::nullopt;
  const auto [low, high] = std::ranges::minmax(numbers);
  return IntegerBounds{static_cast<int64_t>(low), static_cast<int64_t>(high)};
}

std::optional<int64_t> whole_number(const Value& value) {
  const auto found = whole_numbers(value);
  return found && found->low == found->high ? std::optional(found->low) : std::nullopt;
}

bool is_mask(const Value& v) { return names_a_mask(source_of(v).name()); }

// What is known of a value's numbers.
struct Known {
  std::optional<IntegerBounds> must;   // else the model fails: all readers' bounds at once
  std::optional<IntegerBounds> ought;  // else nothing happens: what some reader looks for

  void require(const IntegerBounds& b) {
    must = must ? IntegerBounds{std::max(must->low, b.low), std::min(must->high, b.high)} : b;
  }
  void wish(const IntegerBounds& b) {
    ought = ought ? IntegerBounds{std::min(ought->low, b.low), std::max(ought->high, b.high)} : b;
  }
  // Of what a reader makes of the value, brought back to the value.
  template <class F>
  void add(const Known& made, const F& back) {
    using Bounds = std::optional<IntegerBounds>;
    if (const Bounds b = made.must ? Bounds(back(*made.must)) : std::nullopt) require(*b);
    if (const Bounds b = made.ought ? Bounds(back(*made.ought)) : std::nullopt) wish(*b);
  }
};

int64_t clamped(double d) { return static_cast<int64_t>(std::clamp(d, -9e18, 9e18)); }
IntegerBounds clamped(double low, double high) { return {clamped(low), clamped(high)}; }

IntegerBounds as_they_are(const IntegerBounds& b) { return b; }

// Numbers that operand `index`, the other being the constant `c`, takes for results in the bounds.
std::optional<IntegerBounds> through(const Node& n, int index, double c, const IntegerBounds& b) {
  const auto low = static_cast<double>(b.low), high = static_cast<double>(b.high);
  if (n.is("Add")) return clamped(low - c, high - c);
  if (n.is("Sub")) return index == 0 ? clamped(low + c, high + c) : clamped(c - high, c - low);
  if (n.is("Mul") && c > 0) return clamped(std::ceil(low / c), std::floor(high / c));
  if (n.is("Div") && index == 0 && c > 0) return clamped(low * c, high * c + c - 1);
  return std::nullopt;
}

// Numbers any two of which have their sum, or product, in the bounds.
IntegerBounds for_two_terms(const IntegerBounds& b) {
  return clamped(std::ceil(static_cast<double>(b.low) / 2),
                 std::floor(static_cast<double>(b.high) / 2));
}
IntegerBounds for_two_factors(const IntegerBounds& b) {
  return clamped(0, std::floor(std::sqrt(static_cast<double>(std::max<int64_t>(0, b.high)))));
}

// What is known of every value of a graph, by one walk from its last node to its first: when a
// node's turn comes, all that reads its results was seen.
class Readers {
 public:
  explicit Readers(const Graph& graph) { walk(graph); }
  const Known& of(const Value& v) const {
    static const Known kNothing;
    const auto it = known_.find(&v);
    return it == known_.end() ? kNothing : it->second;
  }

 private:
  void walk(const Graph& graph) {
    std::vector<const Node*> nodes;
    for (const Node& n : graph.nodes()) nodes.push_back(&n);
    for (const Node* n : nodes | std::views::reverse) {
      n->for_each_subgraph([&](const Graph& inner) { walk(inner); });
      for (int i = 0; i < n->num_inputs(); ++i)
        if (n->has_input(i) && !n->input(i).initializer()) look(*n, i);
    }
  }

  // What the node says of its input.
  void look(const Node& n, int index) {
    Known& known = known_[&n.input(index)];
    if (const auto indices = indices_of(n, index))
      return known.require({0, std::max<int64_t>(*indices - 1, 0)});
    if (n.is("Cast") && n.attr<int64_t>("to", 0) == static_cast<int64_t>(DataType::kBool))
      return known.wish({0, 1});
    const bool passes = moves(n) || is_any_of(n, {"Clip", "Pad", "Trilu"}) ? index == 0
                        : n.is("Where")                                    ? index > 0
                                        : is_any_of(n, {"Concat", "Min", "Max"});
    if (passes) {
      for (const Value* v : n.outputs())
        if (v) known.add(of(*v), as_they_are);
    } else if (n.num_inputs() == 2 && n.has_input(0) && n.has_input(1) && n.has_output(0)) {
      binary(n, index, of(n.output(0)), known);
    }
  }

  static void binary(const Node& n, int index, const Known& made, Known& known) {
    const Value& other = n.input(1 - index);
    if (is_any_of(n, {"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"})) {
      // Of one number both sides.
      if (const auto numbers = whole_numbers(other))
        known.wish(numbers->low == numbers->high
                       ? IntegerBounds{std::min<int64_t>(numbers->low, 0), numbers->high + 1}
                       : *numbers);
    } else if (n.is("Mod") && index == 0) {
      if (const auto by = whole_number(other); by && *by > 0) known.wish({0, *by - 1});
    } else if (is_any_of(n, {"Add", "Sub", "Mul", "Div"})) {
      if (const auto c = whole_number(other)) {
        known.add(made, [&](const IntegerBounds& b) {
          return through(n, index, static_cast<double>(*c), b);
        });
        // 1 - x turns a mask around.
        if (n.is("Sub") && index == 1 && *c == 1) known.wish({0, 1});
      } else if (n.is("Add")) {
        known.add(made, for_two_terms);
      } else if (n.is("Mul")) {
        // A mask takes numbers out or leaves them.
        const bool masks = is_mask(n.input(index)), masked = is_mask(other);
        if (masks && !masked)
          known.wish({0, 1});
        else
          known.add(made, masked ? as_they_are : for_two_factors);
      }
    }
  }

  std::unordered_map<const Value*, Known> known_;
};

}  // namespace

std::map<std::string, IntegerBounds> integer_bounds(const Model& model) {
  std::map<std::string, IntegerBounds> out;
  const Readers readers(model.graph());
  for (const Value* v : model.graph().inputs()) {
    const auto type = v->type().is_tensor() ? range_of_type(v->type().dtype) : std::nullopt;
    if (!type) continue;
    const Known& known = readers.of(*v);
    if (!known.must && !known.ought) continue;
    IntegerBounds b = known.must ? *known.must : *known.ought;
    b = {std::clamp(b.low, type->low, type->high), std::clamp(b.high, type->low, type->high)};
    // Indices count from the front where they can.
    if (b.high >= 0) b.low = std::max<int64_t>(b.low, 0);
    if (b.low <= b.high) out[v->name()] = b;
  }
  return out;
}

}  // namespace onnxtool
