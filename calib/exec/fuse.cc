// Finds activations and residual additions that a kernel can apply to its own result.
#include "calib/exec/plan_impl.h"

namespace onnxtool {
namespace {

// A scalar bound of Clip; absent inputs and attributes give the fallback. nullopt: not constant.
std::optional<float> bound(const Node& clip, int input, const char* attribute, float fallback) {
  if (clip.opset() < 11) return clip.attr<float>(attribute, fallback);
  if (!clip.has_input(input)) return fallback;
  const Tensor* t = clip.input(input).constant();
  if (!t || t->count() != 1 || t->dtype() != DataType::kFloat) return std::nullopt;
  return t->values<float>()[0];
}

bool same_static_shape(const Value& a, const Value& b) {
  if (!a.type().shape || !b.type().shape || a.type().shape->size() != b.type().shape->size()) return false;
  for (size_t i = 0; i < a.type().shape->size(); ++i) {
    const Dim &x = (*a.type().shape)[i], &y = (*b.type().shape)[i];
    const bool equal = x.value && y.value ? *x.value == *y.value : !x.value && !y.value && !x.symbol.empty() && x.symbol == y.symbol;
    if (!equal) return false;
  }
  return true;
}

// The post-op that `user` is when fed by `value`; for kAdd, `other` is the second operand.
std::optional<PostOp> as_post_op(const Node& user, const Value& value, const Value*& other) {
  PostOp op{};
  other = nullptr;
  if (user.is("Relu")) op.kind = PostOp::Kind::kRelu;
  else if (user.is("Sigmoid")) op.kind = PostOp::Kind::kSigmoid;
  else if (user.is("HardSwish")) op.kind = PostOp::Kind::kHardSwish;
  else if (user.is("LeakyRelu")) op.kind = PostOp::Kind::kLeakyRelu, op.alpha = user.attr<float>("alpha", 0.01f);
  else if (user.is("HardSigmoid")) op.kind = PostOp::Kind::kHardSigmoid, op.alpha = user.attr<float>("alpha", 0.2f), op.beta = user.attr<float>("beta", 0.5f);
  else if (user.is("Clip")) {
    if (user.num_inputs() < 1 || &user.input(0) != &value) return std::nullopt;
    const auto low = bound(user, 1, "min", std::numeric_limits<float>::lowest());
    const auto high = bound(user, 2, "max", std::numeric_limits<float>::max());
    if (!low || !high) return std::nullopt;
    op.kind = PostOp::Kind::kClip, op.alpha = *low, op.beta = *high;
  } else if (user.is("Add") && user.opset() >= 7) {
    other = &user.input(0) == &value ? &user.input(1) : &user.input(0);
    if (other == &value || other->constant() || !same_static_shape(*other, value) || !same_static_shape(value, user.output(0))) return std::nullopt;
    op.kind = PostOp::Kind::kAdd;
  } else {
    return std::nullopt;
  }
  return op;
}

// A legal node may name its only output "": then nothing can be fused through it.
bool has_one_result(const Node& n) { return n.num_outputs() == 1 && n.has_output(0); }

// x * sigmoid(x), written as two nodes that are the only readers of x.
struct Silu {
  const Node *sigmoid, *product;
};
std::optional<Silu> silu_of(const Value& x, const std::function<bool(const Value&)>& is_watched) {
  if (x.uses().size() != 2 || x.is_graph_output() || is_watched(x)) return std::nullopt;
  const Node *a = x.uses()[0].user, *b = x.uses()[1].user;
  if (!a->is("Sigmoid")) std::swap(a, b);
  if (!has_one_result(*a) || !has_one_result(*b) || !a->is("Sigmoid") || !b->is("Mul") || &a->graph() != &x.graph() || &b->graph() != &x.graph()) return std::nullopt;
  const Value& s = a->output(0);
  if (!s.has_one_use() || s.is_graph_output() || is_watched(s) || s.uses()[0].user != b) return std::nullopt;
  return Silu{a, b};
}

}  // namespace

std::vector<const Node*> find_post_ops(const Node& node, const KernelInfo& kernel, const NodeView& view,
                                       const std::function<bool(const Value&)>& is_watched, std::vector<PostOp>& post_ops,
                                       std::vector<const Value*>& extra_inputs) {
  std::vector<const Node*> taken;
  if (node.num_inputs() > kFirstFusedInput) return taken;
  if (!kernel.fuses || node.num_outputs() < 1 || !node.has_output(0)) return taken;
  const Value* value = &node.output(0);
  if (value->type().dtype != DataType::kFloat) return taken;
  while (true) {
    if (const auto silu = silu_of(*value, is_watched)) {
      const PostOp op{.kind = PostOp::Kind::kSilu};
      if (!kernel.fuses(view, op)) break;
      post_ops.push_back(op);
      taken.insert(taken.end(), {silu->sigmoid, silu->product});
      value = &silu->product->output(0);
      continue;
    }
    if (!value->has_one_use() || value->is_graph_output() || is_watched(*value)) break;
    const Node& user = *value->uses()[0].user;
    if (&user.graph() != &node.graph() || !has_one_result(user)) break;
    const Value* other = nullptr;
    auto op = as_post_op(user, *value, other);
    if (!op) break;
    if (op->kind == PostOp::Kind::kAdd) {
      if (other->graph().parent() != node.graph().parent() || &other->graph() != &node.graph()) break;
      op->input = kFirstFusedInput + static_cast<int>(extra_inputs.size());
    }
    if (!kernel.fuses(view, *op)) break;
    if (other) extra_inputs.push_back(other);
    post_ops.push_back(*op);
    taken.push_back(&user);
    value = &user.output(0);
  }
  return taken;
}

}  // namespace onnxtool
