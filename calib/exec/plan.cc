#include "calib/exec/plan.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "calib/exec/attention_groups.h"
#include "calib/exec/captures.h"
#include "calib/exec/device_copies.h"
#include "calib/exec/float_groups.h"
#include "calib/exec/integer_groups.h"
#include "calib/exec/kernel_choice.h"
#include "calib/exec/missing_kernels.h"
#include "calib/exec/native_ops.h"
#include "calib/exec/plan_impl.h"
#include "calib/exec/prepare.h"
#include "libopt/analysis/functions.h"
#include "libopt/io/sparse_initializers.h"
#include "libopt/ir/sparse.h"
#include "libopt/rewrite/inline_calls.h"

namespace onnxtool {
namespace {

// The static extents, -1 where unknown; empty without a shape.
std::vector<int64_t> known_dims(const ValueType& type) {
  std::vector<int64_t> dims;
  if (type.shape)
    for (const Dim& d : *type.shape) dims.push_back(d.value.value_or(-1));
  return dims;
}

}  // namespace

class PlanCompiler {
 public:
  PlanCompiler(const Graph& graph, const PlanOptions& options, Plan::Impl& plan,
               std::span<const Value* const> captured)
      : graph_(graph),
        options_(options),
        plan_(plan),
        captured_(captured),
        captured_set_(captured.begin(), captured.end()),
        choice_(options.kernel_sets) {}

  Status compile() {
    plan_.kernel_sets = options_.kernel_sets;
    plan_.threads = options_.threads;
    plan_.max_iterations = options_.max_iterations;
    ONNXTOOL_TRY(densify_initializers());
    for (const Value* v : graph_.inputs()) {
      if (tensor_of(*v)) continue;
      plan_.input_slots.push_back(slot(*v));
      plan_.input_names.push_back(v->name());
      // Counters and conditions of loops.
      if (v->type().shape && v->type().shape->empty()) choice_.stays_small(slot(*v));
    }
    for (const Value* v : captured_) {
      plan_.input_slots.push_back(slot(*v));
      plan_.input_names.push_back(v->name());
    }
    for (const Value* v : options_.watched) watched_.insert(v);
    if (options_.integers) find_groups();
    if (options_.fuse) find_operators_in_parts();
    for (const Node& node : graph_.nodes()) ONNXTOOL_TRY(add_node(node));
    if (!missing_.empty()) return missing_.error(options_.kernel_sets);
    ONNXTOOL_CHECK(delayed_.empty());
    ONNXTOOL_TRY(prepare_steps(plan_.steps));
    for (const Value* v : graph_.outputs()) {
      plan_.output_slots.push_back(slot(*v));
      plan_.output_names.push_back(v->name());
    }
    find_last_uses(plan_);
    ONNXTOOL_TRY(place_copies(plan_));
    plan_.watch_of_slot.assign(static_cast<size_t>(plan_.num_slots), -1);
    for (size_t i = 0; i < options_.watched.size(); ++i) {
      const auto it = slots_.find(options_.watched[i]);
      if (it != slots_.end())
        plan_.watch_of_slot[static_cast<size_t>(it->second)] = static_cast<int>(i);
    }
    return {};
  }

 private:
  // Kernels know no sparse tensors.
  Status densify_initializers() {
    for (const std::string& field : graph_.opaque_fields) {
      ONNXTOOL_ASSIGN(const auto sparse, sparse_initializer(field));
      const Value* v = sparse ? graph_.find(sparse->values.name) : nullptr;
      if (!v) continue;
      ONNXTOOL_ASSIGN(dense_[v], densify(*sparse));
    }
    return {};
  }
  const Tensor* tensor_of(const Value& v) const {
    if (const Tensor* t = v.constant() ? v.constant() : v.initializer()) return t;
    const auto dense = dense_.find(&v);
    return dense == dense_.end() ? nullptr : &dense->second;
  }
  ValueType type_of(const Value& v) const {
    if (const auto dense = dense_.find(&v); dense != dense_.end())
      return ValueType::tensor(dense->second.dtype(), dense->second.dims());
    ValueType type = v.type();
    if (const auto codes = codes_.find(&v); codes != codes_.end()) type.dtype = codes->second;
    return type;
  }

  int slot(const Value& v) {
    const auto [it, fresh] = slots_.emplace(&v, plan_.num_slots);
    if (!fresh) return it->second;
    ++plan_.num_slots;
    const Tensor* t = tensor_of(v);
    if (t && !captured_set_.contains(&v))
      plan_.constants.emplace_back(it->second,
                                   constants_[&v] = std::make_shared<AlignedTensor>(*t));
    return it->second;
  }

  // Where two nodes want one tensor, they share its aligned copy.
  std::shared_ptr<AlignedTensor> constant_of(const Value& v) {
    // An outer constant is one here too: folding and prepacking see through the subgraph's border.
    // So is an input's default, as runs are never given another value for it.
    const Tensor* t = tensor_of(v);
    if (!t) return nullptr;
    auto& aligned = constants_[&v];
    if (!aligned) aligned = std::make_shared<AlignedTensor>(*t);
    return aligned;
  }

  Status add_node(const Node& node) {
    if (const auto it = float_groups_.find(&node); it != float_groups_.end())
      return add_group(it->second);
    if (taken_.contains(&node)) {
      add_delayed(node);
      return {};
    }
    // A Constant node's tensor is a constant slot already.
    if (node.is("Constant") && node.num_outputs() == 1 && node.has_output(0) &&
        node.output(0).constant())
      return {};
    if (const auto it = groups_.find(&node); it != groups_.end()) return add_group(it->second);
    if (node.domain() == kPlanDomain) {
      missing_.add(node);
      return {};
    }
    Step step;
    step.node = std::make_unique<CompiledNode>(node, options_.threads);
    CompiledNode& c = *step.node;
    for (const Value* v : node.inputs()) add_input(c, v);
    for (const Value* v : node.outputs())
      c.wanted.push_back(v && (!v->unused() || watched_.contains(v)));
    step.native = find_native_op(node);
    if (step.native) {
      ONNXTOOL_TRY(compile_subgraphs(node, step));
    } else {
      const bool first = node.num_inputs() > 0 && node.has_input(0),
                 result = node.num_outputs() > 0 && node.has_output(0);
      choice_.select(step, first    ? type_of(node.input(0)).dtype
                           : result ? node.output(0).type().dtype
                                    : DataType::kUndefined);
      if (!step.kernel) {
        missing_.add(node);
        return {};
      }
    }
    const Value* result = nullptr;
    const Node* last = &node;
    if (options_.fuse && step.kernel) {
      std::vector<const Value*> extra;
      // An addition that the branch before this one took is no longer there to be fused.
      const auto keeps = [&](const Value& v) {
        return watched_.contains(&v) || (v.has_one_use() && taken_.contains(v.uses()[0].user));
      };
      const Value* bias = nullptr;
      const Node* added = find_bias(node, keeps, bias);
      if (added) {
        c.biased = true;
        add_input(c, bias);
        if (step.kernel->accepts && !step.kernel->accepts(c)) {  // not with a bias
          c.biased = false;
          drop_last_input(c);
          added = nullptr;
        }
      }
      auto chain = find_post_ops(node, added ? &added->output(0) : nullptr, *step.kernel, c, keeps,
                                 c.fused, extra);
      if (added) chain.insert(chain.begin(), added);
      while (!extra.empty() && c.inputs.size() < static_cast<size_t>(kFirstFusedInput))
        add_input(c, nullptr);
      for (const Value* v : extra) add_input(c, v);
      for (const Node* n : chain) taken_.insert(n);
      if (!chain.empty()) {
        last = chain.back();
        result = &last->output(0);
        c.wanted[0] = true;
      }
    }
    for (int i = 0; i < node.num_outputs(); ++i) {
      const Value* v = i == 0 && result ? result : node.outputs()[static_cast<size_t>(i)];
      step.outputs.push_back(v && c.wanted[static_cast<size_t>(i)] ? slot(*v) : -1);
    }
    place(std::move(step), node, *last);
    return {};
  }

  void add_input(CompiledNode& c, const Value* v) {
    c.inputs.push_back(v ? slot(*v) : -1);
    c.dtypes.push_back(v ? type_of(*v).dtype : DataType::kUndefined);
    c.dims.push_back(v ? known_dims(type_of(*v)) : std::vector<int64_t>());
    c.constants.push_back(v ? constant_of(*v) : nullptr);
  }

  void drop_last_input(CompiledNode& c) {
    c.inputs.pop_back();
    c.dtypes.pop_back();
    c.dims.pop_back();
    c.constants.pop_back();
  }

  // A fused step runs where its last node stood: by then every extra input has been made.
  void place(Step step, const Node& first, const Node& last) {
    choice_.note_small(step);
    if (&first == &last)
      plan_.steps.push_back(std::move(step));
    else
      delayed_.emplace(&last, std::move(step));
  }

  void find_groups() {
    IntegerGroups found = find_integer_groups(
        graph_, {.is_watched = [&](const Value& v) { return watched_.contains(&v); },
                 .has_kernel =
                     [&](std::string_view op, std::string_view domain, int opset, DataType type) {
                       return choice_.may_stand_for_groups(op, domain, opset, type);
                     }});
    groups_ = std::move(found.by_core);
    codes_ = std::move(found.codes);
    taken_.insert(found.replaced.begin(), found.replaced.end());
  }

  Status add_group(const IntegerGroup& group) {
    Step step;
    step.node = std::make_unique<CompiledNode>(*group.core, options_.threads);
    CompiledNode& c = *step.node;
    c.become(group.op, group.domain, group.domain.empty() ? group.core->opset() : 1);
    for (const Value* v : group.inputs) add_input(c, v);
    c.wanted = {true};
    choice_.select(step, c.input_dtype(0));
    if (!step.kernel) {
      missing_.add(*group.core);
      return {};
    }
    step.outputs = {slot(group.last->output(0))};
    place(std::move(step), *group.core, *group.last);
    return {};
  }

  void find_operators_in_parts() {
    FloatGroups found =
        find_float_groups(graph_, [&](const Value& v) { return watched_.contains(&v); });
    for (auto& [last, group] : found.by_last) {
      const bool free = std::none_of(group.nodes.begin(), group.nodes.end(), [&](const Node* n) {
        return taken_.contains(n) || groups_.contains(n);
      });
      const bool known =
          choice_.may_stand_for_groups(group.op, group.domain, group.opset, DataType::kFloat);
      if (!free || !known) continue;
      taken_.insert(group.nodes.begin(), group.nodes.end());
      float_groups_.emplace(last, std::move(group));
    }
  }

  Status add_group(const FloatGroup& group) {
    Step step;
    step.node = std::make_unique<CompiledNode>(*group.last, options_.threads);
    CompiledNode& c = *step.node;
    c.become(group.op, group.domain, group.opset);
    for (const auto& [name, value] : group.attributes) c.set_attribute(name, value);
    for (const Value* v : group.inputs) add_input(c, v);
    c.wanted = {true};
    choice_.select(step, c.input_dtype(0));
    ONNXTOOL_CHECK(step.kernel);
    step.outputs = {slot(group.last->output(0))};
    plan_.steps.push_back(std::move(step));
    return {};
  }

  // The step that was waiting for this node's place.
  void add_delayed(const Node& node) {
    const auto it = delayed_.find(&node);
    if (it == delayed_.end()) return;
    plan_.steps.push_back(std::move(it->second));
    delayed_.erase(it);
  }

  Status compile_subgraphs(const Node& node, Step& step) {
    for (const Attribute& a : node.attributes()) {
      const auto* g = a.get<std::unique_ptr<Graph>>();
      if (!g) continue;
      const std::vector<const Value*> captures = captured_values(node.graph(), **g);
      SubPlan sub;
      sub.attribute = a.name;
      PlanOptions inner = options_;
      inner.watched.clear();
      auto compiled = compile_graph(**g, inner, captures);
      if (!compiled.ok()) return std::move(compiled).error().at(node.describe() + ", " + a.name);
      sub.plan = *std::move(compiled);
      // Inputs with a default have no slot to bind, so they do not count as inputs of an iteration.
      sub.own_inputs = static_cast<int>(sub.plan->impl().input_slots.size() - captures.size());
      if (node.is("If") && sub.own_inputs)
        return Error{ErrorCode::kBadModel,
                     node.describe() + ": " + a.name + " has inputs, expected none",
                     {}};
      for (const Value* v : captures) sub.captured.push_back(slot(*v));
      for (const Value* v : (*g)->outputs()) sub.output_types.push_back(v->type());
      step.subplans.push_back(std::move(sub));
    }
    return {};
  }

 public:
  bool can_add(const Node& node) {
    return add_node(node).ok() && missing_.empty() && prepare_steps(plan_.steps).ok();
  }

  static Result<std::shared_ptr<const Plan>> compile_graph(const Graph& graph,
                                                           const PlanOptions& options,
                                                           std::span<const Value* const> captured) {
    std::shared_ptr<Plan> plan(new Plan);
    ONNXTOOL_TRY(PlanCompiler(graph, options, *plan->impl_, captured).compile());
    return std::shared_ptr<const Plan>(std::move(plan));
  }

 private:
  const Graph& graph_;
  const PlanOptions& options_;
  Plan::Impl& plan_;
  std::span<const Value* const> captured_;
  std::unordered_set<const Value*> captured_set_;
  std::unordered_map<const Value*, int> slots_;
  std::unordered_map<const Value*, Tensor> dense_;  // sparse initializers
  std::unordered_map<const Value*, std::shared_ptr<AlignedTensor>> constants_;
  std::set<const Value*> watched_;
  std::set<const Node*> taken_;
  std::unordered_map<const Node*, Step> delayed_;  // by the node in whose place they run
  std::unordered_map<const Node*, IntegerGroup> groups_;
  std::unordered_map<const Value*, DataType> codes_;          // as in IntegerGroups
  std::unordered_map<const Node*, FloatGroup> float_groups_;  // by the node in whose place they run
  KernelChoice choice_;
  MissingKernels missing_;
};

Plan::Plan() : impl_(std::make_unique<Impl>()) {}
Plan::~Plan() = default;

const std::vector<std::string>& Plan::input_names() const { return impl_->input_names; }
const std::vector<std::string>& Plan::output_names() const { return impl_->output_names; }

std::string Plan::describe_kernels() const {
  std::map<std::string_view, int> counts;
  for (const Step& s : impl_->steps) ++counts[s.set ? s.set->name : "executor"];
  std::string out;
  for (const auto& [name, count] : counts)
    out += (out.empty() ? "" : ", ") + std::string(name) + ": " + std::to_string(count) +
           (count == 1 ? " step" : " steps");
  if (impl_->device)
    out += "; " + std::to_string(impl_->uploads) + " values copied to the device, " +
           std::to_string(impl_->downloads) + " from it";
  return out;
}

std::vector<const Node*> Plan::nodes_in_the_way(const Graph& graph, const PlanOptions& options) {
  PlanOptions alone = options;
  alone.watched.clear();
  alone.fuse = false;
  std::vector<const Node*> found;
  for (const Node& node : graph.nodes()) {
    const std::unique_ptr<Plan> scratch(new Plan);
    if (!PlanCompiler(graph, alone, *scratch->impl_, {}).can_add(node)) found.push_back(&node);
  }
  return found;
}

namespace {

// Whether something runs the node's operator, whatever its types.
bool has_kernel(const Node& node, const PlanOptions& options) {
  if (find_native_op(node)) return true;
  for (const KernelSet* set : options.kernel_sets)
    for (const KernelInfo* k : set->kernels)
      if (is_for(*k, node.op_type(), node.domain(), node.opset())) return true;
  return false;
}

bool any_node(const Graph& graph, const std::function<bool(const Node&)>& is) {
  bool found = false;
  for (const Node& n : graph.nodes()) {
    found = found || is(n);
    n.for_each_subgraph([&](Graph& g) { found = found || any_node(g, is); });
  }
  return found;
}

}  // namespace

Result<std::shared_ptr<const Plan>> Plan::compile(const Graph& graph, const PlanOptions& options) {
  const auto lacks_kernel = [&](const Node& n) { return !has_kernel(n, options); };
  // What no kernel runs may be a function, of the model or of the standard: its body runs in its
  // place.
  const bool is_whole = &graph == &graph.model().graph();
  if (!is_whole ||
      !any_node(graph, [&](const Node& n) { return called_function(n) || lacks_kernel(n); }))
    return PlanCompiler::compile_graph(graph, options, {});
  const std::unique_ptr<Model> copy = graph.model().clone();
  ONNXTOOL_TRY(inline_calls(copy->graph(), lacks_kernel));
  PlanOptions of_copy = options;
  for (const Value*& v : of_copy.watched) v = copy->graph().find(v->name());
  return PlanCompiler::compile_graph(copy->graph(), of_copy, {});
}

}  // namespace onnxtool
