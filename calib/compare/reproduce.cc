#include "calib/compare/reproduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <unordered_set>

#include "calib/compare/difference.h"
#include "calib/compare/keep.h"
#include "calib/compare/runnable.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/encode.h"
#include "libopt/ir/extract.h"
#include "libopt/ir/reads.h"

namespace onnxtool {
namespace {

// How many nodes the part may grow by so that none of its inputs follows from others.
constexpr size_t kMostExtraNodes = 32;

using Names = std::set<std::string>;

// Which values of the one graph stand, computed alike, in the other, and which nodes make them.
class Shared {
 public:
  Shared(const Graph& before, const Graph& after) : before_(before), after_(after) {
    for (const Value* v : before.values()) note_constant(*v);
    for (const Node& n : before.nodes()) note_node(n);
  }
  /// In both under this name, by the same node from the same.
  bool alike(const std::string& name) const { return alike_.contains(name); }
  /// Results that are read, in both under this name, but made by another node or from something
  /// else; in order.
  const std::vector<std::string>& changed() const { return changed_; }

 private:
  void note_constant(const Value& v) {
    const Value* other = after_.find(v.name());
    if (v.producer() || !other || other->producer()) return;
    const Tensor *a = v.initializer(), *b = other->initializer();
    if (!a == !b && (!a || a->same_content(*b))) alike_.insert(v.name());
  }

  void note_node(const Node& n) {
    const Node* other = nullptr;
    for (const Value* v : n.outputs())
      if (const Value* o = v ? after_.find(v->name()) : nullptr; o && !other) other = o->producer();
    bool same = other && encode_node(n).flatten() == encode_node(*other).flatten();
    // Constants of one name may hold something else; what a changed node makes changes readers only
    // in what they compute.
    for_each_read(n, [&](const Value& v) {
      if (&v.graph() == &before_ && !v.producer()) same &= alike_.contains(v.name());
    });
    for (const Value* v : n.outputs()) {
      if (!v) continue;
      const Value* o = after_.find(v->name());
      if (same)
        alike_.insert(v->name());
      else if (o && o->producer() && !v->unused())
        changed_.push_back(v->name());
    }
  }

  const Graph &before_, &after_;
  std::unordered_set<std::string> alike_;
  std::vector<std::string> changed_;
};

std::vector<const Value*> values_named(const Graph& graph, const auto& names) {
  std::vector<const Value*> out;
  for (const std::string& name : names)
    if (const Value* v = graph.find(name)) out.push_back(v);
  return out;
}

// Of the values on the way to `outputs`, the nearest that both models compute alike.
void collect_stops(const Graph& graph, const std::vector<std::string>& outputs,
                   const Shared& shared, Names& stops) {
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> open;
  for (const Value* v : values_named(graph, outputs)) open.push_back(v->producer());
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!node || !seen.insert(node).second) continue;
    for_each_read(*node, [&](const Value& v) {
      if (&v.graph() != &graph || (v.initializer() && !v.is_graph_input())) return;
      if (shared.alike(v.name()) || !v.producer())
        stops.insert(v.name());
      else
        open.push_back(v.producer());
    });
  }
}

// Values that follow from others of the set by a few nodes leave it: else what the models are fed
// could be what no model computes.
void drop_dependent(const Graph& graph, Names& stops) {
  size_t budget = kMostExtraNodes;
  for (bool again = true; again;) {
    again = false;
    for (const Value* v : values_named(graph, Names(stops))) {
      std::unordered_set<const Node*> nodes;
      std::vector<const Node*> open{v->producer()};
      bool follows = v->producer() != nullptr;
      while (follows && !open.empty()) {
        const Node* node = open.back();
        open.pop_back();
        if (!nodes.insert(node).second) continue;
        for_each_read(*node, [&](const Value& r) {
          if (&r.graph() != &graph || (r.initializer() && !r.is_graph_input())) return;
          if (&r != v && stops.contains(r.name())) return;
          if (r.producer())
            open.push_back(r.producer());
          else
            follows = false;
        });
        follows &= nodes.size() <= budget;
      }
      if (!follows) continue;
      budget -= nodes.size();
      stops.erase(v->name());
      again = true;
    }
  }
}

Result<std::vector<NamedTensor>> run(const Model& model, const std::vector<NamedTensor>& given,
                                     int threads, const Names& watched = {}) {
  PlanOptions options = comparison_plan(threads, false);
  options.watched = values_named(model.graph(), watched);
  ONNXTOOL_ASSIGN(const auto plan, Plan::compile(model.graph(), options));
  std::vector<Tensor> inputs, outputs;
  for (const std::string& name : plan->input_names()) {
    const auto at = std::ranges::find(given, name, &NamedTensor::name);
    if (at == given.end())
      return Error{ErrorCode::kMismatch, "nothing is known of input '" + name + "'", {}};
    inputs.push_back(at->tensor);
  }
  Keep kept(options.watched.size(), [](const ConstView&) { return true; });
  RunContext context(plan);
  ONNXTOOL_TRY(context.run(inputs, &outputs, options.watched.empty() ? nullptr : &kept));
  std::vector<NamedTensor> out;
  if (watched.empty()) {
    for (size_t i = 0; i < outputs.size(); ++i)
      out.push_back({plan->output_names()[i], std::move(outputs[i])});
    return out;
  }
  for (size_t i = 0; i < options.watched.size(); ++i)
    if (kept.values[i]) out.push_back({options.watched[i]->name(), *std::move(kept.values[i])});
  return out;
}

// 0: the same bits. Infinite: of another type or shape, or special values at other places.
double distance(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return INFINITY;
  if (difference_in_bits(a, b).empty()) return 0;
  if (a.dtype() == DataType::kString) return INFINITY;
  double largest = 0, difference = 0;
  const std::vector<double> x = a.to_doubles(), y = b.to_doubles();
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) && std::isnan(y[i])) continue;
    if (x[i] == y[i]) continue;
    if (!std::isfinite(x[i]) || !std::isfinite(y[i])) return INFINITY;
    largest = std::max(largest, std::abs(x[i]));
    difference = std::max(difference, std::abs(x[i] - y[i]));
  }
  // Zeros of both signs are told apart, and no more.
  return std::max(difference / std::max(largest, std::numeric_limits<double>::min()),
                  std::numeric_limits<double>::min());
}

class Reproducer {
 public:
  Reproducer(const Model& before, const Model& after, const std::vector<NamedTensor>& inputs,
             int threads)
      : before_(before), after_(after), given_(inputs), threads_(threads) {}

  Result<Reproduction> find() {
    const Shared shared(before_.graph(), after_.graph());
    if (!shared.changed().empty()) {
      auto all = part(shared, shared.changed());
      if (all.ok() && !all->failure.empty()) return all;
      if (const std::string worst = all.ok() ? furthest(*all) : std::string(); !worst.empty()) {
        auto one = part(shared, {worst});
        if (one.ok() && (!one->failure.empty() || !furthest(*one).empty())) return one;
        return all;
      }
    }
    return whole();
  }

 private:
  static std::string furthest(const Reproduction& r) {
    double most = 0;
    std::string name;
    for (size_t i = 0; i < r.expected.size(); ++i)
      if (const double d = distance(r.expected[i].tensor, r.found[i].tensor); d > most) {
        most = d;
        name = r.expected[i].name;
      }
    return name;
  }

  static Result<std::unique_ptr<Model>> part_of(const Model& model, const Names& stops,
                                                const std::vector<std::string>& outputs,
                                                const std::vector<NamedTensor>& fed) {
    const auto inputs = values_named(model.graph(), stops),
               results = values_named(model.graph(), outputs);
    const auto is_missing = [&](const Value* v) {
      return std::ranges::find(inputs, v) == inputs.end();
    };
    if (inputs.size() != stops.size() || results.size() != outputs.size() ||
        std::ranges::any_of(needed_inputs(model, inputs, results), is_missing))
      return Error{ErrorCode::kMismatch, "the models do not share what the part reads", {}};
    std::unique_ptr<Model> part = extract(model, inputs, results);
    for (size_t i = 0; i < fed.size(); ++i)
      if (Value& v = *part->graph().inputs()[i]; v.type().dtype == DataType::kUndefined)
        v.set_type(ValueType::tensor(fed[i].tensor.dtype()));
    return part;
  }

  Result<Reproduction> part(const Shared& shared, const std::vector<std::string>& outputs) {
    Names stops;
    collect_stops(before_.graph(), outputs, shared, stops);
    collect_stops(after_.graph(), outputs, shared, stops);
    drop_dependent(before_.graph(), stops);
    Reproduction r;
    ONNXTOOL_ASSIGN(r.inputs, values_of(stops));
    ONNXTOOL_ASSIGN(r.original, part_of(before_, stops, outputs, r.inputs));
    ONNXTOOL_ASSIGN(r.rewritten, part_of(after_, stops, outputs, r.inputs));
    return finished(std::move(r));
  }

  Result<Reproduction> whole() {
    Reproduction r;
    r.original = before_.clone();
    r.rewritten = after_.clone();
    r.inputs = given_;
    return finished(std::move(r));
  }

  Result<Reproduction> finished(Reproduction r) {
    ONNXTOOL_ASSIGN(r.expected, run(*r.original, r.inputs, threads_));
    auto found = run(*r.rewritten, r.inputs, threads_);
    if (found.ok())
      r.found = *std::move(found);
    else
      r.failure = found.error().message;
    return r;
  }

  // In the order of the names.
  Result<std::vector<NamedTensor>> values_of(const Names& names) {
    Names inside;
    for (const std::string& name : names)
      if (std::ranges::find(given_, name, &NamedTensor::name) == given_.end()) inside.insert(name);
    std::vector<NamedTensor> computed, out;
    if (!inside.empty()) {
      ONNXTOOL_ASSIGN(computed, run(before_, given_, threads_, inside));
    }
    for (const std::string& name : names) {
      const auto& from = inside.contains(name) ? computed : given_;
      const auto at = std::ranges::find(from, name, &NamedTensor::name);
      if (at == from.end()) return Error{ErrorCode::kMismatch, "'" + name + "' is no tensor", {}};
      out.push_back(*at);
    }
    return out;
  }

  const Model &before_, &after_;
  const std::vector<NamedTensor>& given_;
  int threads_;
};

}  // namespace

Result<Reproduction> reproduce(const Model& before, const Model& after,
                               const std::vector<NamedTensor>& inputs, int threads) {
  const PlanOptions options = comparison_plan(threads, false);
  const Runnable first = make_runnable(before, options), second = make_runnable(after, options);
  for (const Runnable* r : {&first, &second})
    if (!r->obstacle.empty()) return Error{ErrorCode::kUnsupported, r->obstacle, {}};
  return Reproducer(*first.model, *second.model, inputs, threads).find();
}

}  // namespace onnxtool
