// Leaves out results that an operator gives only where they are asked for.
//
//   y, unread = LayerNormalization(x, w)
//     =>
//   y = LayerNormalization(x, w)
//
// Of LayerNormalization, MaxPool and com.microsoft's SkipLayerNormalization all but the first, of
// LSTM, GRU and RNN any; the last one that is left keeps its place. Runtimes compute and allocate
// what has a name. Does not fire: the result is read or a graph output; it is the only one.
// Source: ONNX LayerNormalization-17, MaxPool-8, LSTM-7 (optional outputs).

#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& node;
  int output;
};

MatchOr<Match> match(const Node& node) {
  const bool recurrent = node.is("LSTM") || node.is("GRU") || node.is("RNN");
  int present = 0;
  for (int i = 0; i < node.num_outputs(); ++i) present += node.has_output(i);
  if (present < 2) return no_match();
  for (int i = recurrent ? 0 : 1; i < node.num_outputs(); ++i)
    if (node.has_output(i) && node.output(i).unused()) return Match{node, i};
  return no_match("all results are read");
}

void rewrite(const Match& m, Rewriter& rw) { rw.drop_output(m.node, m.output); }

}  // namespace

constinit const PassInfo kEliminateUnusedOutput{
    .name = "eliminate-unused-output",
    .summary =
        "leave out optional results of normalizations, MaxPool and recurrent layers that "
        "nothing reads",
    .roots = {"LayerNormalization", "MaxPool", "LSTM", "GRU", "RNN",
              "com.microsoft.SkipLayerNormalization"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
