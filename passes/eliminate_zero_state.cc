// Leaves out the initial state of a recurrent layer where it is zero anyway.
//
//   LSTM(x, W, R, B, lengths, initial_h = 0, initial_c = 0)
//     =>
//   LSTM(x, W, R, B, lengths)
//
// Zero: a constant, or a ConstantOfShape (whose shape is often computed from a dynamic batch), also
// behind Expand, Identity, Reshape, Transpose, Unsqueeze, Squeeze and Slice. The state's shape is
// taken on trust: a model with a wrong one does not run. Does not fire: some element of the state
// is not known to be +0; the state is a graph input. Source: ONNX LSTM-1, GRU-1, RNN-1: "if not
// specified - assumed to be 0".

#include <algorithm>
#include <array>
#include <cmath>

#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& layer;
  std::vector<int> states;  // inputs
};

constexpr std::array<std::string_view, 7> kMovement = {
    "Expand", "Identity", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Slice"};
constexpr int kMaxDepth = 16;

// Larger states are data.
constexpr int64_t kMaxElements = 1 << 20;

bool is_zero(const Tensor& t) {
  if (!is_float(t.dtype()) || t.count() > kMaxElements) return false;
  return std::ranges::all_of(t.to_doubles(), [](double v) { return v == 0 && !std::signbit(v); });
}

bool is_zero(const Value& v, int depth = 0) {
  if (const Tensor* t = v.constant()) return is_zero(*t);
  const Node* n = v.producer();
  if (!n || !n->domain().empty() || depth > kMaxDepth) return false;
  if (n->is("ConstantOfShape")) {
    const Attribute* a = n->attribute("value");
    const auto* t = a ? a->get<NamedTensor>() : nullptr;
    return !a || (t && is_zero(t->tensor));
  }
  return std::ranges::find(kMovement, n->op_type()) != kMovement.end() && n->has_input(0) &&
         is_zero(n->input(0), depth + 1);
}

MatchOr<Match> match(const Node& layer) {
  Match m{layer, {}};
  for (const int i : {5, 6})
    if (layer.has_input(i) && is_zero(layer.input(i))) m.states.push_back(i);
  if (m.states.empty())
    return layer.has_input(5) ? no_match("initial state is not known to be zero") : no_match();
  return m;
}

void rewrite(const Match& m, Rewriter& rw) {
  for (const int i : m.states) rw.set_input(m.layer, i, nullptr);
  int count = m.layer.num_inputs();
  while (count > 0 && !m.layer.has_input(count - 1)) --count;
  rw.resize_inputs(m.layer, count);
}

}  // namespace

constinit const PassInfo kEliminateZeroState{
    .name = "eliminate-zero-state",
    .summary = "leave out the initial state of LSTM, GRU and RNN where it is zero",
    .roots = {"LSTM", "GRU", "RNN"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
