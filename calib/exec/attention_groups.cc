#include "calib/exec/attention_groups.h"

namespace onnxtool {
namespace {

using Perm = std::vector<int64_t>;
const Perm kSwapRowsAndHeads = {0, 2, 1, 3}, kSwapColumns = {0, 1, 3, 2},
           kColumnsFirst = {0, 2, 3, 1};

bool is_float_of_rank_4(const Value& v) {
  return v.type().dtype == DataType::kFloat && v.type().rank() == 4;
}

class Matcher {
 public:
  Matcher(const Node& softmax, const Watched& is_watched)
      : softmax_(softmax), is_watched_(is_watched) {}

  std::optional<FloatGroup> run() {
    if (!is_row_softmax()) return std::nullopt;
    const Node* weighed = only_reader(softmax_.output(0), is_watched_);
    if (!weighed || !is_product(*weighed) || &weighed->input(0) != &softmax_.output(0) ||
        &weighed->input(1) == &softmax_.output(0))
      return std::nullopt;
    const Value* scores = &softmax_.input(0);
    const Value* mask = unmask(scores);
    const float scale = unscale(scores);
    const Node* product = maker(*scores, "MatMul");
    if (!product || !is_product(*product)) return std::nullopt;
    const Node* turned = maker(product->input(1), "Transpose");
    const Perm perm = turned ? turned->attr<Perm>("perm", {}) : Perm();
    if (perm != kSwapColumns && perm != kColumnsFirst) return std::nullopt;
    group_.nodes.insert(group_.nodes.end(), {&softmax_, product, turned});
    add_operand(product->input(0), "q_rows_first");
    group_.inputs.push_back(&turned->input(0));
    set("k_rows_first", perm == kColumnsFirst);
    add_operand(weighed->input(1), "v_rows_first");
    if (mask) group_.inputs.push_back(mask);
    group_.attributes.emplace_back("scale", scale);
    finish(*weighed);
    return std::move(group_);
  }

 private:
  bool is_row_softmax() const {
    if (!softmax_.is("Softmax") || !has_one_result(softmax_) || softmax_.num_inputs() != 1 ||
        !softmax_.has_input(0) || !is_float_of_rank_4(softmax_.input(0)))
      return false;
    const auto axis = softmax_.attr<int64_t>("axis", softmax_.opset() >= 13 ? -1 : 1);
    return axis == -1 || axis == 3;
  }

  // A product of matrices that match one by one: no side is repeated along batch or heads.
  static bool is_product(const Node& n) {
    if (!n.is("MatMul") || n.num_inputs() != 2 || !n.has_input(0) || !n.has_input(1) ||
        !is_float_of_rank_4(n.input(0)) || !is_float_of_rank_4(n.input(1)))
      return false;
    for (size_t i = 0; i < 2; ++i)
      if (!same_extent((*n.input(0).type().shape)[i], (*n.input(1).type().shape)[i])) return false;
    return true;
  }

  // The operator that makes a value which only this group reads.
  const Node* maker(const Value& v, std::string_view op) const {
    const Node* n = v.producer();
    return n && &n->graph() == &softmax_.graph() && n->is(op) && has_one_result(*n) &&
                   only_reader(v, is_watched_)
               ? n
               : nullptr;
  }

  // What an Add in front of the Softmax adds to `scores`, which become its other side.
  const Value* unmask(const Value*& scores) {
    const Node* add = maker(*scores, "Add");
    if (!add || add->num_inputs() != 2 || !add->has_input(0) || !add->has_input(1)) return nullptr;
    for (const int i : {0, 1}) {
      const Value &side = add->input(i), &mask = add->input(1 - i);
      const auto& shape = mask.type().shape;
      const bool fits = same_static_shape(side, *scores) && shape && !shape->empty() &&
                        shape->size() <= 4 && mask.type().dtype == DataType::kFloat &&
                        same_extent(shape->back(), scores->type().shape->back());
      if (!fits || (!maker(side, "MatMul") && !maker(side, "Mul") && !maker(side, "Div"))) continue;
      scores = &side;
      group_.nodes.push_back(add);
      return &mask;
    }
    return nullptr;
  }

  // The factor of a Mul or Div by a constant, which `scores` are then before.
  float unscale(const Value*& scores) {
    for (const std::string_view op : {"Mul", "Div"}) {
      const Node* n = maker(*scores, op);
      if (!n || n->num_inputs() != 2 || !n->has_input(0) || !n->has_input(1)) continue;
      const bool second = op == "Mul" && float_scalar(n->input(0));
      const auto factor = float_scalar(n->input(second ? 0 : 1));
      const Value& other = n->input(second ? 1 : 0);
      if (!factor || !same_static_shape(other, *scores)) continue;
      scores = &other;
      group_.nodes.push_back(n);
      return op == "Mul" ? *factor : 1 / *factor;
    }
    return 1;
  }

  void add_operand(const Value& v, std::string_view attribute) {
    const Node* turned = maker(v, "Transpose");
    const bool rows_first = turned && turned->attr<Perm>("perm", {}) == kSwapRowsAndHeads;
    if (rows_first) group_.nodes.push_back(turned);
    group_.inputs.push_back(rows_first ? &turned->input(0) : &v);
    set(attribute, rows_first);
  }

  void finish(const Node& weighed) {
    const Node* turned = only_reader(weighed.output(0), is_watched_);
    const bool rows_first =
        turned && turned->is("Transpose") && turned->attr<Perm>("perm", {}) == kSwapRowsAndHeads;
    group_.nodes.push_back(&weighed);
    if (rows_first) group_.nodes.push_back(turned);
    group_.last = group_.nodes.back();
    set("y_rows_first", rows_first);
  }

  void set(std::string_view attribute, bool value) {
    group_.attributes.emplace_back(attribute, int64_t{value});
  }

  const Node& softmax_;
  const Watched& is_watched_;
  FloatGroup group_{"HeadAttention", kPlanDomain, 1, {}, {}, nullptr, {}};
};

}  // namespace

std::optional<FloatGroup> find_attention(const Node& softmax, const Watched& is_watched) {
  return Matcher(softmax, is_watched).run();
}

}  // namespace onnxtool
