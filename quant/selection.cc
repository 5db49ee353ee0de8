#include "quant/selection.h"

#include <optional>
#include <set>

#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

constexpr std::string_view kTensor = "tensor:", kBetween = "between:";

// The nodes that a value reaches, within its graph, by id.
std::unordered_set<int> nodes_behind(const Value& value) {
  std::unordered_set<int> seen;
  std::vector<const Value*> open{&value};
  while (!open.empty()) {
    const Value* v = open.back();
    open.pop_back();
    for (const Use& use : v->uses()) {
      if (&use.user->graph() != &value.graph() || !seen.insert(use.user->id()).second) continue;
      for (const Value* out : use.user->outputs())
        if (out) open.push_back(out);
    }
  }
  return seen;
}

// Names of what is made on paths from one value to the other.
std::unordered_set<std::string> results_between(const Value& from, const Value& to) {
  const std::unordered_set<int> behind = nodes_behind(from);
  std::unordered_set<std::string> results;
  std::unordered_set<int> seen;
  std::vector<const Value*> open{&to};
  while (!open.empty()) {
    const Node* n = open.back()->producer();
    open.pop_back();
    if (!n || !behind.contains(n->id()) || !seen.insert(n->id()).second) continue;
    for (const Value* out : n->outputs())
      if (out) results.insert(out->name());
    for (const Value* in : n->inputs())
      if (in) open.push_back(in);
  }
  return results;
}

std::string close_values(const Graph& graph, const std::string& name) {
  std::vector<std::string> known;
  for (const Value* v : graph.values()) known.push_back(v->name());
  std::string hint;
  for (const std::string& c : close_candidates(name, known))
    hint += (hint.empty() ? "did you mean '" : "' or '") + c;
  return hint.empty() ? "names are those of tensors in the graph" : hint + "'?";
}

// Names may hold commas: the first split of which both sides exist counts.
Result<std::unordered_set<std::string>> find_between(const std::string& text, const Graph& graph) {
  const Error no_pair{ErrorCode::kUsage,
                      "selector 'between:" + text + "' is not of the form between:FROM,TO",
                      "FROM and TO are tensors, as in between:input,/layer1/Relu_output_0"};
  std::optional<Error> error;
  for (size_t comma = text.find(','); comma != std::string::npos;
       comma = text.find(',', comma + 1)) {
    const std::string from = text.substr(0, comma), to = text.substr(comma + 1);
    const Value *a = graph.find(from), *b = graph.find(to);
    if (a && b) {
      auto results = results_between(*a, *b);
      if (!results.empty()) return results;
      return Error{
          ErrorCode::kUsage,
          "selector 'between:" + text + "': no path leads from '" + from + "' to '" + to + "'",
          results_between(*b, *a).empty() ? "name a tensor and one that is computed from it"
                                          : "one leads back: between:" + to + "," + from};
    }
    const std::string& missing = a ? to : from;
    if (!error)
      error = Error{ErrorCode::kUsage,
                    "selector 'between:" + text + "': there is no tensor '" + missing + "'",
                    close_values(graph, missing)};
  }
  return error ? *std::move(error) : no_pair;
}

// Of tensors that nodes make, and of inputs where asked for; bodies of If, Loop and Scan included.
void collect_names(const Graph& graph, bool with_inputs, std::set<std::string>& names) {
  if (with_inputs)
    for (const Value* v : graph.inputs()) names.insert(v->name());
  for (const Node& n : graph.nodes()) {
    for (const Value* v : n.outputs())
      if (v) names.insert(v->name());
    n.for_each_subgraph([&](const Graph& g) { collect_names(g, with_inputs, names); });
  }
}

Status check_tensor(const std::string& pattern, const Model& model, bool with_inputs) {
  std::set<std::string> names;
  collect_names(model.graph(), with_inputs, names);
  for (const std::string& name : names)
    if (glob_match(pattern, name)) return {};
  if (const Value* v = model.graph().find(pattern); v && !v->producer())
    return Error{ErrorCode::kUsage, "selector 'tensor:" + pattern + "' matches no node",
                 "no node makes it: name what its readers make, or the readers"};
  std::string hint;
  for (const std::string& c : close_candidates(pattern, {names.begin(), names.end()}))
    hint += (hint.empty() ? "did you mean 'tensor:" : "' or 'tensor:") + c;
  return Error{ErrorCode::kUsage, "selector 'tensor:" + pattern + "' matches no tensor",
               hint.empty() ? "names are those of tensors, with * and ?" : hint + "'?"};
}

}  // namespace

Result<Selection> Selection::parse(const std::vector<std::string>& texts) {
  Selection s;
  std::vector<std::string> nodes;
  for (const std::string& text : texts) {
    if (text.starts_with(kTensor) && text.size() > kTensor.size())
      s.tensors_.push_back(text.substr(kTensor.size()));
    else if (text.starts_with(kBetween) && text.size() > kBetween.size())
      s.paths_.push_back(
          {text.substr(kBetween.size()), std::make_shared<std::unordered_set<std::string>>()});
    else
      nodes.push_back(text);
  }
  auto selector = Selector::parse(nodes);
  if (!selector.ok()) {
    Error e = std::move(selector).error();
    if (e.code == ErrorCode::kUsage && e.hint.empty())
      e.hint = "tensor:GLOB and between:FROM,TO select by tensors";
    return e;
  }
  s.nodes_ = *std::move(selector);
  return s;
}

bool Selection::matches_name(const std::string& name) const {
  for (const std::string& pattern : tensors_)
    if (glob_match(pattern, name)) return true;
  for (const Path& p : paths_)
    if (p.results->contains(name)) return true;
  return false;
}

bool Selection::matches(const Node& node) const {
  if (nodes_.matches(node)) return true;
  if (tensors_.empty() && paths_.empty()) return false;
  for (const Value* v : node.outputs())
    if (v && matches_name(v->name())) return true;
  return false;
}

bool Selection::matches(const Value& value) const { return matches_name(value.name()); }

Status Selection::check(const Model& model, bool means_tensors) const {
  ONNXTOOL_TRY(nodes_.check(model));
  for (const std::string& pattern : tensors_)
    ONNXTOOL_TRY(check_tensor(pattern, model, means_tensors));
  for (const Path& p : paths_) {
    ONNXTOOL_ASSIGN(*p.results, find_between(p.text, model.graph()));
  }
  return {};
}

}  // namespace onnxtool
