#include "libopt/convert/lower_opset.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "libopt/analysis/older_form.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/blockers.h"
#include "libopt/convert/lowering.h"
#include "libopt/ir/constant.h"
#include "libopt/ir/walk.h"
#include "libopt/rewrite/inline_calls.h"

namespace onnxtool {
namespace {

using convert::Lowering;

bool is_standard_domain(const std::string& domain) { return domain.empty() || domain == "ai.onnx"; }

// The least IR version that a constant of the type may stand in. Source: onnx 1.23.2, onnx.proto.
int64_t ir_version_of(DataType type) {
  switch (type) {
    case DataType::kFloat8E4M3FN:
    case DataType::kFloat8E4M3FNUZ:
    case DataType::kFloat8E5M2:
    case DataType::kFloat8E5M2FNUZ: return 9;
    case DataType::kUint4:
    case DataType::kInt4: return 10;
    case DataType::kFloat4E2M1: return 11;
    case DataType::kFloat8E8M0: return 12;
    case DataType::kUint2:
    case DataType::kInt2: return 13;
    default: return 3;
  }
}

int64_t least_ir_version_of(const Model& model) {
  constexpr int64_t kFreeInitializers = 4, kSparse = 5, kFunctions = 8, kOverloads = 10;
  int64_t least = least_ir_version(model.opset(""));
  for (const Value* v : model.graph().initializers()) {
    least = std::max(least, ir_version_of(v->initializer()->dtype()));
    if (!v->is_graph_input()) least = std::max(least, kFreeInitializers);
  }
  if (!model.graph().opaque_fields.empty()) least = std::max(least, kSparse);
  for (const Function& f : model.functions)
    least = std::max(least, f.overload.empty() ? kFunctions : kOverloads);
  return least;
}

class Lowerer {
 public:
  Lowerer(Model& model, int target, const std::function<void(Model&)>& fold)
      : model_(model), target_(target), fold_(fold) {}

  Result<ConversionReport> run() {
    report_.from = model_.opset("");
    report_.to = target_;
    report_.ir_from = model_.ir_version;
    ONNXTOOL_TRY(collect_scopes());
    make_tensors();
    // What cannot be inferred stays unknown: lowerings that need it say so.
    [[maybe_unused]] const Status typed = infer_graph(model_.graph());
    for (int version = report_.from; version > target_; --version) {
      write_out_functions(version);
      model_.set_opset("", version - 1);
      for (Graph* scope : scopes_)
        for_each_node_inside_first(*scope, [&](Node& n) { lower(n, version); });
    }
    if (!blockers_.empty())
      return Error{
          ErrorCode::kUnsupported,
          "cannot lower ai.onnx from " + std::to_string(report_.from) + " to " +
              std::to_string(target_) + ": " + blockers_.text(),
          "replace these nodes, or settle what they depend on with --dim, --input-shape or "
          "--freeze"};
    for (Function& f : model_.functions)
      for (OpsetImport& o : f.opsets)
        if (is_standard_domain(o.domain)) o.version = std::min<int64_t>(o.version, target_);
    report_.ir_to = model_.ir_version = std::min(model_.ir_version, least_ir_version_of(model_));
    report_.changes = changes_.lines();
    return report_;
  }

 private:
  // Constants in other forms than a tensor did not exist before version 12, and are none to
  // lowerings that ask for one.
  void make_tensors() {
    for (Graph* scope : scopes_) store_constants_as_tensors(*scope);
  }

  Status collect_scopes() {
    scopes_.push_back(&model_.graph());
    for (const Function& f : model_.functions) {
      if (is_standard_domain(f.domain)) redefined_.insert(f.name);
      for (const OpsetImport& o : f.opsets) {
        if (!is_standard_domain(o.domain) || o.version <= target_) continue;
        if (o.version != report_.from)
          return Error{ErrorCode::kUnsupported,
                       "function '" + f.name + "' imports ai.onnx " + std::to_string(o.version) +
                           ", and the model " + std::to_string(report_.from),
                       "export function and model with the same opset"};
        scopes_.push_back(f.body.get());
      }
    }
    return {};
  }

  bool is_candidate(const Node& n) const {
    return n.domain().empty() && !redefined_.contains(n.op_type()) &&
           !blocked_.contains({&n.graph(), n.id()});
  }

  // 0: the version has no such operator. What is deprecated and has a body is still an operator:
  // its body is what can be written out (GroupNormalization-18).
  int since(const std::string& op, int version) {
    const auto [it, fresh] = since_.try_emplace({op, version}, 0);
    if (fresh)
      if (const auto schema = find_schema(op, "", version))
        it->second = schema->deprecated && !schema->is_function ? 0 : schema->since_version;
    return it->second;
  }

  // As the file has it: of a node that another was written out by, that one.
  std::string described(const Node& n) const {
    const std::string& name = n.name();
    for (size_t end = name.rfind('/'); end != std::string::npos && end > 0;
         end = name.rfind('/', end - 1))
      if (const auto it = written_out_.find(name.substr(0, end)); it != written_out_.end())
        return it->second + ", which is written out with " + n.op_type();
    return n.describe();
  }

  void block(const Node& n, const std::string& reason) {
    blockers_.add(reason, described(n));
    blocked_.insert({&n.graph(), n.id()});
  }

  // Operators that the version before does not have, and those whose earlier form cannot say it.
  bool is_written_out(const Node& n, int version) {
    if (!is_candidate(n) || since(n.op_type(), version) != version) return false;
    if (!is_new(n, version) && !n.is("GroupNormalization")) return false;
    return find_schema(n.op_type(), "", version)->is_function;
  }

  void write_out_functions(int version) {
    bool any = false;
    for (Graph* scope : scopes_) {
      std::vector<const Node*> chosen;
      for_each_node_inside_first(*scope, [&](Node& n) {
        if (is_written_out(n, version)) chosen.push_back(&n);
      });
      if (chosen.empty()) continue;
      any = true;
      for (const Node* n : chosen) {
        changes_.add(n->op_type() + ": written out by other operators");
        if (!n->name().empty()) written_out_.emplace(n->name(), described(*n));
      }
      const std::set<const Node*> wanted(chosen.begin(), chosen.end());
      const Status s = inline_calls(*scope, [&](const Node& n) { return wanted.contains(&n); });
      if (!s.ok()) blockers_.add("it cannot be written out", s.error().message);
    }
    if (!any) return;
    make_tensors();
    // Folding may take apart what scopes and blockers point into, unless there is only the graph.
    if (!fold_ || scopes_.size() > 1 || !blockers_.empty()) return;
    [[maybe_unused]] const Status typed = infer_graph(model_.graph());
    fold_(model_);
  }

  void lower(Node& n, int version) {
    if (!is_candidate(n)) return;
    const int newest = since(n.op_type(), version);
    if (newest == 0)
      return block(n, "ai.onnx " + std::to_string(version) + " has no such operator");
    if (newest != version) return;
    Rewriter rewriter(n.graph(), &n);
    if (const Lowering* lowering = find(n.op_type(), version)) {
      for (const Attribute& attribute : n.attributes())
        if (!attribute.ref.empty())
          return block(n, "its attribute " + attribute.name + " stands for one of the function's");
      const std::string change = n.op_type() + ": " + std::string(lowering->change);
      if (const std::string reason = lowering->apply(n, rewriter); !reason.empty())
        return block(n, reason);
      if (rewriter.edits()) changes_.add(change);
    }
    const OlderForm form = older_form(n, version, version - 1);
    if (!form.obstacle.empty()) return block(n, form.obstacle);
    for (const std::string& name : form.redundant) rewriter.remove_attribute(n, name);
    rewriter.sweep();
  }

  static const Lowering* find(const std::string& op, int version) {
    for (const Lowering& l : convert::lowerings())
      if (l.version == version && l.op == op) return &l;
    return nullptr;
  }

  Model& model_;
  const int target_;
  const std::function<void(Model&)>& fold_;  // may be empty
  ConversionReport report_;
  std::vector<Graph*> scopes_;
  std::set<std::string> redefined_;  // operators of ai.onnx that the model's functions stand for
  std::map<std::pair<std::string, int>, int> since_;
  std::set<std::pair<const Graph*, int>> blocked_;
  std::map<std::string, std::string> written_out_;  // names of nodes that were, as described()
  convert::Blockers blockers_;
  convert::Changes changes_;
};

}  // namespace

Result<ConversionReport> lower_opset(std::unique_ptr<Model>& model, int target,
                                     const std::function<void(Model&)>& fold) {
  const int from = model->opset("");
  if (from <= target) return ConversionReport{from, from, model->ir_version, model->ir_version, {}};
  if (target < kMinConvertTarget)
    return Error{ErrorCode::kUnsupported, "cannot lower ai.onnx to " + std::to_string(target),
                 "versions from " + std::to_string(kMinConvertTarget) + " on are supported"};
  std::unique_ptr<Model> copy = model->clone();
  ONNXTOOL_ASSIGN(ConversionReport report, Lowerer(*copy, target, fold).run());
  model = std::move(copy);
  return report;
}

}  // namespace onnxtool
