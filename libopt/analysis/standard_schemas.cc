// Schemas of the standard's operators, each made when it is first asked for.
//
// onnx's own registry makes all 659 at the first question: 69 million instructions, two thirds of
// what `onnxtool optimize` took for a model of twelve nodes.

#include "libopt/analysis/standard_schemas.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>

#include "libopt/analysis/seam_internal.h"
#include "onnx/defs/operator_sets.h"
#include "onnx/defs/operator_sets_ml.h"
#include "onnx/defs/operator_sets_preview.h"
#include "onnx/defs/operator_sets_training.h"

namespace onnxtool::seam {
namespace {

struct Entry {
  std::string_view
      set;  // "Onnx" is the default domain; those of others say their domain themselves
  int version;
  std::string_view op_type;
  onnx::OpSchema (*make)();
};

constexpr Entry kUnsorted[] = {
#define SCHEMA(set, version, op_type, type) {set, version, op_type, &onnx::GetOpSchema<type>},
#include "libopt/analysis/standard_schemas.inc"
#undef SCHEMA
};

// By operator, the newest first.
constexpr auto kEntries = [] {
  std::array<Entry, std::size(kUnsorted)> sorted{};
  std::ranges::copy(kUnsorted, sorted.begin());
  std::ranges::sort(sorted, [](const Entry& a, const Entry& b) {
    return a.op_type != b.op_type ? a.op_type < b.op_type : a.version > b.version;
  });
  return sorted;
}();

class StandardSchemas final : public onnx::ISchemaRegistry {
 public:
  const onnx::OpSchema* find(std::string_view op_type, std::string_view domain, int opset) const {
    const bool is_default = domain.empty();
    auto at = std::ranges::lower_bound(kEntries, op_type, {}, &Entry::op_type);
    for (; at != kEntries.end() && at->op_type == op_type; ++at) {
      if (at->version > opset || (at->set == "Onnx") != is_default) continue;
      const onnx::OpSchema& schema = made(static_cast<size_t>(at - kEntries.begin()));
      if (schema.domain() == domain) return &schema;
    }
    return nullptr;
  }

  // The interface's default argument is the default domain.
  const onnx::OpSchema* GetSchema(const std::string& key, int version,
                                  const std::string& domain = onnx::ONNX_DOMAIN) const override {
    return find(key, domain, version);
  }

 private:
  const onnx::OpSchema& made(size_t i) const {
    const onnx::OpSchema* schema = made_[i].load(std::memory_order_acquire);
    if (schema) return *schema;
    const std::lock_guard lock(mutex_);
    schema = made_[i].load(std::memory_order_relaxed);
    if (!schema) {
      auto fresh = std::make_unique<onnx::OpSchema>(kEntries[i].make());
      fresh->Finalize();
      kept_[i] = std::move(fresh);
      schema = kept_[i].get();
      made_[i].store(schema, std::memory_order_release);
    }
    return *schema;
  }

  mutable std::mutex mutex_;
  mutable std::array<std::unique_ptr<const onnx::OpSchema>, kEntries.size()> kept_;
  mutable std::array<std::atomic<const onnx::OpSchema*>, kEntries.size()> made_{};
};

const StandardSchemas& schemas() {
  static const StandardSchemas all;
  return all;
}

}  // namespace

const onnx::ISchemaRegistry& standard_schemas() { return schemas(); }

const onnx::OpSchema* standard_schema(std::string_view op_type, std::string_view domain,
                                      int opset) {
  return schemas().find(op_type, domain, opset);
}

}  // namespace onnxtool::seam
