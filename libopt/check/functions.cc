// Findings about local functions as a whole: identity, signature, recursion, opsets, growth.
#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "libopt/analysis/functions.h"
#include "libopt/analysis/seam.h"
#include "libopt/analysis/verify.h"
#include "libopt/check/family.h"

namespace onnxtool::check {
namespace {

using outline::Function;
using Key = std::tuple<std::string_view, std::string_view, std::string_view>;

// As onnx's checker.
constexpr size_t kMaxFunctions = 10000;
constexpr size_t kMaxCallDepth = 100;

std::string place_of(const Function& f) {
  return "function '" + std::string(f.domain) + "." + std::string(f.name) + "'";
}

class Calls {
 public:
  Calls(const std::vector<Function>& functions, Findings& out)
      : functions_(functions), out_(out), callees_(functions.size()) {
    std::map<Key, size_t> by_key;
    for (size_t i = 0; i < functions.size(); ++i)
      if (!by_key.emplace(Key{functions[i].domain, functions[i].name, functions[i].overload}, i)
               .second)
        out.add(RuleId::kDuplicateFunction, place_of(functions[i]), "the function is defined twice",
                functions[i].offset);
    for (size_t i = 0; i < functions.size(); ++i) {
      for_each_node(functions[i].nodes, [&](const outline::Node& n, const std::string&, int) {
        if (const auto f = by_key.find({n.domain, n.op_type, n.overload}); f != by_key.end())
          callees_[i].push_back(f->second);
      });
      std::ranges::sort(callees_[i]);
      callees_[i].erase(std::unique(callees_[i].begin(), callees_[i].end()), callees_[i].end());
    }
  }

  // Depth first, without recursion: chains may be as long as the file.
  void find_circles() {
    enum class State : uint8_t { kNew, kOpen, kDone };
    std::vector<State> state(functions_.size(), State::kNew);
    for (size_t root = 0; root < functions_.size(); ++root) {
      if (state[root] != State::kNew) continue;
      std::vector<std::pair<size_t, size_t>> path = {{root, 0}};  // function, next callee
      state[root] = State::kOpen;
      while (!path.empty()) {
        auto& [f, next] = path.back();
        if (next == callees_[f].size()) {
          state[f] = State::kDone;
          path.pop_back();
          continue;
        }
        const size_t callee = callees_[f][next++];
        if (state[callee] == State::kOpen) {
          out_.add(RuleId::kFunctionRecursion, place_of(functions_[callee]),
                   "the function calls itself, directly or through others",
                   functions_[callee].offset);
        } else if (state[callee] == State::kNew) {
          if (path.size() >= kMaxCallDepth)
            return out_.add(RuleId::kFunctionRecursion, place_of(functions_[callee]),
                            "calls are nested more than " + std::to_string(kMaxCallDepth) + " deep",
                            functions_[callee].offset);
          state[callee] = State::kOpen;
          path.emplace_back(callee, 0);
        }
      }
    }
  }

 private:
  const std::vector<Function>& functions_;
  Findings& out_;
  std::vector<std::vector<size_t>> callees_;
};

void check_signature(const Function& f, int64_t ir_version, Findings& out) {
  if (f.name.empty())
    out.add(RuleId::kMissingName, place_of(f), "a function has no name", f.offset);
  if (ir_version >= 8 && !f.has_domain)
    out.add(RuleId::kMissingName, place_of(f), "the function has no domain", f.offset);
  std::unordered_set<std::string_view> seen;
  for (const std::string_view name : f.outputs)
    if (!seen.insert(name).second)
      out.add(RuleId::kFunctionSignature, place_of(f),
              "output '" + std::string(name) + "' is listed twice", f.offset);
  seen.clear();
  for (const std::string_view name : f.attributes)
    if (!seen.insert(name).second)
      out.add(RuleId::kFunctionSignature, place_of(f),
              "attribute '" + std::string(name) + "' is listed twice", f.offset);
}

// A node of the body must mean the same at the function's opset and at the model's.
void check_opsets(const Function& f, const OpsetMap& model, Findings& out) {
  OpsetMap own;
  for (const outline::OpsetImport& o : f.opsets) own[o.domain] = o.version;
  for (size_t i = 0; i < f.nodes.size(); ++i) {
    const outline::Node& n = f.nodes[i];
    const auto inside = std::as_const(own).find(n.domain), outside = model.find(n.domain);
    if (inside == own.end() || outside == model.end() || inside->second == outside->second)
      continue;
    const auto a = find_schema(n.op_type, n.domain, static_cast<int>(inside->second));
    const auto b = find_schema(n.op_type, n.domain, static_cast<int>(outside->second));
    if ((!a && !b) || (a && b && a->since_version == b->since_version)) continue;
    out.add(RuleId::kFunctionOpset, place_of(f),
            describe(n, i) + " follows opset " + std::to_string(inside->second) + " here, and " +
                std::to_string(outside->second) + " in the model",
            n.offset);
  }
}

// A call must fit the function's signature. onnx's checker lets more arguments pass, which runtimes
// refuse.
class CallChecker {
 public:
  CallChecker(const outline::Model& model, Findings& out) : out_(out) {
    for (const Function& f : model.functions)
      by_key_.emplace(Key{f.domain, f.name, f.overload}, &f);
  }

  void check(const outline::Node& call, const std::string& place) {
    const auto found = by_key_.find({call.domain, call.op_type, call.overload});
    if (found == by_key_.end()) return;
    const Function& f = *found->second;
    count(RuleId::kInputCount, call, place, f, "input", call.inputs.size(), f.inputs.size());
    count(RuleId::kOutputCount, call, place, f, "output", call.outputs.size(), f.outputs.size());
    std::unordered_set<std::string_view> absent;
    for (size_t i = 0; i < f.inputs.size(); ++i)
      if (i >= call.inputs.size() || call.inputs[i].empty()) absent.insert(f.inputs[i]);
    if (!absent.empty()) required(call, place, f, absent);
  }

 private:
  void count(RuleId id, const outline::Node& call, const std::string& place, const Function& f,
             const std::string& what, size_t given, size_t most) const {
    if (given > most)
      out_.add(
          id, place,
          std::to_string(given) + " " + what + "s, " + place_of(f) + " has " + std::to_string(most),
          call.offset);
  }

  // Where the body cannot do without what the call leaves out.
  void required(const outline::Node& call, const std::string& place, const Function& f,
                const std::unordered_set<std::string_view>& absent) {
    OpsetMap opsets;
    for (const outline::OpsetImport& o : f.opsets) opsets[o.domain] = o.version;
    for (const size_t i : readers_of(f, absent)) {
      const outline::Node& n = f.nodes[i];
      const auto opset = opsets.find(n.domain);
      if (opset == opsets.end()) continue;
      std::vector<std::string_view> inputs(n.inputs);
      for (std::string_view& name : inputs)
        if (absent.contains(name)) name = {};
      for (const SchemaFault& fault : verify_node({n.op_type, n.domain, inputs, n.outputs, {}},
                                                  static_cast<int>(opset->second)))
        if (fault.kind == SchemaFault::Kind::kMissingInput)
          return out_.add(RuleId::kMissingInput, place,
                          describe(n, i) + " of " + place_of(f) +
                              " needs an input that the call leaves out: " + fault.message,
                          call.offset);
    }
  }

  // Nodes of the body that read one of these inputs. Bodies are walked once, however many calls
  // leave something out.
  std::vector<size_t> readers_of(const Function& f,
                                 const std::unordered_set<std::string_view>& names) {
    const auto [it, is_new] = readers_.try_emplace(&f);
    if (is_new) {
      const std::unordered_set<std::string_view> inputs(f.inputs.begin(), f.inputs.end());
      for (size_t i = 0; i < f.nodes.size(); ++i)
        for (const std::string_view name : f.nodes[i].inputs)
          if (inputs.contains(name)) it->second[name].push_back(i);
    }
    std::vector<size_t> out;
    for (const std::string_view name : names) {
      const auto& found = it->second[name];
      out.insert(out.end(), found.begin(), found.end());
    }
    std::ranges::sort(out);
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  Findings& out_;
  std::map<Key, const Function*> by_key_;
  std::unordered_map<const Function*, std::unordered_map<std::string_view, std::vector<size_t>>>
      readers_;
};

void check_calls(const outline::Model& model, Findings& out) {
  if (model.functions.empty()) return;
  CallChecker checker(model, out);
  const auto visit = [&](const outline::Node& n, const std::string& place, int) {
    checker.check(n, place);
  };
  if (model.graph) for_each_node(model.graph->nodes, visit);
  for (const Function& f : model.functions)
    for_each_node(f.nodes, [&](const outline::Node& n, const std::string& place, int) {
      checker.check(n, place + " of " + place_of(f));
    });
}

uint64_t sum(uint64_t a, uint64_t b) { return std::min(a + b, kMaxExpandedNodes + 1); }

}  // namespace

void check_functions(const OutlineView& view, Findings& out) {
  const outline::Model& m = view.model;
  if (m.functions.size() > kMaxFunctions)
    return out.add(RuleId::kFunctionRecursion, "",
                   std::to_string(m.functions.size()) + " functions, expected at most " +
                       std::to_string(kMaxFunctions));
  Calls(m.functions, out).find_circles();
  const int64_t ir = m.ir_version.value_or(0);
  if (ir < 8) return;
  // A domain that the model does not import counts as imported by the first function that does.
  OpsetMap all = view.opsets;
  for (const Function& f : m.functions)
    for (const outline::OpsetImport& o : f.opsets) all.emplace(o.domain, o.version);
  for (const Function& f : m.functions) {
    check_signature(f, ir, out);
    check_opsets(f, all, out);
  }
  check_calls(m, out);
}

bool check_expansion(const Model& model, Findings& out) {
  std::map<Key, const onnxtool::Function*> by_key;
  for (const onnxtool::Function& f : model.functions) by_key[{f.domain, f.name, f.overload}] = &f;
  std::unordered_map<const onnxtool::Function*, uint64_t> sizes;
  // Calls do not nest deeper than kMaxCallDepth, which was checked before.
  const auto size_of = [&](const auto& self, const onnxtool::Graph& graph) -> uint64_t {
    uint64_t total = 0;
    for (const onnxtool::Node& n : graph.nodes()) {
      total = sum(total, 1);
      if (const auto f = by_key.find({n.domain(), n.op_type(), n.overload()}); f != by_key.end()) {
        if (!sizes.contains(f->second)) {
          const uint64_t body = self(self, *f->second->body);
          sizes[f->second] = body;
        }
        total = sum(total, sizes[f->second]);
      }
      n.for_each_subgraph([&](onnxtool::Graph& g) { total = sum(total, self(self, g)); });
    }
    return total;
  };
  if (model.functions.empty() || size_of(size_of, model.graph()) <= kMaxExpandedNodes) return true;
  out.add(RuleId::kFunctionExpansion, "",
          "expanding all calls gives more than " + std::to_string(kMaxExpandedNodes) +
              " nodes; types were not checked");
  return false;
}

}  // namespace onnxtool::check
