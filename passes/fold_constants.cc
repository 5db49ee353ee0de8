// Computes nodes whose inputs are all constant, on the executor that the context brings.
//
//   y = Op(constants...)
//     =>
//   y is an initializer (a Constant node where it is a graph output)
//
// What several nodes cut out of one constant may be larger than what a single one of them frees;
// then all that computes from constants around the node is weighed, and folded, together. Does not
// fire: QuantizeLinear and DequantizeLinear (a folded pair is a float weight again, and the
// quantization is lost), but for a QuantizeLinear for onnxruntime's CPU provider, whose result is
// what its kernels read; random or unknown operators; nodes with subgraphs; results that are no
// tensors, of a size not known beforehand, beyond kMaxFoldedBytes, or that make the file grow; what
// takes more than kMaxFoldedSteps, or the executor cannot compute.

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "libopt/analysis/cost.h"
#include "libopt/analysis/effects.h"
#include "libopt/io/encode.h"
#include "libopt/support/checked.h"
#include "passes/growth.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

// A fold holds its result in memory until the model is written; 256 MiB is beyond every table that
// exporters leave to be computed, and small beside the memory of a machine that optimizes.
constexpr int64_t kMaxFoldedBytes = int64_t{256} << 20;
// A short file can ask for a small result that takes hours; so many steps take seconds at most.
constexpr int64_t kMaxFoldedSteps = 1'000'000'000;

constexpr std::array<std::string_view, 3> kQuantization = {"QuantizeLinear", "DequantizeLinear",
                                                           "DynamicQuantizeLinear"};
// Their results' extents depend on data, but never exceed what the inputs bound.
constexpr std::array<std::string_view, 4> kBoundedByInput = {"Compress", "NonZero", "Unique",
                                                             "StringNormalizer"};

template <class List>
bool contains(const List& list, std::string_view op) {
  return std::ranges::find(list, op) != list.end();
}

// Bytes of all outputs by their inferred types; nullopt: not known.
std::optional<int64_t> bytes_of_outputs(const Node& node) {
  int64_t total = 0;
  for (const Value* v : node.outputs()) {
    if (!v) continue;
    const auto dims = v->type().static_dims();
    const auto count = dims ? checked_product(*dims) : std::nullopt;
    const auto bits =
        count ? checked_mul(*count, std::max(bits_of(v->type().dtype), 8)) : std::nullopt;
    const auto sum = bits ? checked_add(total, *bits / 8) : std::nullopt;
    if (!sum) return std::nullopt;
    total = *sum;
  }
  return total;
}

std::optional<int64_t> count_of(const Value& v) {
  const auto dims = v.type().static_dims();
  return dims ? checked_product(*dims) : std::nullopt;
}

// Elements that a pooling node looks at for one result; 1 for every other node.
int64_t window_of(const Node& node) {
  if (!node.op_type().ends_with("Pool") || !node.attribute("kernel_shape")) return 1;
  const auto window = checked_product(node.attr<std::vector<int64_t>>("kernel_shape", {}));
  return window.value_or(std::numeric_limits<int64_t>::max());
}

// By the types of inputs and outputs, which are known. Where no formula tells the multiplications,
// each element of an input is taken to meet all those of the others.
bool takes_too_long(const Node& node) {
  std::optional<int64_t> steps = macs_of(node);
  if (!steps) {
    steps = 1;
    for (const Value* v : node.inputs()) {
      const auto count = v ? count_of(*v) : 1;
      steps = steps && count ? checked_mul(*steps, std::max<int64_t>(*count, 1)) : std::nullopt;
    }
  }
  if (const int64_t window = window_of(node); window > 1 && node.has_output(0)) {
    const auto count = count_of(node.output(0));
    steps = count ? checked_mul(*count, window) : std::nullopt;
  }
  return !steps || *steps > kMaxFoldedSteps;
}

const char* cannot_compute(const Node& node, const PassContext& context) {
  // Quantized weights are smaller, but some runtimes want them as exporters wrote them.
  const bool weight = context.ort_cpu && node.is("QuantizeLinear");
  if (contains(kQuantization, node.op_type()) && !weight) return "quantization operators stay";
  bool has_subgraph = false;
  node.for_each_subgraph([&](Graph&) { has_subgraph = true; });
  if (has_subgraph) return "holds a subgraph";
  if (!is_deterministic(node)) return "operator is random or not known";
  for (const Value* v : node.outputs())
    if (v && v->type().kind != ValueType::Kind::kTensor &&
        v->type().kind != ValueType::Kind::kUnknown)
      return "result is no tensor";
  if (!context.folder) return "no executor at hand";
  return nullptr;
}

bool is_constant(const Value* v) { return !v || v->constant(); }
bool is_read(const Value* v) { return v && !v->unused(); }

// Every output that is read becomes a constant; the node goes.
void replace(const Node& node, std::vector<Tensor> results, Rewriter& rw) {
  const std::vector<Value*> outputs = node.outputs();
  ONNXTOOL_CHECK(results.size() == outputs.size());
  // make_constant() removes the node with its last output.
  const bool loses_all =
      std::ranges::all_of(outputs, [](const Value* v) { return !v || is_read(v); });
  for (size_t i = 0; i < outputs.size(); ++i)
    if (is_read(outputs[i])) rw.make_constant(*outputs[i], std::move(results[i]));
  if (!loses_all) rw.remove(node);
}

// --- regions: what computes from constants alone, as far as it hangs together
// -----------------------

// More nodes than that hang together in no model for weights that exporters cut up.
constexpr size_t kMaxRegion = 512;

// In the order of computation.
std::vector<const Node*> region_around(const Node& start, const PassContext& context) {
  std::set<int> known = {start.id()};
  std::vector<const Node*> region = {&start};
  const auto computes = [&](const Node& n) {
    return &n.graph() == &start.graph() && std::ranges::all_of(n.inputs(), [&](const Value* v) {
      return is_constant(v) || (v->producer() && &v->graph() == &start.graph() &&
                                known.contains(v->producer()->id()));
    });
  };
  const auto take_readers = [&](const Value* v) {
    if (!v) return;
    for (const Use& use : v->uses()) {
      if (region.size() >= kMaxRegion) return;
      if (known.contains(use.user->id()) || !computes(*use.user) ||
          cannot_compute(*use.user, context))
        continue;
      known.insert(use.user->id());
      region.push_back(use.user);
    }
  };
  for (size_t i = 0; i < region.size(); ++i) {
    for (const Value* v : region[i]->inputs()) take_readers(v);
    for (const Value* v : region[i]->outputs()) take_readers(v);
  }
  return region;
}

// Whether the file shrinks when all of the region is folded; what is not known beforehand is too
// much.
bool region_pays(const std::vector<const Node*>& region, const PassContext& context) {
  std::set<const Node*> members(region.begin(), region.end());
  std::set<const Value*> read;
  int64_t added = 0, freed = 0;
  for (const Node* n : region) {
    const auto bytes = bytes_of_outputs(*n);
    if (!bytes || *bytes > kMaxFoldedBytes || takes_too_long(*n)) return false;
    freed += static_cast<int64_t>(encode_node(*n, /*with_subgraphs=*/false).size());
    for (const Value* v : n->inputs())
      if (v && v->constant()) read.insert(v);
    for (const Value* v : n->outputs()) {
      const auto outside = [&](const Use& u) { return !members.contains(u.user); };
      if (!v || (!v->is_graph_output() && std::ranges::none_of(v->uses(), outside))) continue;
      // Its name and dims come to what the node frees at least.
      added += static_cast<int64_t>(size_bytes_of(
          v->type().dtype, static_cast<uint64_t>(*checked_product(*v->type().static_dims()))));
    }
  }
  for (const Value* v : read)
    if (!v->is_graph_output() &&
        std::ranges::all_of(v->uses(), [&](const Use& u) { return members.contains(u.user); }))
      freed += static_cast<int64_t>(encode_tensor(v->name(), *v->constant()).size());
  // One node less each; may_grow() counts one of them itself.
  freed += kNegligibleGrowth * (static_cast<int64_t>(region.size()) - 1);
  return may_grow(context, added, freed);
}

bool fold_region(const Node& start, Rewriter& rw, const PassContext& context) {
  std::vector<const Node*> waiting = region_around(start, context);
  if (waiting.size() < 2 || !region_pays(waiting, context)) return false;
  bool any = false;
  for (bool again = true; again;) {
    again = false;
    for (const Node*& n : waiting) {
      if (!n || !std::ranges::all_of(n->inputs(), is_constant)) continue;
      auto results = context.folder->evaluate(*n);
      if (results.ok()) replace(*n, *std::move(results), rw);
      any |= results.ok();
      again |= results.ok();
      n = nullptr;
    }
  }
  return any;
}

// A PassInfo::run of its own: whether it fires depends on what the executor answers.
bool run(const Node& node, Rewriter& rw, const PassContext& context) {
  if (node.num_inputs() == 0 || !std::ranges::all_of(node.inputs(), is_constant)) return false;
  const auto decline = [&](const char* reason) {
    if (context.on_near_miss) context.on_near_miss(*context.state->running, node, reason);
    return false;
  };
  if (const char* reason = cannot_compute(node, context)) return decline(reason);
  auto expected_bytes = bytes_of_outputs(node);
  if (!expected_bytes) {
    rw.infer_types(node);
    expected_bytes = bytes_of_outputs(node);
  }
  if (!expected_bytes && !contains(kBoundedByInput, node.op_type()))
    return decline("result has no known size");
  if (expected_bytes && *expected_bytes > kMaxFoldedBytes) return decline("result is too large");
  if (takes_too_long(node)) return decline("computing it takes too many steps");
  const int64_t freed = bytes_freed_with(node);
  const auto too_large = [&] {
    context.state->refused_growth = true;
    return fold_region(node, rw, context) || decline("the constant would make the file grow");
  };
  // Asked before it is computed, without being charged: most of what does not fit is large.
  if (expected_bytes && *expected_bytes - freed - kNegligibleGrowth > context.max_growth_bytes)
    return too_large();

  auto results = context.folder->evaluate(node);
  if (!results.ok()) return decline("the executor cannot compute it");
  ONNXTOOL_CHECK(results->size() == node.outputs().size());
  int64_t added = 0;
  for (int i = 0; i < node.num_outputs(); ++i)
    if (is_read(node.outputs()[static_cast<size_t>(i)]))
      added += static_cast<int64_t>(
          encode_tensor(node.output(i).name(), (*results)[static_cast<size_t>(i)]).size());
  if (!may_grow(context, added, freed)) return too_large();
  replace(node, *std::move(results), rw);
  return true;
}

}  // namespace

constinit const PassInfo kFoldConstants{.name = "fold-constants",
                                        .summary = "compute nodes whose inputs are all constant",
                                        .level = Level::kBasic,
                                        .exactness = Exactness::kExact,
                                        .run = run};
}  // namespace onnxtool
