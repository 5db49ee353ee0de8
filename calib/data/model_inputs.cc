#include "calib/data/model_inputs.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <vector>

#include "libopt/analysis/statistics.h"
#include "libopt/ir/symbols.h"

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

// What the reader makes of the same integers; nullptr: it makes others.
const Value* passed_on(const Use& use) {
  const Node& n = *use.user;
  const bool moves = n.is("Identity") || n.is("Reshape") || n.is("Unsqueeze") || n.is("Squeeze") ||
                     n.is("Cast") || n.is("Transpose") || n.is("Flatten") || n.is("Expand") ||
                     n.is("Tile") || n.is("Slice");
  const bool passes = (moves && use.index == 0) || n.is("Concat");
  return passes && n.has_output(0) ? &n.output(0) : nullptr;
}

// What all that reads the input takes; nullopt: anything. A value that is joined with itself is
// looked at once, not once for each way that leads to it.
std::optional<IntegerBounds> bounds_by_uses(const Value& input) {
  constexpr int kMostSteps = 8;
  std::optional<int64_t> high;
  std::vector<const Value*> values = {&input};
  std::set<const Value*> seen = {&input};
  for (int step = 0; step <= kMostSteps && !values.empty(); ++step) {
    std::vector<const Value*> next;
    for (const Value* v : values)
      for (const Use& use : v->uses()) {
        if (const auto indices = indices_of(*use.user, use.index)) {
          const int64_t last = std::max<int64_t>(*indices - 1, 0);
          high = std::min(last, high.value_or(last));
        } else if (const Value* same = passed_on(use); same && seen.insert(same).second) {
          next.push_back(same);
        }
      }
    values = std::move(next);
  }
  return high ? std::optional(IntegerBounds{0, *high}) : std::nullopt;
}

// Whether all that is asked of the integers is whether they are 0: a mask, whatever its name.
bool is_truth(const Value& v) {
  return !v.uses().empty() && std::ranges::all_of(v.uses(), [](const Use& use) {
    return use.user->is("Cast") &&
           use.user->attr<int64_t>("to", 0) == static_cast<int64_t>(DataType::kBool);
  });
}

}  // namespace

Result<std::vector<InputSpec>> input_specs(const Model& model) {
  std::vector<InputSpec> specs;
  for (const Value* v : model.graph().inputs()) {
    if (v->initializer()) continue;
    if (!v->type().is_tensor())
      return Error{ErrorCode::kUnsupported,
                   "input '" + v->name() + "' is " + format_type(v->type()) + ", expected a tensor",
                   {}};
    InputSpec s;
    s.name = v->name();
    s.dtype = v->type().dtype;
    s.known_rank = v->type().shape.has_value();
    if (s.known_rank)
      for (const Dim& d : *v->type().shape) {
        s.dims.push_back(d.value ? *d.value : -1);
        s.dim_names.push_back(d.symbol.starts_with(kInventedDim) ? "" : d.symbol);
      }
    specs.push_back(std::move(s));
  }
  return specs;
}

std::map<std::string, IntegerBounds> integer_bounds(const Model& model) {
  std::map<std::string, IntegerBounds> out;
  for (const Value* v : model.graph().inputs()) {
    if (const auto bounds = bounds_by_uses(*v))
      out[v->name()] = *bounds;
    else if (is_truth(*v))
      out[v->name()] = {0, 1};
  }
  return out;
}

}  // namespace onnxtool
