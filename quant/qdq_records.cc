#include "quant/qdq_records.h"

#include <algorithm>
#include <array>

#include "calib/exec/integer_groups.h"
#include "libopt/analysis/qdq.h"
#include "libopt/ort/since_version.h"
#include "libopt/rewrite/rewriter.h"

namespace onnxtool {
namespace {

constexpr int kEveryInput = 0;

IntegerGroups groups_of(const Graph& graph) {
  IntegerQuestions questions;
  questions.is_watched = [](const Value&) { return false; };
  questions.has_kernel = [](std::string_view, std::string_view domain, int, DataType) {
    return domain.empty() || domain == "com.microsoft";
  };
  return find_integer_groups(graph, questions);
}

// What the runtime calls the rewrite, and how many inputs it looks at: absent optional ones count.
struct Action {
  std::string_view op, name;
  int inputs;
  int first = 0;
};

constexpr std::array kActions = {
    Action{"Conv", "Conv", 3},      Action{"Gemm", "Gemm", 3},
    Action{"MatMul", "MatMul", 2},  Action{"Add", "2DQ", 2},
    Action{"Mul", "2DQ", 2},        Action{"AveragePool", "1DQ", 1},
    Action{"LeakyRelu", "1DQ", 1},  Action{"GlobalAveragePool", "1DQ", 1},
    Action{"Sigmoid", "1DQ", 1},    Action{"Concat", "*DQ", kEveryInput},
    Action{"MaxPool", "drop", 1},   Action{"Reshape", "drop", 1},
    Action{"Transpose", "drop", 1}, Action{"Squeeze", "drop", 1},
    Action{"Unsqueeze", "drop", 1}, Action{"Where", "Where", 2, 1},
};

// A DequantizeLinear that only `reader` reads.
const Node* own_dequantize(const Node& reader, int i) {
  const Node* dq = reader.has_input(i) ? reader.input(i).producer() : nullptr;
  const bool own = dq && is_dequantize(*dq) && &dq->graph() == &reader.graph() &&
                   dq->output(0).has_one_use() && !dq->output(0).is_graph_output();
  return own ? dq : nullptr;
}

bool same_codes(const Node& dq, const Node& q) {
  return same_scale(dq, q) && dq.input(2).type().dtype == q.input(2).type().dtype;
}

// Whether the target's operator for the group is the one that the record says.
bool agrees(const IntegerGroup& group, const Target& target) {
  const TargetOp* op = find_target_op(target, *group.core);
  if (!op || op->fusion == Fusion::kNever || (op->obstacle && op->obstacle(*group.core)) ||
      (op->wrong && op->wrong(*group.core)))
    return false;
  return op->fusion == Fusion::kPassThrough || op->integer_op == group.op ||
         op->float_output_op == group.op;
}

bool record(const IntegerGroup& group, const Target& target, OrtFusionRecord& out) {
  const Node& core = *group.core;
  const auto action = std::ranges::find(kActions, std::string_view(core.op_type()), &Action::op);
  if (action == kActions.end() || !agrees(group, target)) return false;
  const int inputs = action->inputs == kEveryInput ? core.num_inputs() : action->inputs;
  for (int i = 0; i < inputs; ++i) {
    const Node* dq = own_dequantize(core, action->first + i);
    if (!dq && core.has_input(action->first + i)) return false;
    out.nodes.push_back(dq);
  }
  out.optimizer = "QDQSelectorActionTransformer";
  out.action = action->name;
  out.inputs = inputs;
  out.variadic = action->inputs == kEveryInput;
  out.nodes.push_back(&core);
  if (group.last != &core) {
    // An activation between would be lost: nothing names it.
    if (&group.last->input(0) != &core.output(0)) return false;
    out.nodes.push_back(group.last);
    out.outputs = 1;
  }
  if (action->name == "drop") return out.outputs == 1 && same_codes(*out.nodes[0], *group.last);
  out.domain = group.domain;
  out.op_type = group.op;
  const auto since = ort_since_version(group.domain, group.op, core.opset());
  if (group.domain.empty() && !since) return false;
  out.since_version = group.domain.empty() ? *since : 1;
  return true;
}

void drop_covered_activations(Graph& graph) {
  const IntegerGroups groups = groups_of(graph);
  std::vector<const Node*> activations;
  Rewriter rw(graph);
  for (const Node& n : graph.nodes()) {
    const auto it = groups.by_core.find(&n);
    if (it == groups.by_core.end() || it->second.last == &n) continue;
    const Node& q = *it->second.last;
    if (&q.input(0) == &n.output(0)) continue;
    activations.push_back(q.input(0).producer());
    rw.set_input(q, 0, &n.output(0));
  }
  for (const Node* a : activations) rw.remove(*a);
}

void own_dequantizers(Graph& graph) {
  std::vector<Node*> shared;
  for (Node& n : graph.nodes())
    if (is_dequantize(n) && n.has_output(0) && !n.output(0).has_one_use()) shared.push_back(&n);
  for (Node* dq : shared) {
    const std::vector<Use> uses(dq->output(0).uses().begin(), dq->output(0).uses().end());
    for (size_t i = dq->output(0).is_graph_output() ? 0 : 1; i < uses.size(); ++i) {
      if (&uses[i].user->graph() != &graph) continue;
      Value& own = graph.add_value("", dq->output(0).name());
      own.set_type(dq->output(0).type());
      std::vector<Value*> inputs;
      for (int k = 0; k < dq->num_inputs(); ++k)
        inputs.push_back(dq->has_input(k) ? &dq->input(k) : nullptr);
      std::vector<Attribute> attributes;
      for (const Attribute& at : dq->attributes())
        if (const auto* v = at.get<int64_t>()) attributes.push_back(Attribute::of(at.name, *v));
      graph.add_node(dq->op_type(), dq->domain(), dq->name(), inputs, {&own}, std::move(attributes),
                     dq);
      graph.set_input(*uses[i].user, uses[i].index, &own);
    }
  }
}

}  // namespace

void prepare_qdq_records(Graph& graph) {
  for (Node& n : graph.nodes()) n.for_each_subgraph([](Graph& sub) { prepare_qdq_records(sub); });
  drop_covered_activations(graph);
  own_dequantizers(graph);
}

std::vector<OrtFusionRecord> find_qdq_records(const Graph& graph, const Target& target) {
  const IntegerGroups groups = groups_of(graph);
  std::vector<OrtFusionRecord> out;
  for (const Node& n : graph.nodes()) {
    const auto it = groups.by_core.find(&n);
    OrtFusionRecord r;
    if (it != groups.by_core.end() && record(it->second, target, r)) out.push_back(std::move(r));
    n.for_each_subgraph([&](const Graph& sub) {
      for (OrtFusionRecord& inner : find_qdq_records(sub, target)) out.push_back(std::move(inner));
    });
  }
  return out;
}

}  // namespace onnxtool
