#include "libopt/rewrite/work.h"

#include <map>
#include <string_view>
#include <tuple>
#include <vector>

#include "libopt/analysis/cost.h"
#include "libopt/analysis/functions.h"
#include "libopt/analysis/seam.h"
#include "libopt/analysis/tensor_text.h"
#include "libopt/ir/copy.h"
#include "libopt/ir/walk.h"
#include "libopt/rewrite/inline_calls.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

// What an expanded call comes to.
struct Sum {
  std::optional<int64_t> macs = 0;
  uint64_t nodes = 0;

  void add(const Graph& graph) {
    for (const Node& n : graph.nodes()) {
      ++nodes;
      const auto own = macs_of(n);
      macs = macs && own ? checked_add(*macs, *own) : std::nullopt;
      n.for_each_subgraph([&](Graph& sub) { add(sub); });
    }
  }
};

// An input as the call sees it: its type, and what is known of its content.
Value& stand_in(const Value& input, Graph& graph) {
  Value& copy = graph.add_value("", input.name());
  copy.set_type(input.type());
  if (const Tensor* constant = input.constant())
    graph.set_initializer(copy, *constant);
  else if (const auto elements = known_elements(input);
           elements && input.type().dtype == DataType::kInt64)
    graph.set_initializer(copy, input.type().rank() == 0 ? Tensor::scalar(elements->front())
                                                         : Tensor::vector(*elements));
  return copy;
}

// All that the work of a call depends on: calls of one function that look alike are counted once.
std::string call_key(const Node& call, const Function& function) {
  constexpr int64_t kMostElements = 1024;  // more are data, on which no shape depends
  std::string key = std::to_string(reinterpret_cast<uintptr_t>(&function));
  for (const Value* v : call.inputs()) {
    key += ';';
    if (!v) continue;
    key += format_type(v->type());
    if (const Tensor* t = v->constant(); t && t->count() <= kMostElements)
      key += tensor_text(*t);
    else if (const auto elements = t ? std::nullopt : known_elements(*v))
      key += format_dims(*elements);
  }
  for (const Value* v : call.outputs()) key += v ? '+' : '-';
  for (const Attribute& a : call.attributes()) key += "|" + a.name + "=" + attribute_text(a);
  return key;
}

// The functions that multiply, in their subgraphs and in functions that they call too: found from
// those that multiply themselves outwards, so that neither long chains of calls nor circles matter.
std::unordered_set<const Function*> multiplying_functions(const Model& model) {
  using Key = std::tuple<std::string_view, std::string_view, std::string_view>;
  std::map<Key, const Function*> by_key;
  for (const Function& f : model.functions) by_key.emplace(Key{f.domain, f.name, f.overload}, &f);
  std::unordered_set<const Function*> found;
  std::unordered_map<const Function*, std::vector<const Function*>> callers;
  for (const Function& f : model.functions)
    for_each_node(*f.body, [&](const Node& n) {
      if (const auto callee = by_key.find({n.domain(), n.op_type(), n.overload()});
          callee != by_key.end())
        callers[callee->second].push_back(&f);
      else if (is_counted(n))
        found.insert(&f);
    });
  for (std::vector<const Function*> open(found.begin(), found.end()); !open.empty();) {
    const Function* f = open.back();
    open.pop_back();
    for (const Function* caller : callers[f])
      if (found.insert(caller).second) open.push_back(caller);
  }
  return found;
}

void clear(Graph& graph) {
  std::vector<Node*> nodes;
  for (Node& n : graph.nodes()) nodes.push_back(&n);
  while (!nodes.empty()) {
    graph.remove_node(*nodes.back());
    nodes.pop_back();
  }
}

}  // namespace

std::optional<int64_t> WorkCounter::macs(const Node& node) {
  const Function* function = called_function(node);
  if (!function) return macs_of(node);
  if (!multiplies(*function)) return 0;
  const auto [it, is_new] = known_.try_emplace(call_key(node, *function), std::nullopt);
  if (is_new) it->second = macs_of_call(node);
  return it->second;
}

bool WorkCounter::multiplies(const Function& function) {
  if (!multiplying_) multiplying_ = multiplying_functions(function.body->model());
  return multiplying_->contains(&function);
}

std::optional<int64_t> WorkCounter::macs_of_call(const Node& call) {
  bool has_subgraph = false;  // which may read values that the bench lacks
  call.for_each_subgraph([&](Graph&) { has_subgraph = true; });
  if (has_subgraph || expanded_ > kMaxExpandedNodes) return std::nullopt;
  if (!bench_) {
    bench_ = copy_header(call.graph().model());
    ValueMap unused;
    copy_functions(call.graph().model(), *bench_, unused);
  }
  Graph& graph = bench_->graph();
  ValueMap map;
  for (const Value* v : call.inputs())
    if (v && !map.contains(v)) map[v] = &stand_in(*v, graph);
  for (const Value* v : call.outputs())
    if (v) map[v] = &graph.add_value("", v->name());
  copy_node(call, graph, nullptr, map);
  Sum sum;
  if (inline_calls(graph, [](const Node&) { return false; }).ok()) {
    // What contradicts itself is not counted.
    if (!infer_graph(graph).ok()) sum.macs.reset();
    sum.add(graph);
  } else {
    sum.macs.reset();
    sum.nodes = kMaxExpandedNodes;
  }
  expanded_ += sum.nodes;
  clear(graph);
  return sum.macs;
}

}  // namespace onnxtool
