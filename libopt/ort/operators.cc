#include "libopt/ort/operators.h"

#include <algorithm>

#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

std::string id_of(std::string_view domain, std::string_view op, int since_version) {
  return std::string(domain) + ":" + std::string(op) + ":" + std::to_string(since_version);
}

OrtOperator from_schema(const OrtSchema& schema) {
  OrtOperator out{id_of(schema.domain, schema.op, schema.since_version),
                  schema.since_version,
                  schema.formal_inputs,
                  {},
                  ort_default_attributes(schema)};
  for (const OrtTypeArgs& t : ort_type_args(schema))
    out.types.push_back({std::string(t.name), t.inputs, t.outputs});
  return out;
}

// The schema that a full build makes of a custom operator names types Input0, Output0; the kernel
// that a minimal build looks for names them T0, T1. Both are written: names that nobody asks for do
// no harm.
void fit_custom(OrtOperator& op, const Node& node) {
  op.formal_inputs = std::max(op.formal_inputs, node.num_inputs());
  const auto entry = [&](const std::string& name, bool output, int i) {
    if (std::ranges::any_of(op.types, [&](const auto& t) { return t.name == name; })) return;
    OrtOperator::TypeArgs args{name, {}, {}};
    (output ? args.outputs : args.inputs).push_back(i);
    op.types.push_back(std::move(args));
  };
  for (int i = 0; i < node.num_inputs(); ++i) {
    entry("Input" + std::to_string(i), false, i);
    entry("T" + std::to_string(i), false, i);
  }
  for (int i = 0; i < node.num_outputs(); ++i) entry("Output" + std::to_string(i), true, i);
  std::ranges::sort(op.types, {}, &OrtOperator::TypeArgs::name);
}

const OrtCustomOperator* find_custom(std::span<const OrtCustomOperator> custom, const Node& node) {
  for (const OrtCustomOperator& c : custom)
    if (c.op_type == node.op_type() && c.domain == node.domain()) return &c;
  return nullptr;
}

}  // namespace

Result<OrtOperators> OrtOperators::of(const Model& model,
                                      std::span<const OrtCustomOperator> custom) {
  OrtOperators out;
  ONNXTOOL_TRY(out.add_graph(model.graph(), custom));
  return out;
}

Status OrtOperators::add_graph(const Graph& graph, std::span<const OrtCustomOperator> custom) {
  Status status;
  for (const Node& n : graph.nodes()) {
    n.for_each_subgraph([&](const Graph& sub) {
      if (status.ok()) status = add_graph(sub, custom);
    });
    ONNXTOOL_TRY(std::move(status));
    const auto key = std::pair(n.domain(), n.op_type());
    if (const OrtCustomOperator* c = find_custom(custom, n)) {
      OrtOperator& op = operators_[key];
      op.id = id_of(c->domain, c->op_type, c->since_version);
      op.since_version = c->since_version;
      fit_custom(op, n);
      continue;
    }
    if (operators_.contains(key)) continue;
    const OrtSchema* schema = find_ort_schema(n.domain(), n.op_type(), n.opset());
    if (!schema)
      return Error{
          ErrorCode::kUnsupported,
          n.describe() + ": onnxruntime has no such operator at opset " + std::to_string(n.opset()),
          "a custom operator must be declared with --custom-ops"};
    operators_.emplace(key, from_schema(*schema));
  }
  return {};
}

const OrtOperator& OrtOperators::find(const Node& node) const {
  const auto it = operators_.find({node.domain(), node.op_type()});
  ONNXTOOL_CHECK(it != operators_.end());
  return it->second;
}

void OrtOperators::add(std::string_view domain, std::string_view op_type, int64_t opset) {
  const OrtSchema* schema = find_ort_schema(domain, op_type, opset);
  ONNXTOOL_CHECK(schema != nullptr);
  operators_.emplace(std::pair(std::string(domain), std::string(op_type)), from_schema(*schema));
}

std::vector<const OrtOperator*> OrtOperators::all() const {
  std::vector<const OrtOperator*> out;
  for (const auto& [key, op] : operators_) out.push_back(&op);
  std::ranges::sort(out, {}, &OrtOperator::id);
  return out;
}

std::vector<int32_t> ort_input_counts(const OrtOperator& op, int num_inputs) {
  std::vector<int32_t> counts(static_cast<size_t>(op.formal_inputs), 0);
  for (int i = 0; i < num_inputs && i < op.formal_inputs; ++i) counts[static_cast<size_t>(i)] = 1;
  if (num_inputs > op.formal_inputs && op.formal_inputs > 0)
    counts.back() += num_inputs - op.formal_inputs;
  return counts;
}

}  // namespace onnxtool
