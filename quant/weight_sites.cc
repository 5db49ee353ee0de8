#include "quant/weight_sites.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "libopt/analysis/qdq_movers.h"
#include "quant/weight_reasons.h"

namespace onnxtool {
namespace {

constexpr const char* kNoMatrix = "the weight is no float32 or float16 matrix";
constexpr const char* kUsedElsewhere = "the weight is read elsewhere as floats";
constexpr const char* kNotSmaller = "it would not become smaller";
constexpr const char* kNoForm = "there is no weight-only form of this operator";

// Constants of other operators that are worth a line in the report.
constexpr size_t kLargeBytes = 4096;
// One weight in so many may be filling.
constexpr int64_t kMaxFilled = 8;

struct Found {
  std::optional<WeightSite> site;
  const char* reason = nullptr;  // nullptr without a site: has no weight
};

// [.., K, N] with nothing but ones in front.
bool is_matrix(const Tensor& t) {
  const bool type = t.dtype() == DataType::kFloat || t.dtype() == DataType::kFloat16;
  if (!type || t.rank() < 2 || t.count() == 0) return false;
  return std::all_of(t.dims().begin(), t.dims().end() - 2, [](int64_t d) { return d == 1; });
}

// A Transpose of two axes of a matrix, whose result only `node` reads.
bool swaps_matrix(const Node& transpose, const Tensor& t) {
  return t.rank() == 2 && swaps_axes(transpose, /*by_default=*/true) &&
         transpose.output(0).has_one_use();
}

// Whether nodes make it of what the model is given: no weight, as in the products of attention. A
// weight that is quantized already is made of constants.
bool made_of_inputs(const Value& v) {
  std::vector<const Value*> left = {&v};
  std::set<const Value*> seen;
  while (!left.empty()) {
    const Value* at = left.back();
    left.pop_back();
    if (at->constant() || at->initializer() || !seen.insert(at).second) continue;
    if (!at->producer()) return true;
    for (const Value* i : at->producer()->inputs())
      if (i) left.push_back(i);
  }
  return false;
}

Found product_site(Node& node) {
  Value* b = &node.input(1);
  Node* transpose = nullptr;
  if (Node* p = b->producer(); p && p->is("Transpose") && p->has_input(0) &&
                               p->input(0).constant() &&
                               swaps_matrix(*p, *p->input(0).constant())) {
    transpose = p;
    b = &p->input(0);
  }
  const Tensor* w = b->constant();
  if (!w) return {{}, b->producer() && made_of_inputs(*b) ? nullptr : why_not_constant(*b)};
  if (!is_matrix(*w) || (node.is("Gemm") && w->rank() != 2)) return {{}, kNoMatrix};
  // The product takes the larger rank of the two, MatMulNBits that of the data.
  const auto rank = node.input(0).type().rank();
  if (w->rank() > 2 && (!rank || static_cast<int64_t>(*rank) < w->rank())) return {{}, kNoMatrix};
  if (node.input(0).constant()) return {{}, kConstantData};
  if (node.is("Gemm") && node.opset() < 7) return {{}, kOldBroadcast};
  const bool swapped = (transpose != nullptr) != (node.attr<int64_t>("transB", 0) != 0);
  const int64_t outer = w->dims()[static_cast<size_t>(w->rank() - 2)], inner = w->dims().back();
  return {
      WeightSite{&node, b, transpose, swapped ? outer : inner, swapped ? inner : outer, !swapped},
      nullptr};
}

Found gather_site(Node& node) {
  Value& data = node.input(0);
  const Tensor* w = data.constant();
  if (!w)
    return {{},
            data.initializer() && is_float(data.type().dtype) ? why_not_constant(data) : nullptr};
  if (!is_float(w->dtype())) return {};  // gathers shapes and the like
  if (!is_matrix(*w) || w->rank() != 2) return {{}, kNoMatrix};
  if (const auto axis = node.attr<int64_t>("axis", 0); axis != 0 && axis != -2)
    return {{}, "it gathers columns"};
  return {WeightSite{&node, &data, nullptr, w->dims()[0], w->dims()[1], false}, nullptr};
}

Found look_at(Node& node, const WeightOnlyOptions& o) {
  Found found;
  if (!node.has_output(0) || (o.tables_only && !node.is("Gather"))) return {};
  if (node.is("MatMul") || node.is("Gemm")) {
    if (!node.has_input(0) || !node.has_input(1)) return {};
    found = product_site(node);
  } else if (node.is("Gather")) {
    if (!node.has_input(0) || !node.has_input(1)) return {};
    found = gather_site(node);
  } else {
    const bool large = std::ranges::any_of(node.inputs(), [](const Value* v) {
      return v && v->constant() && is_float(v->constant()->dtype()) &&
             v->constant()->size_bytes() >= kLargeBytes;
    });
    return {{}, large && !node.is("Transpose") ? kNoForm : nullptr};
  }
  if (!found.site) return found;
  if (o.exclude.matches(node)) return {{}, kExcluded};
  if (!o.include.empty() && !o.include.matches(node)) return {{}, kNotIncluded};
  const int64_t block = block_of(*found.site, o);
  if (block < 0) return {{}, "its rows are no multiple of 16"};
  const BlockFormat format = format_of(o, found.site->gathers());
  if (quantized_bytes(*found.site, format.bits, block, format.symmetric) >=
      static_cast<int64_t>(found.site->weight->constant()->size_bytes()))
    return {{}, kNotSmaller};
  return found;
}

void collect(Graph& graph, const WeightOnlyOptions& o, WeightSites& out) {
  for (Node& node : graph.nodes()) {
    Found found = look_at(node, o);
    if (found.site || found.reason)
      out.decisions.push_back({&node, found.site.has_value(), found.site ? "quantized" : "",
                               found.site ? "" : found.reason});
    if (found.site) out.sites.push_back(*found.site);
    node.for_each_subgraph([&](Graph& sub) { collect(sub, o, out); });
  }
}

// Whether each use of the weight, or of its transposed form, is one of the sites.
bool only_sites_read(const Value& weight, const std::set<const Node*>& readers) {
  return !weight.is_graph_output() && std::ranges::all_of(weight.uses(), [&](const Use& use) {
    return readers.contains(use.user);
  });
}

}  // namespace

int64_t block_of(const WeightSite& site, const WeightOnlyOptions& o) {
  if (!o.operators && (site.gathers() || (o.bits == 8 && o.block == 0))) return 0;
  int64_t block = o.block ? o.block : o.bits == 4 ? 32 : 128;
  // The last block is filled up, which a short row pays for.
  const auto filled = [&] { return (site.depth + block - 1) / block * block - site.depth; };
  while (!o.block && block > 16 && filled() * kMaxFilled > site.depth) block /= 2;
  if (!site.gathers()) return block;
  // Codes of rows follow each other without gaps.
  while (block >= 16 && site.depth % block) block /= 2;
  return block >= 16 ? block : -1;
}

BlockFormat format_of(const WeightOnlyOptions& o, bool table) {
  const bool plain = table && !o.operators;
  return {plain ? 8 : o.bits, o.symmetric || plain, /*signed_scale=*/o.operators};
}

BlockLayout block_layout(const WeightOnlyOptions& o, int64_t block) {
  return o.operators && block ? BlockLayout::kRows : BlockLayout::kStored;
}

int64_t quantized_bytes(const WeightSite& s, int bits, int64_t block, bool symmetric) {
  const int64_t blocks = block ? (s.depth + block - 1) / block : 1;
  const int64_t codes = (block ? blocks * block : s.depth) * bits / 8;
  const int64_t scales = blocks * (s.weight->constant()->dtype() == DataType::kFloat16 ? 2 : 4);
  return s.rows * (codes + scales + (symmetric ? 0 : (blocks * bits + 7) / 8));
}

WeightSites find_weight_sites(Model& model, const WeightOnlyOptions& options) {
  WeightSites found;
  collect(model.graph(), options, found);
  std::map<const Value*, std::set<const Node*>> readers;
  for (const WeightSite& s : found.sites)
    readers[s.weight].insert(s.transpose ? s.transpose : s.node);
  std::set<const Node*> dropped;
  std::erase_if(found.sites, [&](const WeightSite& s) {
    if (only_sites_read(*s.weight, readers[s.weight])) return false;
    dropped.insert(s.node);
    return true;
  });
  for (NodeDecision& d : found.decisions)
    if (dropped.contains(d.node)) d = {d.node, false, "", kUsedElsewhere};
  return found;
}

}  // namespace onnxtool
