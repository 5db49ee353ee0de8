// Folds a Pad of zeros into the padding of the layer behind it, and drops a Pad that pads nothing.
//
//   y = Conv(Pad(x, p), W, b)         =>   y = Conv(x, W, b)        pads + p
//   y = AveragePool(Pad(x, p))        =>   y = AveragePool(x)       pads + p, count_include_pad 1
//   y = Pad(x, 0)                     =>   y = x
//
// Does not fire: mode other than constant, a value other than zero, pads that are not constant;
// batch or channels padded, negative pads (they crop); the padded tensor is used elsewhere;
// auto_pad; a pool that leaves its own padding out of the average, that rounds its extents up, or
// whose window the padding would fill. MaxPool pads with the lowest value, not with zeros: left
// alone. Source: ONNX Pad-2 (attributes), Pad-11 (inputs), Pad-18 (axes); Conv-11; AveragePool-7.

#include <algorithm>

#include "libopt/rewrite/pattern.h"
#include "passes/forward.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& pad;
  const Node* layer;          // nullptr: nothing is padded, the Pad goes
  std::vector<int64_t> pads;  // the layer's, both together
};

using Ints = std::vector<int64_t>;

Ints ints(const Node& node, std::string_view name) {
  const Attribute* a = node.attribute(name);
  const Ints* v = a ? a->get<Ints>() : nullptr;
  return v ? *v : Ints();
}

// [begin of each axis..., end of each axis...]; nullopt: unknown.
std::optional<Ints> pads_of(const Node& pad) {
  if (pad.opset() < 2) return std::nullopt;
  if (pad.opset() < 11)
    return pad.attribute("pads") ? std::optional(ints(pad, "pads")) : std::nullopt;
  const Tensor* p = pad.has_input(1) ? pad.input(1).constant() : nullptr;
  if (!p) return std::nullopt;
  const Ints given = p->to_ints();
  if (!pad.has_input(3)) return given;
  const Tensor* axes = pad.input(3).constant();
  const auto rank = pad.input(0).type().rank();
  if (!axes || !rank || static_cast<size_t>(axes->count()) * 2 != given.size()) return std::nullopt;
  Ints all(static_cast<size_t>(2 * *rank), 0);
  const Ints listed = axes->to_ints();
  for (size_t i = 0; i < listed.size(); ++i) {
    const int64_t axis = listed[i] < 0 ? listed[i] + *rank : listed[i];
    if (axis < 0 || axis >= *rank) return std::nullopt;
    all[static_cast<size_t>(axis)] = given[i];
    all[static_cast<size_t>(axis + *rank)] = given[i + listed.size()];
  }
  return all;
}

bool pads_with_zero(const Node& pad) {
  if (pad.opset() < 11) return pad.attr<float>("value", 0) == 0;
  if (!pad.has_input(2)) return true;
  return scalar_of(pad.input(2)) == 0;
}

MatchOr<Match> match(const Node& pad) {
  if (!pad.has_input(0) || !pad.has_output(0)) return no_match();
  const auto pads = pads_of(pad);
  if (!pads) return no_match("pads are not constant");
  const Value& out = pad.output(0);
  if (std::ranges::all_of(*pads, [](int64_t p) { return p == 0; })) {
    if (const char* reason = cannot_forward(out, pad.input(0))) return no_match(reason);
    return Match{pad, nullptr, {}};
  }
  if (pad.attr<std::string>("mode", "constant") != "constant")
    return no_match("mode is not constant");
  if (!pads_with_zero(pad)) return no_match("pads with another value than zero");
  const size_t rank = pads->size() / 2;
  if (rank < 3 || (*pads)[0] || (*pads)[1] || (*pads)[rank] || (*pads)[rank + 1])
    return no_match("batch or channels are padded");
  if (std::ranges::any_of(*pads, [](int64_t p) { return p < 0; }))
    return no_match("negative pads crop");
  if (!out.has_one_use() || out.is_graph_output())
    return no_match("padded tensor is used elsewhere");
  const Use use = out.uses()[0];
  const Node& layer = *use.user;
  if (use.index != 0 || &layer.graph() != &pad.graph() ||
      (!layer.is("Conv") && !layer.is("AveragePool")))
    return no_match("no Conv or AveragePool behind it");
  if (layer.attr<std::string>("auto_pad", "NOTSET") != "NOTSET")
    return no_match("auto_pad depends on the extents");
  const size_t spatial = rank - 2;
  Ints sum = ints(layer, "pads");
  const bool pads_itself = std::ranges::any_of(sum, [](int64_t p) { return p != 0; });
  sum.resize(2 * spatial, 0);
  for (size_t i = 0; i < spatial; ++i) {
    sum[i] += (*pads)[i + 2];
    sum[i + spatial] += (*pads)[i + 2 + rank];
  }
  if (layer.is("AveragePool")) {
    if (layer.opset() < 7) return no_match("AveragePool below opset 7 cannot count its padding");
    if (pads_itself && !layer.attr<int64_t>("count_include_pad", 0))
      return no_match("pool leaves its own padding out of the average");
    if (layer.attr<int64_t>("ceil_mode", 0)) return no_match("pool rounds its extents up");
    const Ints kernel = ints(layer, "kernel_shape");
    if (kernel.size() != spatial) return no_match("kernel_shape does not fit");
    // Windows of padding alone are beyond what runtimes accept.
    for (size_t i = 0; i < spatial; ++i)
      if (std::max(sum[i], sum[i + spatial]) >= kernel[i])
        return no_match("padding would fill the window");
  }
  return Match{pad, &layer, std::move(sum)};
}

void rewrite(const Match& m, Rewriter& rw) {
  if (m.layer) {
    rw.set_attribute(*m.layer, Attribute::of("pads", m.pads));
    if (m.layer->is("AveragePool"))
      rw.set_attribute(*m.layer, Attribute::of<int64_t>("count_include_pad", 1));
  }
  rw.replace_uses(m.pad.output(0), m.pad.input(0));
  rw.remove(m.pad);
}

}  // namespace

constinit const PassInfo kFoldPad{
    .name = "fold-pad",
    .summary = "fold a Pad of zeros into the padding of the Conv or AveragePool behind it",
    .roots = {"Pad"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
