#include "calib/exec/captures.h"

#include <unordered_set>

namespace onnxtool {
namespace {

class Captures {
 public:
  explicit Captures(const Graph& outer) : outer_(outer) {}

  void collect(const Graph& sub) {
    for (const Node& n : sub.nodes()) {
      for (const Value* v : n.inputs())
        if (v) add(*v);
      n.for_each_subgraph([&](Graph& g) { collect(g); });
    }
    for (const Value* v : sub.outputs()) add(*v);
  }
  std::vector<const Value*> take() { return std::move(values_); }

 private:
  void add(const Value& v) {
    for (const Graph* g = &outer_; g; g = g->parent())
      if (&v.graph() == g) {
        if (seen_.insert(&v).second) values_.push_back(&v);
        return;
      }
  }

  const Graph& outer_;
  std::vector<const Value*> values_;
  std::unordered_set<const Value*> seen_;
};

}  // namespace

std::vector<const Value*> captured_values(const Graph& outer, const Graph& sub) {
  Captures found(outer);
  found.collect(sub);
  return found.take();
}

}  // namespace onnxtool
