// Finds activations and residual additions that a kernel can apply to its own result.
#include <cmath>

#include "calib/exec/plan_impl.h"
#include "calib/exec/readers.h"
#include "libopt/analysis/clip.h"

namespace onnxtool {
namespace {

// One value for each index of the last axis, behind a matrix product.
bool is_bias(const Value& other, const Value& value) {
  const Tensor* t = other.constant();
  const auto& shape = value.type().shape;
  return t && t->dtype() == DataType::kFloat && t->rank() == 1 && shape && !shape->empty() &&
         shape->back().value == std::optional<int64_t>(t->count());
}

// The post-op that `user` is when fed by `value`; for kAdd, `other` is the second operand.
std::optional<PostOp> as_post_op(const Node& user, const Value& value, const Value*& other) {
  PostOp op{};
  other = nullptr;
  if (user.is("Relu"))
    op.kind = PostOp::Kind::kRelu;
  else if (user.is("Sigmoid"))
    op.kind = PostOp::Kind::kSigmoid;
  else if (user.is("Tanh"))
    op.kind = PostOp::Kind::kTanh;
  else if (user.is("HardSwish"))
    op.kind = PostOp::Kind::kHardSwish;
  else if (user.is("LeakyRelu"))
    op.kind = PostOp::Kind::kLeakyRelu, op.alpha = user.attr<float>("alpha", 0.01f);
  else if (user.is("HardSigmoid"))
    op.kind = PostOp::Kind::kHardSigmoid, op.alpha = user.attr<float>("alpha", 0.2f),
    op.beta = user.attr<float>("beta", 0.5f);
  else if (user.is("Clip")) {
    if (user.num_inputs() < 1 || &user.input(0) != &value) return std::nullopt;
    const auto bounds = clip_bounds(user);
    // With the bounds the wrong way around everything is the upper one, which libraries refuse.
    if (!bounds || bounds->low > bounds->high) return std::nullopt;
    op.kind = PostOp::Kind::kClip, op.alpha = static_cast<float>(bounds->low),
    op.beta = static_cast<float>(bounds->high);
  } else if (user.is("Add") && user.opset() >= 7) {
    other = &user.input(0) == &value ? &user.input(1) : &user.input(0);
    if (other == &value || other->constant() || !same_static_shape(*other, value) ||
        !same_static_shape(value, user.output(0)))
      return std::nullopt;
    op.kind = PostOp::Kind::kAdd;
  } else {
    return std::nullopt;
  }
  return op;
}

// x * sigmoid(x), written as two nodes that are the only readers of x.
struct Silu {
  const Node *sigmoid, *product;
};
std::optional<Silu> silu_of(const Value& x, const Watched& is_watched) {
  if (x.uses().size() != 2 || x.is_graph_output() || is_watched(x)) return std::nullopt;
  const Node *a = x.uses()[0].user, *b = x.uses()[1].user;
  if (!a->is("Sigmoid")) std::swap(a, b);
  if (!has_one_result(*a) || !has_one_result(*b) || !a->is("Sigmoid") || !b->is("Mul") ||
      &a->graph() != &x.graph() || &b->graph() != &x.graph())
    return std::nullopt;
  const Value& s = a->output(0);
  if (!s.has_one_use() || s.is_graph_output() || is_watched(s) || s.uses()[0].user != b)
    return std::nullopt;
  return Silu{a, b};
}

// The float scalar that `node` combines with `x`, as its second input unless the operator commutes.
std::optional<float> scalar_beside(const Node& node, const Value& x, bool commutes) {
  if (node.num_inputs() != 2 || !node.has_input(0) || !node.has_input(1)) return std::nullopt;
  const bool second = &node.input(0) == &x;
  if (!second && !(commutes && &node.input(1) == &x)) return std::nullopt;
  const Value& other = node.input(second ? 1 : 0);
  return same_static_shape(x, node.output(0)) ? float_scalar(other) : std::nullopt;
}

// Whether `node` divides x by 6, up to rounding of the factor.
bool is_sixth(const Node& node, const Value& x) {
  const auto s =
      node.is("Mul") || node.is("Div") ? scalar_beside(node, x, node.is("Mul")) : std::nullopt;
  return s && (node.is("Mul") ? std::abs(*s * 6 - 1) < 1e-6f : *s == 6);
}

// clip(x + 3, 0, 6) beginning with the node `add`: its Clip; nullptr: something else.
const Node* clip_of(const Node& add, const Value& x, const Watched& is_watched) {
  if (!add.is("Add") || add.opset() < 7 || !has_one_result(add) ||
      scalar_beside(add, x, true) != 3.0f)
    return nullptr;
  const Node* clip = only_reader(add.output(0), is_watched);
  if (!clip || !clip->is("Clip") || !clip->has_input(0) || &clip->input(0) != &add.output(0))
    return nullptr;
  const auto bounds = clip_bounds(*clip);
  return bounds && bounds->low == 0 && bounds->high == 6 ? clip : nullptr;
}

// clip(x + 3, 0, 6) / 6, written as three nodes.
std::vector<const Node*> hard_sigmoid_of(const Value& x, const Watched& is_watched) {
  const Node* add = only_reader(x, is_watched);
  const Node* clip = add ? clip_of(*add, x, is_watched) : nullptr;
  const Node* sixth = clip ? only_reader(clip->output(0), is_watched) : nullptr;
  if (!sixth || !is_sixth(*sixth, clip->output(0))) return {};
  return {add, clip, sixth};
}

// x * clip(x + 3, 0, 6) / 6, written as four nodes, the division before the product or after it.
std::vector<const Node*> hard_swish_of(const Value& x, const Watched& is_watched) {
  if (x.uses().size() != 2 || x.is_graph_output() || is_watched(x)) return {};
  const Node *add = x.uses()[0].user, *product = x.uses()[1].user;
  if (!add->is("Add")) std::swap(add, product);
  if (!product->is("Mul") || &add->graph() != &x.graph() || &product->graph() != &x.graph() ||
      !has_one_result(*product))
    return {};
  const Node* clip = clip_of(*add, x, is_watched);
  const Node* next = clip ? only_reader(clip->output(0), is_watched) : nullptr;
  if (!next) return {};
  const auto multiplies = [&](const Value& gate) {
    return product->num_inputs() == 2 && product->has_input(0) && product->has_input(1) &&
           ((&product->input(0) == &x && &product->input(1) == &gate) ||
            (&product->input(1) == &x && &product->input(0) == &gate));
  };
  if (next == product && multiplies(clip->output(0))) {
    const Node* sixth = only_reader(product->output(0), is_watched);
    if (!sixth || !is_sixth(*sixth, product->output(0))) return {};
    return {add, clip, product, sixth};
  }
  if (!is_sixth(*next, clip->output(0)) || only_reader(next->output(0), is_watched) != product ||
      !multiplies(next->output(0)))
    return {};
  return {add, clip, next, product};
}

}  // namespace

const Node* find_bias(const Node& node, const Watched& is_watched, const Value*& bias) {
  if (!node.domain().empty() || !node.is("MatMul") || node.num_inputs() != 2 ||
      !node.has_input(1) || !has_one_result(node))
    return nullptr;
  const Tensor* right = node.input(1).constant();
  const Value& product = node.output(0);
  const Node* add = only_reader(product, is_watched);
  if (!right || right->rank() != 2 || product.type().dtype != DataType::kFloat || !add ||
      !add->is("Add") || add->opset() < 7)
    return nullptr;
  if (add->num_inputs() != 2 || !add->has_input(0) || !add->has_input(1)) return nullptr;
  bias = &add->input(&add->input(0) == &product ? 1 : 0);
  return is_bias(*bias, product) && bias->constant()->count() == right->dims()[1] ? add : nullptr;
}

std::vector<const Node*> find_post_ops(const Node& node, const Value* result,
                                       const KernelInfo& kernel, const NodeView& view,
                                       const Watched& is_watched, std::vector<PostOp>& post_ops,
                                       std::vector<const Value*>& extra_inputs) {
  std::vector<const Node*> taken;
  if (node.num_inputs() > kFirstFusedInput) return taken;
  if (!kernel.fuses || node.num_outputs() < 1 || !node.has_output(0)) return taken;
  const Value* value = result ? result : &node.output(0);
  // Of float16 each result is rounded, and only Relu gives the same after rounding as before.
  const bool half = value->type().dtype == DataType::kFloat16;
  if (value->type().dtype != DataType::kFloat && !half) return taken;
  while (true) {
    if (half) {
      const Node* relu = only_reader(*value, is_watched);
      const PostOp op{.kind = PostOp::Kind::kRelu};
      if (!relu || !relu->is("Relu") || !kernel.fuses(view, op)) break;
      post_ops.push_back(op);
      taken.push_back(relu);
      break;
    }
    // Activations that exporters write as several nodes.
    PostOp whole{.kind = PostOp::Kind::kSilu};
    std::vector<const Node*> nodes;
    if (const auto silu = silu_of(*value, is_watched)) {
      nodes = {silu->sigmoid, silu->product};
    } else if (nodes = hard_swish_of(*value, is_watched); !nodes.empty()) {
      whole.kind = PostOp::Kind::kHardSwish;
    } else if (nodes = hard_sigmoid_of(*value, is_watched); !nodes.empty()) {
      whole = {.kind = PostOp::Kind::kHardSigmoid, .alpha = 1.0f / 6, .beta = 0.5f};
    }
    if (!nodes.empty()) {
      if (!kernel.fuses(view, whole)) break;
      post_ops.push_back(whole);
      taken.insert(taken.end(), nodes.begin(), nodes.end());
      value = &nodes.back()->output(0);
      continue;
    }
    if (!value->has_one_use() || value->is_graph_output() || is_watched(*value)) break;
    const Node& user = *value->uses()[0].user;
    if (&user.graph() != &node.graph() || !has_one_result(user)) break;
    const Value* other = nullptr;
    auto op = as_post_op(user, *value, other);
    if (!op) break;
    if (op->kind == PostOp::Kind::kAdd) {
      if (&other->graph() != &node.graph()) break;
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
