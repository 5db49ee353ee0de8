// Removes Dropout where it does nothing.
//
//   y, mask = Dropout(x, ratio, training_mode)
//     =>
//   readers of y read x
//
// Does not fire: training mode, or what may be it (opset 1 and 6: is_test is 0, the default; opset
// 12 and later: training_mode is true or not constant); the mask is used; y is a graph output and x
// cannot take its name (see eliminate_identity.cc).
// Source: ONNX Dropout-1, -6 (is_test), -7, -10 (inference only), -12, -13 (inputs).

#include "passes/forward.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& dropout;
};

MatchOr<Match> match(const Node& dropout) {
  if (!dropout.is("Dropout") || !dropout.has_input(0) || !dropout.has_output(0)) return no_match();
  if (dropout.opset() < 7 && dropout.attr<int64_t>("is_test", 0) == 0)
    return no_match("training mode");
  if (dropout.opset() >= 12 && dropout.has_input(2)) {
    const Tensor* training = dropout.input(2).constant();
    if (!training || training->count() != 1) return no_match("training_mode is not constant");
    if (training->to_ints()[0] != 0) return no_match("training mode");
  }
  if (dropout.has_output(1) && !dropout.output(1).unused()) return no_match("mask is used");
  if (const char* reason = cannot_forward(dropout.output(0), dropout.input(0)))
    return no_match(reason);
  return Match{dropout};
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.replace_uses(m.dropout.output(0), m.dropout.input(0));
  rw.remove(m.dropout);
}

}  // namespace

constinit const PassInfo kEliminateDropout{.name = "eliminate-dropout",
                                           .summary = "remove Dropout in inference mode",
                                           .roots = {"Dropout"},
                                           .level = Level::kBasic,
                                           .exactness = Exactness::kExact,
                                           .run = run_rule<match, rewrite>};
}  // namespace onnxtool
