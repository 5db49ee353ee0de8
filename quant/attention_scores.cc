#include "quant/attention_scores.h"

#include <algorithm>
#include <vector>

namespace onnxtool {

// Scores of attention stay float from the product on: a mask of -3.4e38 under one scale with the
// scores would erase them. Everything between the producing MatMul and a Softmax is marked.
void mark_scores(const Node& softmax, std::set<const Node*>& marked) {
  std::vector<const Value*> open = {&softmax.input(0)};
  std::vector<const Node*> between;
  // A constant row that a layer adds is no mask, unless it shuts classes out.
  const auto may_mask = [](const Node& add) {
    for (const Value* v : add.inputs())
      if (const Tensor* t = v ? v->constant() : nullptr; t && t->count() > 0)
        return std::ranges::min(t->to_doubles()) < kMaskLevel;
    return true;
  };
  bool masked = false;
  while (!open.empty()) {
    const Node* p = open.back()->producer();
    open.pop_back();
    if (!p || std::find(between.begin(), between.end(), p) != between.end()) continue;
    const bool elementwise =
        p->is("Add") || p->is("Where") || p->is("Mul") || p->is("Div") || p->is("Sub");
    const bool moves = p->is("Reshape") || p->is("Transpose") || p->is("Cast") ||
                       p->is("Unsqueeze") || p->is("Expand");
    if (!elementwise && !moves) continue;
    masked |= p->is("Where") || (p->is("Add") && may_mask(*p));
    between.push_back(p);
    for (const Value* v : p->inputs())
      if (v) open.push_back(v);
  }
  if (!masked) return;
  marked.insert(&softmax);
  marked.insert(between.begin(), between.end());
}

}  // namespace onnxtool
