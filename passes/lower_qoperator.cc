// QDQ to QOperator.
//
//   DequantizeLinear -> op -> (Relu, Clip) -> QuantizeLinear      =>      QLinearOp
//   DequantizeLinear -> op that moves elements -> QuantizeLinear  =>      op, on codes
//
// Groups and orders of inputs are those of the executor (calib/exec/integer_groups.h); which
// operators the target has, its table says.

#include "passes/lower_qoperator.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "calib/exec/integer_groups.h"
#include "libopt/analysis/qdq.h"
#include "libopt/ir/code_type.h"
#include "libopt/ir/copy.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/node_names.h"
#include "libopt/rewrite/rewriter.h"
#include "libopt/rewrite/visit.h"

namespace onnxtool {
namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";
constexpr int kFirstArgMaxOfCodes = 13;  // ai.onnx from which ArgMax takes s8 and u8 everywhere

// The DequantizeLinear with one scale that makes input 0.
const Node* dequantize_of(const Node& node) {
  const Node* p = node.has_input(0) ? node.input(0).producer() : nullptr;
  const bool fits = p && &p->graph() == &node.graph() && is_dequantize(*p) && has_one_scale(*p) &&
                    is_8bit(p->input(2).type().dtype);
  return fits ? p : nullptr;
}

// Whether the codes that the group gives have the type of those it takes, as kernels want it; a
// group that gives floats does.
bool gives_what_it_takes(const IntegerGroup& group, const Node& core) {
  const Node* dq = dequantize_of(core);
  return !dq || !is_quantize(*group.last) ||
         group.last->output(0).type().dtype == dq->input(0).type().dtype;
}

std::string without_suffix(const std::string& name, std::string_view suffix) {
  return name.size() > suffix.size() && name.ends_with(suffix)
             ? name.substr(0, name.size() - suffix.size())
             : name;
}

using MayRewrite = std::function<bool(const std::string&)>;

class Lowerer {
 public:
  Lowerer(Graph& graph, const Target& target, const MayRewrite& may_rewrite, FormReport& report)
      : graph_(graph), target_(target), may_rewrite_(may_rewrite), report_(report), names_(graph) {}

  void run() {
    for (Node& n : graph_.nodes()) n.for_each_subgraph([&](Graph& g) { inner(g); });
    state_zero_points();
    // Movers first: they replace values, which groups would hold on to.
    visit_nodes(graph_, [this](Node& n) { move_codes(n); });
    visit_nodes(graph_, [this](Node& n) { lower_softmax(n); });
    lower_groups();
    if (rewrote_) {
      remove_idle();
      name_results();
    }
    restore_zero_points();
  }

 private:
  void inner(Graph& g) { Lowerer(g, target_, may_rewrite_, report_).run(); }

  bool may_rewrite(const Node& n) const { return !may_rewrite_ || may_rewrite_(n.describe()); }
  void count(std::string_view op) {
    ++report_.rewritten[std::string(op)];
    rewrote_ = true;
  }

  const TargetOp* integer_form(const Node& n) const {
    const TargetOp* op = find_target_op(target_, n);
    const bool fits = op && op->fusion != Fusion::kNever && !(op->obstacle && op->obstacle(n)) &&
                      !(op->wrong && op->wrong(n));
    return fits ? op : nullptr;
  }

  // An absent zero point is 0 of u8, or of the codes' type; groups want it stated.
  void state_zero_points() {
    for (Node& n : graph_.nodes()) {
      if ((!is_quantize(n) && !is_dequantize(n)) || !n.has_input(1) || n.has_input(2)) continue;
      const Tensor* scale = n.input(1).constant();
      if (!scale) continue;
      const DataType type = is_dequantize(n)  ? n.input(0).type().dtype
                            : n.has_output(0) ? n.output(0).type().dtype
                                              : DataType::kUndefined;
      if (!is_8bit(type)) continue;
      Rewriter rw(graph_, &n);
      std::vector<std::byte> zeros(static_cast<size_t>(scale->count()));
      Value& zero = rw.add_constant(Tensor::from_bytes(type, scale->dims(), std::move(zeros)),
                                    n.input(1).name() + "_zero_point");
      stated_[&n] = {&zero, n.num_inputs()};
      if (n.num_inputs() < 3) rw.resize_inputs(n, 3);
      rw.set_input(n, 2, &zero);
    }
  }

  // Of those that are still Q or DQ: they are as the file has them.
  void restore_zero_points() {
    for (Node& n : graph_.nodes()) {
      const auto it = stated_.find(&n);
      if (it == stated_.end() || (!is_quantize(n) && !is_dequantize(n)) || !n.has_input(2) ||
          &n.input(2) != it->second.zero)
        continue;
      Rewriter rw(graph_, &n);
      rw.set_input(n, 2, nullptr);
      rw.resize_inputs(n, it->second.num_inputs);
      rw.sweep();
    }
  }

  // The QuantizeLinear nodes that read the value, if nothing else does and all have `codes`.
  static bool only_quantized(const Value& v, const Node& codes, std::vector<Node*>& qs) {
    if (v.is_graph_output() || v.uses().empty()) return false;
    for (const Use& u : v.uses()) {
      if (u.index != 0 || &u.user->graph() != &v.graph() || !is_quantize(*u.user) ||
          !same_scale(*u.user, codes))
        return false;
      qs.push_back(u.user);
    }
    return true;
  }

  void move_codes(Node& n) {
    const TargetOp* op = integer_form(n);
    if (!op || !n.has_output(0)) return;
    const Node* dq = dequantize_of(n);
    if (!dq) return;
    if (op->fusion == Fusion::kReadsIntegers) {
      if (n.opset() < kFirstArgMaxOfCodes || !may_rewrite(n)) return;
      Rewriter(graph_).set_input(n, 0, &dq->input(0));
      count(n.op_type());
      return;
    }
    if (op->fusion != Fusion::kPassThrough) return;
    std::vector<Node*> qs;
    for (const Value* v : n.outputs())
      if (v && !only_quantized(*v, *dq, qs)) return;
    if (!may_rewrite(n)) return;
    Rewriter rw(graph_);
    const DataType type = dq->input(0).type().dtype;
    rw.set_input(n, 0, &dq->input(0));
    for (Value* v : n.outputs()) {
      if (!v) continue;
      ValueType codes = v->type();
      codes.dtype = type;
      v->set_type(codes);
    }
    for (Node* q : qs) {
      rw.replace_uses(q->output(0), q->input(0));
      rw.remove(*q);
    }
    rename_node(n);
    count(n.op_type());
  }

  // QLinearSoftmax keeps the opset: what `axis` means changed with 13.
  void lower_softmax(Node& n) {
    const TargetOp* op = integer_form(n);
    const Node* dq = n.is("Softmax") && op ? dequantize_of(n) : nullptr;
    if (!dq || !n.has_output(0) || !n.output(0).has_one_use() || n.output(0).is_graph_output())
      return;
    Node& q = *n.output(0).uses()[0].user;
    if (!is_quantize(q) || &q.graph() != &graph_ || !has_one_scale(q) ||
        q.input(2).type().dtype != dq->input(2).type().dtype || !may_rewrite(n))
      return;
    become(q, n, op->integer_op, kMicrosoft,
           {&dq->input(0), &dq->input(1), &dq->input(2), &q.input(1), &q.input(2)});
    q.set_attribute(Attribute::of<int64_t>("opset", n.opset()));
  }

  void lower_groups() {
    IntegerQuestions questions;
    questions.is_watched = [](const Value&) { return false; };
    // The target's answer is asked for per node below.
    questions.has_kernel = [](std::string_view, std::string_view domain, int, DataType) {
      return domain.empty() || domain == kMicrosoft;
    };
    const IntegerGroups groups = find_integer_groups(graph_, questions);
    for (Node& n : graph_.nodes()) {
      const auto it = groups.by_core.find(&n);
      if (it == groups.by_core.end()) continue;
      const IntegerGroup& g = it->second;
      const TargetOp* op = integer_form(n);
      if (!op || (op->integer_op != g.op && op->float_output_op != g.op)) continue;
      if (!gives_what_it_takes(g, n) || !may_rewrite(n)) continue;
      // Nodes are never const in a graph that we own.
      become(const_cast<Node&>(*g.last), n, g.op, g.domain, g.inputs);
    }
  }

  // `last`, which is a QuantizeLinear or `core` itself, becomes the integer operator: its result
  // keeps its name, and so do graph outputs.
  void become(Node& last, const Node& core, std::string_view op, std::string_view domain,
              std::vector<const Value*> inputs) {
    Rewriter rw(graph_, &last);
    while (!inputs.empty() && !inputs.back()) inputs.pop_back();
    if (&last != &core) {
      std::vector<std::string> old;
      for (const Attribute& a : last.attributes()) old.push_back(a.name);
      for (const std::string& name : old) rw.remove_attribute(last, name);
      for (const Attribute& a : core.attributes()) take_attribute(rw, last, a, op);
      last.metadata = core.metadata;
      graph_.set_node_name(last, core.name());
    } else {
      rw.remove_attribute(last, "beta");  // is 1, and QGemm has none
    }
    rw.set_op(last, op, domain);
    const int num_inputs = static_cast<int>(inputs.size());
    for (int i = 0; i < std::max(num_inputs, last.num_inputs()); ++i)
      rw.set_input(last, i, i < num_inputs ? inputs[static_cast<size_t>(i)] : nullptr);
    rw.resize_inputs(last, num_inputs);
    rename_node(last);
    count(op);
  }

  // Attributes that the integer operator has, too.
  static void take_attribute(Rewriter& rw, Node& to, const Attribute& a, std::string_view op) {
    if (op == "QGemm" && a.name == "beta") return;
    if (op == "QLinearAveragePool" && a.name == "dilations") return;
    ValueMap none;
    rw.set_attribute(to, copy_attribute(a, to.graph(), none));
  }

  void rename_node(Node& n) {
    if (!n.name().empty()) graph_.set_node_name(n, names_.fresh(n.name() + "_quant"));
  }

  // Float operators and DequantizeLinear that nothing reads any more, last ones first.
  void remove_idle() {
    std::vector<Node*> nodes;
    for (Node& n : graph_.nodes()) nodes.push_back(&n);
    Rewriter rw(graph_);
    for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
      Node& n = **it;
      const bool ours =
          is_dequantize(n) || find_target_op(target_, n) || n.is("Relu") || n.is("Clip");
      const bool unused =
          std::ranges::all_of(n.outputs(), [](const Value* v) { return !v || v->unused(); });
      if (ours && unused && n.num_outputs() > 0) rw.remove(n);
    }
  }

  void name_results() {
    constexpr std::string_view kBefore = "_QuantizeLinear_Output";
    for (Value* v : graph_.values()) {
      const std::string base = without_suffix(v->name(), kBefore);
      if (base == v->name() || v->is_graph_output() || v->is_graph_input()) continue;
      const std::string name = base + "_quantized";
      if (!graph_.find(name) && graph_.fresh_name(name) == name) graph_.rename(*v, name);
    }
  }

  struct Stated {
    const Value* zero;
    int num_inputs;  // before
  };

  Graph& graph_;
  const Target& target_;
  const MayRewrite& may_rewrite_;
  FormReport& report_;
  NodeNames names_;
  bool rewrote_ = false;
  std::unordered_map<const Node*, Stated> stated_;
};

}  // namespace

FormReport lower_to_qoperator(Model& model, const Target& target,
                              const std::function<bool(const std::string&)>& may_rewrite) {
  FormReport report;
  Lowerer(model.graph(), target, may_rewrite, report).run();
  remove_unused_values(model.graph());
  return report;
}

}  // namespace onnxtool
