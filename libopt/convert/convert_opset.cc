#include "libopt/convert/convert_opset.h"

#include <algorithm>
#include <array>
#include <climits>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "libopt/analysis/seam.h"
#include "libopt/convert/adapter.h"
#include "libopt/convert/blockers.h"
#include "libopt/ir/walk.h"

namespace onnxtool {
namespace {

using convert::Adapter;

// Files before this IR version had no opset import: they meant version 1.
constexpr int64_t kFirstIrWithImports = 3;

// Removed with opset 10, never to return. What they computed was never the standard's to say.
constexpr std::array<std::string_view, 12> kExperimental = {"ATen",
                                                            "Affine",
                                                            "ConstantFill",
                                                            "Crop",
                                                            "DynamicSlice",
                                                            "GRUUnit",
                                                            "GivenTensorFill",
                                                            "Scale",
                                                            "ImageScaler",
                                                            "ParametricSoftplus",
                                                            "ScaledTanh",
                                                            "MeanVarianceNormalization"};

// A graph that imports ai.onnx for itself: the main graph, or a function's body.
struct Scope {
  Graph* graph;
  int from;
  std::string place;  // `function 'f': `, or empty
};

// What lies before an operator's nodes on their way to the target.
struct Path {
  std::string obstacle;  // of the operator as such; empty: none
  std::vector<const Adapter*> adapters;
};

std::string obstacle_of(const std::string& op, int from) {
  // The one exception came back as standard in version 9, without the attributes it had.
  const bool experimental = std::ranges::find(kExperimental, op) != kExperimental.end();
  if (experimental && (op != "MeanVarianceNormalization" || from < 9))
    return "it was experimental, and the standard dropped it with version 10";
  // Was experimental before version 10 with the meaning that it has today.
  if (op == "ThresholdedRelu") return {};
  if (!find_schema(op, "", from))
    return "ai.onnx " + std::to_string(from) + " has no such operator";
  return {};
}

class Converter {
 public:
  Converter(Model& model, int target) : model_(model), target_(target) {}

  Result<ConversionReport> run() {
    report_.ir_from = report_.ir_to = model_.ir_version;
    ONNXTOOL_ASSIGN(report_.from, imported());
    report_.to = std::max(report_.from, target_);
    if (target_ > kMaxConvertTarget)
      return Error{ErrorCode::kUnsupported, "cannot raise ai.onnx to " + std::to_string(target_),
                   "versions up to " + std::to_string(kMaxConvertTarget) + " are supported"};
    if (report_.from >= target_) return report_;
    collect_scopes();
    infer_missing_types();
    ONNXTOOL_TRY(find_blockers());
    apply();
    return report_;
  }

 private:
  Result<int> imported() const {
    if (const int version = model_.opset("")) return version;
    if (model_.ir_version < kFirstIrWithImports) return 1;
    const Node* user = nullptr;
    for_each_node_inside_first(model_.graph(), [&](Node& n) {
      if (n.domain().empty() && !user) user = &n;
    });
    if (user)
      return Error{ErrorCode::kBadModel,
                   user->describe() + " is of ai.onnx, which the model does not import",
                   {}};
    return 0;
  }

  void collect_scopes() {
    scopes_.push_back({&model_.graph(), report_.from, {}});
    for (const Function& f : model_.functions) {
      if (f.domain.empty() || f.domain == "ai.onnx") redefined_.push_back(f.name);
      for (const OpsetImport& o : f.opsets)
        if ((o.domain.empty() || o.domain == "ai.onnx") && o.version < target_)
          scopes_.push_back(
              {f.body.get(), static_cast<int>(o.version), "function '" + f.name + "': "});
    }
  }

  const Path& path(const Node& node, int from) {
    const auto [it, fresh] = paths_.try_emplace({from, node.op_type()});
    if (!fresh) return it->second;
    it->second.obstacle = obstacle_of(node.op_type(), from);
    for (const Adapter& a : convert::adapters())
      if (a.version > from && a.version <= target_ && (a.op == node.op_type() || a.op.empty()))
        it->second.adapters.push_back(&a);
    return it->second;
  }

  bool is_standard(const Node& node) const {
    return node.domain().empty() &&
           std::ranges::find(redefined_, node.op_type()) == redefined_.end();
  }

  // Only where a change might ask for types that nobody inferred yet.
  void infer_missing_types() {
    bool missing = false;
    for_each_node_inside_first(model_.graph(), [&](Node& n) {
      if (missing || !is_standard(n) || path(n, report_.from).adapters.empty()) return;
      for (const Value* v : n.inputs()) missing |= v && v->type().kind == ValueType::Kind::kUnknown;
    });
    if (!missing) return;
    // What cannot be inferred stays unknown: blockers then say so. Most operators before version 6
    // have no inference, and would infer what they do there.
    constexpr int kFirstWithInference = 6;
    const std::vector<OpsetImport> imports = model_.opsets;
    model_.set_opset("", std::max(report_.from, kFirstWithInference));
    // The graph's inference stops at the first contradiction; node by node the rest is found.
    if (!infer_graph(model_.graph()).ok())
      for (Node& n : model_.graph().nodes()) [[maybe_unused]] const Status ignored = infer_node(n);
    model_.opsets = imports;
  }

  static std::optional<std::string> blocker(const Adapter& adapter, const Node& node) {
    for (const std::string_view name : adapter.reads) {
      const Attribute* a = name.empty() ? nullptr : node.attribute(name);
      if (a && !a->ref.empty())
        return "its attribute " + std::string(name) + " stands for one of the function's";
    }
    if (const char* reason = adapter.blocker ? adapter.blocker(node) : nullptr) return reason;
    return std::nullopt;
  }

  Status find_blockers() {
    convert::Blockers found;
    for (const Scope& scope : scopes_)
      for_each_node_inside_first(*scope.graph, [&](Node& n) {
        if (!is_standard(n)) return;
        const Path& p = path(n, scope.from);
        const std::string where =
            p.obstacle.empty() && p.adapters.empty() ? std::string() : scope.place + n.describe();
        if (!p.obstacle.empty()) return found.add(p.obstacle, where);
        for (const Adapter* a : p.adapters)
          if (const auto reason = blocker(*a, n)) return found.add(*reason, where);
      });
    if (found.empty()) return {};
    return Error{ErrorCode::kUnsupported,
                 "cannot raise ai.onnx from " + std::to_string(report_.from) + " to " +
                     std::to_string(target_) + ": " + found.text(),
                 "replace these nodes, or have the model exported for a newer ai.onnx"};
  }

  void apply() {
    report_.ir_to = model_.ir_version = std::max(model_.ir_version, least_ir_version(target_));
    // By version, and not node by node: what a change adds goes through the later ones too.
    std::map<int, std::unordered_map<std::string_view, const Adapter*>> by_version;
    for (const Adapter& a : convert::adapters())
      if (a.version <= target_) by_version[a.version].emplace(a.op, &a);
    for (const auto& [version, by_op] : by_version) {
      if (version > report_.from) model_.set_opset("", version);
      for (const Scope& scope : scopes_)
        if (scope.from < version)
          for_each_node_inside_first(*scope.graph, [&, version = version](Node& n) {
            if (!is_standard(n)) return;
            for (const std::string_view key : {std::string_view(), std::string_view(n.op_type())})
              if (const auto it = by_op.find(key); it != by_op.end()) apply(*it->second, n);
          });
    }
    model_.set_opset("", target_);
    for (Function& f : model_.functions)
      for (OpsetImport& o : f.opsets)
        if (o.domain.empty() || o.domain == "ai.onnx")
          o.version = std::max<int64_t>(o.version, target_);
    report_.changes = changes_.lines();
  }

  void apply(const Adapter& adapter, Node& node) {
    Rewriter rewriter(node.graph(), &node);
    std::string change = node.op_type() + ": " + std::string(adapter.change);
    adapter.apply(node, rewriter, target_);
    if (!rewriter.edits()) return;
    rewriter.sweep();
    changes_.add(std::move(change));
  }

  Model& model_;
  const int target_;
  ConversionReport report_;
  std::vector<Scope> scopes_;
  std::vector<std::string> redefined_;  // operators of ai.onnx that the model's functions stand for
  std::map<std::pair<int, std::string>, Path> paths_;
  convert::Changes changes_;
};

}  // namespace

Result<ConversionReport> convert_opset(Model& model, int target) {
  return Converter(model, target).run();
}

int64_t least_ir_version(int opset) {
  // Releases of onnx: the last opset of each IR version. Source: onnx 1.23.2, onnx/helper.py,
  // VERSION_TABLE.
  constexpr std::pair<int, int64_t> kLastOpset[] = {{8, 3},   {9, 4},   {10, 5},      {11, 6},
                                                    {14, 7},  {18, 8},  {20, 9},      {22, 10},
                                                    {23, 11}, {24, 12}, {INT_MAX, 13}};
  for (const auto& [last, ir] : kLastOpset)
    if (opset <= last) return ir;
  return 0;
}

int promote_initializers(Model& model) {
  constexpr int64_t kFirstIrWithFreeInitializers = 4;
  if (model.ir_version >= kFirstIrWithFreeInitializers) return 0;
  int count = 0;
  for (Value* v : model.graph().initializers()) {
    if (!v->is_graph_input()) continue;
    model.graph().remove_input(*v);
    ++count;
  }
  model.ir_version = kFirstIrWithFreeInitializers;
  return count;
}

}  // namespace onnxtool
