#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

constexpr const OpHandler* kAll[] = {
#define HANDLER(id) &id,
#include "quant/ops/handlers.def"
#undef HANDLER
};

}  // namespace

const OpHandler* find_handler(const Node& node) {
  if (!node.domain().empty()) return nullptr;
  for (const OpHandler* h : kAll)
    if (h->op == node.op_type()) return h;
  return nullptr;
}

bool moves_elements(const Node& node) {
  const OpHandler* h = find_handler(node);
  return h && h->role == Role::kPassThrough && !h->qdq_only;
}

}  // namespace onnxtool
