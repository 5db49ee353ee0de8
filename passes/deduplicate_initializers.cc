// Makes one initializer of several with the same type, shape and bytes.
//
// Does not fire: graph inputs (callers may override them) and graph outputs (they keep their
// names); strings. Only within one graph: a subgraph's copy stays.

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <span>
#include <tuple>

#include "passes/pass.h"

namespace onnxtool {
namespace {

// FNV-1a over 8 bytes at a time: candidates are compared byte by byte afterwards, so it need only
// be fast.
uint64_t hash_of(std::span<const std::byte> bytes) {
  uint64_t h = 0xcbf29ce484222325u;
  const auto mix = [&](uint64_t word) { h = std::rotl((h ^ word) * 0x100000001b3u, 23); };
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    mix(word);
  }
  for (; i < bytes.size(); ++i) mix(static_cast<uint64_t>(bytes[i]));
  return h;
}

// Of a few places. Tensors that differ do so nearly everywhere: most need not be read any further.
uint64_t hash_of_sample(const Tensor& t) {
  constexpr size_t kPlaces = 16, kBytes = 64;
  const std::span<const std::byte> bytes = t.bytes();
  if (bytes.size() <= kPlaces * kBytes) return hash_of(bytes);
  uint64_t h = 0;
  for (size_t place = 0; place < kPlaces; ++place)
    h = h * 31 + hash_of(bytes.subspan(place * (bytes.size() - kBytes) / (kPlaces - 1), kBytes));
  return h;
}

void run_graph(Graph& graph, const PassContext&,
               const std::function<bool(const std::string&)>& may_rewrite) {
  // All bytes are read only where another initializer has the same type, shape and sample.
  std::map<std::tuple<DataType, std::vector<int64_t>, uint64_t>, std::vector<Value*>> alike;
  for (Value* v : graph.initializers())
    if (const Tensor* t = v->constant();
        t && !v->is_graph_output() && t->dtype() != DataType::kString)
      alike[{t->dtype(), t->dims(), hash_of_sample(*t)}].push_back(v);
  for (auto& [key, values] : alike) {
    if (values.size() < 2) continue;
    std::multimap<uint64_t, Value*> seen;
    for (Value* v : values) {
      const uint64_t hash = hash_of(v->constant()->bytes());
      const auto [begin, end] = seen.equal_range(hash);
      const auto same = std::find_if(begin, end, [&](const auto& entry) {
        return entry.second->constant()->same_content(*v->constant());
      });
      if (same == end) {
        seen.emplace(hash, v);
        continue;
      }
      if (v->unused()) continue;
      if (!may_rewrite("initializer '" + v->name() + "'")) return;
      Rewriter rw(graph);
      rw.replace_uses(*v, *same->second);
      rw.sweep();
    }
  }
}

}  // namespace

constinit const PassInfo kDeduplicateInitializers{
    .name = "deduplicate-initializers",
    .summary = "keep one of several initializers with the same type, shape and bytes",
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run_graph = run_graph};
}  // namespace onnxtool
