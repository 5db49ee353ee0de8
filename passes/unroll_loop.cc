// Puts the body of a Loop in its place, as often as it runs.
//
//   v, s = Loop(2, true, v0) <body = (i, c, v) { ... } => (true, w, r)>
//     =>
//   w0, r0 = body(0, v0)     w1, r1 = body(1, w0)
//   v is w1                  s = Concat<0>(Unsqueeze<0>(r0), Unsqueeze<0>(r1))
//
// What a run executes becomes less, but the nodes in the file may become more: that is for
// --max-growth to ask for, and what other passes saved is not spent on it. Does not fire: a number
// of turns that is not constant, or 0 where turns are gathered; the condition may become false;
// random operators and such as may do more than compute; the unrolled nodes would be too many, or
// make the file larger than --max-growth permits; constants that the graph around may not hold (IR
// older than 4); opset below 13, where axes were attributes. Source: ONNX Loop-1, -11, -13.

#include <algorithm>

#include "libopt/analysis/effects.h"
#include "libopt/rewrite/file_size.h"
#include "passes/growth.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

// A file of more nodes takes runtimes longer to load than a loop takes to run.
constexpr int64_t kMaxNodes = 4096;

struct Match {
  const Node& loop;
  const Graph& body;
  int64_t turns;
  size_t carried;
};

const Graph* body_of(const Node& loop) {
  const Attribute* a = loop.attribute("body");
  const auto* body = a ? a->get<std::unique_ptr<Graph>>() : nullptr;
  return body ? body->get() : nullptr;
}

// nullopt: not constant.
std::optional<bool> constant_condition(const Value& v) {
  const Tensor* t = v.constant();
  if (!t || t->count() != 1 || t->dtype() != DataType::kBool) return std::nullopt;
  return t->to_ints()[0] != 0;
}

bool is_true(const Value& v) { return constant_condition(v) == true; }

// Whether the body's condition is true after every turn.
bool stays_true(const Graph& body) {
  const Value* condition = body.outputs()[0];
  for (const Node* n = condition->producer(); n && n->is("Identity"); n = condition->producer())
    condition = &n->input(0);
  return condition == body.inputs()[1] || is_true(*condition);
}

// Nodes that make the condition and nothing else: they go with the loop.
int64_t nodes_of_condition(const Graph& body) {
  int64_t count = 0;
  const Value* v = body.outputs()[0];
  for (; &v->graph() == &body && v->has_one_use() && v->producer() &&
         v->producer()->is("Identity") && v->producer()->has_input(0);
       ++count)
    v = &v->producer()->input(0);
  return count;
}

bool may_repeat(const Graph& body) {
  for (const Node& n : body.nodes())
    if (!is_deterministic(n) || may_have_effects(n)) return false;
  return true;
}

MatchOr<Match> match(const Node& loop, const PassContext& context) {
  const Graph* body = body_of(loop);
  if (!body || body->inputs().size() < 2 || loop.num_inputs() < 2) return no_match();
  const size_t carried = body->inputs().size() - 2;
  if (static_cast<size_t>(loop.num_inputs()) != carried + 2 ||
      body->outputs().size() < carried + 1 ||
      body->outputs().size() < static_cast<size_t>(loop.num_outputs()) + 1)
    return no_match("body does not fit the node");
  const bool never = loop.has_input(1) && constant_condition(loop.input(1)) == false;
  const Tensor* count = loop.has_input(0) ? loop.input(0).constant() : nullptr;
  if (!never && (!count || count->count() != 1 || count->dtype() != DataType::kInt64))
    return no_match("number of turns is not constant");
  const int64_t turns = never ? 0 : std::max<int64_t>(count->to_ints()[0], 0);
  if (!never && ((loop.has_input(1) && !is_true(loop.input(1))) || !stays_true(*body)))
    return no_match("condition may become false");
  for (size_t i = 0; i < carried; ++i)
    if (!loop.has_input(static_cast<int>(i) + 2)) return no_match("a first value is absent");
  const auto gathered = static_cast<int64_t>(body->outputs().size() - carried - 1);
  if (turns == 0 && gathered > 0) return no_match("there are no turns to gather from");
  if (loop.opset() < 13) return no_match("opset below 13 has axes as attributes");
  if (body->inputs()[0]->type().rank().value_or(0) != 0)
    return no_match("number of the turn is no scalar");
  if (!body->initializers().empty() && !may_hold_initializers(loop.graph()))
    return no_match("initializers would have to be graph inputs (IR older than 4)");
  if (!may_repeat(*body)) return no_match("body may do more than compute");
  const auto nodes = static_cast<int64_t>(body->num_nodes()) + gathered;
  if (turns > kMaxNodes || turns * nodes > kMaxNodes) return no_match("too many nodes");
  if (context.max_growth_bytes <= context.state->savings_bytes &&
      turns * (size_in_file(*body).nodes - nodes_of_condition(*body)) + gathered * (turns + 1) >
          size_in_file(*body).nodes + 1)
    return no_match("there would be more nodes");
  const int64_t each = size_in_file(*body).bytes + gathered * 64;
  if (!may_grow(context, (turns - 1) * each, bytes_freed_with(loop)))
    return no_match("the file would grow");
  return Match{loop, *body, turns, carried};
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<Value*> state;
  for (size_t i = 0; i < m.carried; ++i) state.push_back(&m.loop.input(static_cast<int>(i) + 2));
  const size_t gathered = m.body.outputs().size() - m.carried - 1;
  std::vector<std::vector<Value*>> rows(gathered);
  Value* axis =
      gathered ? &rw.add_constant(Tensor::vector(std::vector<int64_t>{0}), "axes") : nullptr;
  const bool uses_condition = !m.body.inputs()[1]->unused();
  Value* on = uses_condition
                  ? &rw.add_constant(Tensor::from_bytes(DataType::kBool, {}, {std::byte{1}}), "on")
                  : nullptr;
  for (int64_t turn = 0; turn < m.turns; ++turn) {
    Value* number =
        m.body.inputs()[0]->unused() ? nullptr : &rw.add_constant(Tensor::scalar(turn), "turn");
    std::vector<Value*> inputs = {number, on};
    inputs.insert(inputs.end(), state.begin(), state.end());
    const std::vector<Value*> outputs = rw.inline_before(m.body, inputs);
    for (size_t i = 0; i < m.carried; ++i) state[i] = outputs[i + 1];
    for (size_t i = 0; i < gathered; ++i)
      rows[i].push_back(&rw.add_node("Unsqueeze", {outputs[m.carried + 1 + i], axis}).output(0));
  }
  const auto deliver = [&](size_t output, const Value& value) {
    const int i = static_cast<int>(output);
    if (m.loop.has_output(i)) rw.replace_uses(m.loop.output(i), value);
  };
  for (size_t i = 0; i < m.carried; ++i) deliver(i, *state[i]);
  for (size_t i = 0; i < gathered; ++i) {
    std::vector<Attribute> attributes;
    attributes.push_back(Attribute::of("axis", int64_t{0}));
    deliver(m.carried + i, rw.add_node("Concat", rows[i], std::move(attributes)).output(0));
  }
  rw.remove(m.loop);
}

}  // namespace

constinit const PassInfo kUnrollLoop{
    .name = "unroll-loop",
    .summary =
        "put the body of a Loop in its place as often as it runs, where the file may grow so",
    .roots = {"Loop"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
