#include "apps/subgraph.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "apps/flags.h"
#include "libopt/ir/extract.h"

namespace onnxtool {
namespace {

using Values = std::vector<const Value*>;

// Values that subgraphs or functions make are not in the main graph, and cannot be cut at.
Status add_named(const Graph& graph, const std::string& flag, const std::string& name,
                 Values& out) {
  const Value* value = graph.find(name);
  if (!value) {
    std::vector<std::string> known;
    for (const Value* v : graph.values()) known.push_back(v->name());
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: the model's graph has no value '{}'", flag, name),
                 did_you_mean(name, known)};
  }
  if (std::ranges::find(out, value) != out.end())
    return Error{ErrorCode::kUsage, fmt::format("{}: '{}' is named twice", flag, name), {}};
  out.push_back(value);
  return {};
}

// A name may have commas in it, so that a whole item which is a name is that.
Result<Values> named_values(const Graph& graph, const std::string& flag,
                            const std::vector<std::string>& lists) {
  Values out;
  for (const std::string& list : lists) {
    if (graph.find(list)) {
      ONNXTOOL_TRY(add_named(graph, flag, list, out));
      continue;
    }
    for (size_t start = 0; start <= list.size();) {
      const size_t end = std::min(list.find(',', start), list.size());
      ONNXTOOL_TRY(add_named(graph, flag, list.substr(start, end - start), out));
      start = end + 1;
    }
  }
  return out;
}

std::string quoted(const Values& values) {
  std::string out;
  for (const Value* v : values) out += (out.empty() ? "'" : ", '") + v->name() + "'";
  return out;
}

// Outputs that no node makes are beyond some runtimes; the model's own may be such.
Status check_outputs(const Values& inputs, const Values& outputs, bool named) {
  for (const Value* v : outputs) {
    const bool given = std::ranges::find(inputs, v) != inputs.end();
    if (given || (named && !v->producer()))
      return Error{ErrorCode::kUsage,
                   fmt::format("{}: '{}' is {}, so no node would make the output",
                               named ? "--outputs" : "--inputs", v->name(),
                               !given ? (v->is_graph_input() ? "an input" : "a constant")
                                      : (named ? "an input" : "an output")),
                   {}};
  }
  return {};
}

// Some runtimes load no model with an input of unknown type.
Status check_types(const Values& inputs) {
  for (const Value* v : inputs)
    if (v->type().kind == ValueType::Kind::kUnknown ||
        (v->type().is_tensor() && v->type().dtype == DataType::kUndefined))
      return Error{ErrorCode::kUnsupported,
                   fmt::format("--inputs: the type of '{}' cannot be inferred", v->name()),
                   "cut behind the operator that nothing is known of"};
  return {};
}

}  // namespace

void add_subgraph_flags(CLI::App& command, SubgraphFlags& flags, const std::string& group) {
  add_list(
      command, flags.inputs,
      {"--inputs", "NAME[,NAME]",
       "Keep only what computes the outputs from these values, which become the inputs", group});
  add_list(command, flags.outputs,
           {"--outputs", "NAME[,NAME]",
            "Keep only what computes these values, which become the outputs", group});
}

Result<std::unique_ptr<Model>> subgraph_of(const Model& model, const SubgraphFlags& flags,
                                           std::vector<std::string>& notes) {
  const Graph& graph = model.graph();
  ONNXTOOL_ASSIGN(Values inputs, named_values(graph, "--inputs", flags.inputs));
  ONNXTOOL_ASSIGN(Values outputs, named_values(graph, "--outputs", flags.outputs));
  if (flags.outputs.empty()) outputs.assign(graph.outputs().begin(), graph.outputs().end());
  ONNXTOOL_TRY(check_outputs(inputs, outputs, !flags.outputs.empty()));
  const Values needed = needed_inputs(model, inputs, outputs);
  if (flags.inputs.empty()) inputs = needed;
  Values missing, unread;
  for (const Value* v : needed)
    if (std::ranges::find(inputs, v) == inputs.end()) missing.push_back(v);
  for (const Value* v : inputs)
    if (std::ranges::find(needed, v) == needed.end()) unread.push_back(v);
  if (!missing.empty())
    return Error{ErrorCode::kUsage,
                 fmt::format("--inputs: the outputs need {} too", quoted(missing)),
                 "name them, or values behind them"};
  ONNXTOOL_TRY(check_types(inputs));
  if (!unread.empty()) notes.push_back(fmt::format("no output depends on {}", quoted(unread)));
  return extract(model, inputs, outputs);
}

}  // namespace onnxtool
