#include "quant/tables.h"

#include <algorithm>
#include <cmath>

#include "quant/weight_emit.h"
#include "quant/weight_sites.h"

namespace onnxtool {
namespace {

// Four operators instead of one: smaller tables would cost small models more time than they save.
constexpr int64_t kLeastBytes = 1 << 20;

// Masks may hold infinities.
bool has_codes(const Tensor& table) {
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
  std::set<const Value*> left;
  for (const WeightSite& s : found.sites)
    if (on_integers.contains(s.node) || !has_codes(*s.weight->constant()) ||
        options.overrides.of(*s.node).in_float ||
        options.in_float.contains(s.node->output(0).name()))
      left.insert(s.weight);
  std::erase_if(found.sites, [&](const WeightSite& s) {
    const auto bytes = static_cast<int64_t>(s.weight->constant()->size_bytes());
    return left.contains(s.weight) || (options.include.empty() && bytes < kLeastBytes);
  });
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
