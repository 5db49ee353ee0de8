// Computes nodes whose inputs are all constant, on the executor that the context brings.
//
//   y = Op(constants...)
//     =>
//   y is an initializer (a Constant node where it is a graph output)
//
// Does not fire: QuantizeLinear and DequantizeLinear (a folded pair is a float weight again, and the
// quantization is lost); random or unknown operators; nodes with subgraphs; results that are no
// tensors, of a size not known beforehand, beyond kMaxFoldedBytes, or that make the file grow; what
// the executor cannot compute.

#include <algorithm>
#include <array>

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

constexpr std::array<std::string_view, 3> kQuantization = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"};
// Their results' extents depend on data, but never exceed what the inputs bound.
constexpr std::array<std::string_view, 4> kBoundedByInput = {"Compress", "NonZero", "Unique", "StringNormalizer"};

template <class List> bool contains(const List& list, std::string_view op) { return std::ranges::find(list, op) != list.end(); }

// Bytes of all outputs by their inferred types; nullopt: not known.
std::optional<int64_t> bytes_of_outputs(const Node& node) {
  int64_t total = 0;
  for (const Value* v : node.outputs()) {
    if (!v) continue;
    const auto dims = v->type().static_dims();
    const auto count = dims ? checked_product(*dims) : std::nullopt;
    const auto bits = count ? checked_mul(*count, std::max(bits_of(v->type().dtype), 8)) : std::nullopt;
    const auto sum = bits ? checked_add(total, *bits / 8) : std::nullopt;
    if (!sum) return std::nullopt;
    total = *sum;
  }
  return total;
}

const char* cannot_compute(const Node& node, const PassContext& context) {
  if (contains(kQuantization, node.op_type())) return "quantization operators stay";
  bool has_subgraph = false;
  node.for_each_subgraph([&](Graph&) { has_subgraph = true; });
  if (has_subgraph) return "holds a subgraph";
  if (!is_deterministic(node)) return "operator is random or not known";
  for (const Value* v : node.outputs())
    if (v && v->type().kind != ValueType::Kind::kTensor && v->type().kind != ValueType::Kind::kUnknown) return "result is no tensor";
  if (!context.folder) return "no executor at hand";
  return nullptr;
}

// A PassInfo::run of its own: whether it fires depends on what the executor answers.
bool run(const Node& node, Rewriter& rw, const PassContext& context) {
  const auto is_constant = [](const Value* v) { return !v || v->constant(); };
  if (node.num_inputs() == 0 || !std::ranges::all_of(node.inputs(), is_constant)) return false;
  const auto decline = [&](const char* reason) {
    if (context.on_near_miss) context.on_near_miss(node, reason);
    return false;
  };
  if (const char* reason = cannot_compute(node, context)) return decline(reason);
  rw.infer_types(node);
  const auto expected_bytes = bytes_of_outputs(node);
  if (!expected_bytes && !contains(kBoundedByInput, node.op_type())) return decline("result has no known size");
  if (expected_bytes && *expected_bytes > kMaxFoldedBytes) return decline("result is too large");
  const int64_t freed = bytes_freed_with(node);
  // Asked before it is computed, without being charged: most of what does not fit is large.
  if (expected_bytes && *expected_bytes - freed - kNegligibleGrowth > context.max_growth_bytes)
    return decline("the constant would make the file grow");

  auto results = context.folder->evaluate(node);
  if (!results.ok()) return decline("the executor cannot compute it");
  const std::vector<Value*> outputs = node.outputs();
  ONNXTOOL_CHECK(results->size() == outputs.size());
  const auto is_read = [](const Value* v) { return v && !v->unused(); };
  int64_t added = 0;
  for (size_t i = 0; i < outputs.size(); ++i)
    if (is_read(outputs[i])) added += static_cast<int64_t>(encode_tensor(outputs[i]->name(), (*results)[i]).size());
  if (!may_grow(context, added, freed)) return decline("the constant would make the file grow");
  // make_constant() removes the node with its last output.
  const bool loses_all = std::ranges::all_of(outputs, [&](const Value* v) { return !v || is_read(v); });
  for (size_t i = 0; i < outputs.size(); ++i)
    if (is_read(outputs[i])) rw.make_constant(*outputs[i], std::move((*results)[i]));
  if (!loses_all) rw.remove(node);
  return true;
}

}  // namespace

constinit const PassInfo kFoldConstants{
    .name = "fold-constants",
    .summary = "compute nodes whose inputs are all constant",
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run};
}  // namespace onnxtool
