#include "quant/tables.h"

#include <algorithm>
#include <cmath>

#include "quant/weight_emit.h"
#include "quant/weight_loops.h"
#include "quant/weight_sites.h"

namespace onnxtool {
namespace {

// Four operators instead of one: smaller tables would cost small models more time than they save.
constexpr int64_t kLeastBytes = 1 << 20;

// Masks may hold infinities.
bool has_codes(const Tensor& table) {
  if (table.dtype() == DataType::kFloat) return all_finite(table.values<float>()).ok();
  return std::ranges::all_of(table.to_doubles(), [](double x) { return std::isfinite(x); });
}

}  // namespace

Result<PackedTables> pack_tables(Model& model, const QuantizeOptions& options,
                                 const std::set<const Node*>& on_integers) {
  WeightOnlyOptions o;
  o.operators = false;
  o.bits = 8;
  o.tables_only = true;
  o.include = options.include;
  o.exclude = options.exclude;
  WeightSites found = find_weight_sites(model, o);
  // What is known of a table's nodes comes first: a table may be large.
  const auto stays = [&](const WeightSite& s) {
    const auto bytes = static_cast<int64_t>(s.weight->constant()->size_bytes());
    return (options.include.empty() && bytes < kLeastBytes) || on_integers.contains(s.node) ||
           options.overrides.of(*s.node).in_float ||
           options.in_float.contains(s.node->output(0).name());
  };
  std::set<const Value*> left, coded;
  for (const WeightSite& s : found.sites) {
    if (left.contains(s.weight)) continue;
    const bool packs = !stays(s) && (coded.contains(s.weight) || has_codes(*s.weight->constant()));
    (packs ? coded : left).insert(s.weight);
  }
  std::erase_if(found.sites, [&](const WeightSite& s) { return left.contains(s.weight); });
  WeightEmitter emitter(model, o, found);
  for (const WeightSite& s : found.sites) ONNXTOOL_TRY(emitter.emit(s));
  PackedTables packed;
  for (const QuantizedWeight& w : emitter.weights()) {
    ++packed.count;
    packed.saved_bytes += w.bytes_before - w.bytes_after;
  }
  return packed;
}

}  // namespace onnxtool
