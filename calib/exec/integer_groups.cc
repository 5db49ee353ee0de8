#include "calib/exec/integer_groups.h"

#include <algorithm>
#include <cmath>
#include <ranges>

#include "calib/exec/readers.h"
#include "libopt/analysis/qdq.h"
#include "libopt/analysis/qdq_movers.h"
#include "libopt/ir/code_type.h"
#include "libopt/target/obstacles.h"
#include "libopt/target/pool_limits.h"

namespace onnxtool {
namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";

enum class Form : uint8_t {
  kConv,      // x, w, bias?
  kMatMul,    // a, b; without QuantizeLinear behind it the result is float
  kGemm,      // a, b, c?; likewise
  kBinary,    // a, b of one type
  kUnary,     // x
  kConcat,    // any number
  kWhere,     // condition, x, y, both of one type
  kMovement,  // x; other inputs stay; the codes are not touched
};

struct Entry {
  std::string_view op;
  Form form;
  std::string_view integer_op = {}, integer_domain = kMicrosoft;
};

constexpr Entry kEntries[] = {
    {"Conv", Form::kConv, "QLinearConv", ""},
    {"MatMul", Form::kMatMul, "QLinearMatMul", ""},
    {"Gemm", Form::kGemm, "QGemm"},
    {"Add", Form::kBinary, "QLinearAdd"},
    {"Mul", Form::kBinary, "QLinearMul"},
    {"Concat", Form::kConcat, "QLinearConcat"},
    {"Where", Form::kWhere, "QLinearWhere"},
    {"AveragePool", Form::kUnary, "QLinearAveragePool"},
    {"GlobalAveragePool", Form::kUnary, "QLinearGlobalAveragePool"},
    {"Sigmoid", Form::kUnary, "QLinearSigmoid"},
    {"LeakyRelu", Form::kUnary, "QLinearLeakyRelu"},
    {"MaxPool", Form::kMovement},
    {"Reshape", Form::kMovement},
    {"Flatten", Form::kMovement},
    {"Transpose", Form::kMovement},
    {"Squeeze", Form::kMovement},
    {"Unsqueeze", Form::kMovement},
    {"DepthToSpace", Form::kMovement},
    {"SpaceToDepth", Form::kMovement},
    {"Slice", Form::kMovement},
    {"Gather", Form::kMovement},
    {"Expand", Form::kMovement},
    {"Tile", Form::kMovement},
};

const Entry* entry_of(const Node& node) {
  if (!node.domain().empty()) return nullptr;
  const auto it = std::find_if(std::begin(kEntries), std::end(kEntries),
                               [&](const Entry& e) { return e.op == node.op_type(); });
  return it == std::end(kEntries) ? nullptr : it;
}

// A DequantizeLinear of 8-bit codes in the node's graph.
bool gives_floats_of_codes(const Node& dq, const Graph& graph) {
  return &dq.graph() == &graph && is_dequantize(dq) && dq.num_inputs() == 3 && dq.has_input(1) &&
         dq.has_input(2) && is_8bit(dq.input(2).type().dtype) && dq.has_output(0) &&
         dq.output(0).type().dtype == DataType::kFloat;
}

// One scale, or one for each index of the weight's axis of output channels.
bool has_channel_scales(const Node& dq, int64_t axis) {
  if (has_one_scale(dq)) return true;
  const Tensor *weight = dq.input(0).constant(), *scale = dq.input(1).constant(),
               *zero = dq.input(2).constant();
  if (!weight || !scale || !zero || scale->rank() != 1 || zero->rank() != 1 ||
      axis >= weight->rank())
    return false;
  int64_t declared = dq.attr<int64_t>("axis", 1);
  if (declared < 0) declared += weight->rank();
  return declared == axis && scale->count() == weight->dims()[static_cast<size_t>(axis)] &&
         zero->count() == scale->count() && dq.attr<int64_t>("block_size", 0) == 0;
}

// The bias counts in steps of x_scale * w_scale, as the integer sums do.
bool bias_fits(const Node& bias, const Node& x, const Node& w) {
  const Tensor *codes = bias.input(0).constant(), *scale = bias.input(1).constant();
  if (!codes || !scale || codes->dtype() != DataType::kInt32 || codes->rank() != 1) return false;
  if (bias.has_input(2)) {
    const Tensor* zero = bias.input(2).constant();
    if (!zero) return false;
    for (int64_t z : zero->to_ints())
      if (z != 0) return false;
  }
  const std::vector<double> b = scale->to_doubles(), ws = w.input(1).constant()->to_doubles();
  const double xs = x.input(1).constant()->to_doubles()[0];
  if (b.size() != 1 && b.size() != static_cast<size_t>(codes->count())) return false;
  if (ws.size() != 1 && ws.size() != static_cast<size_t>(codes->count())) return false;
  constexpr double kTolerance = 1e-5;  // a writer may have rounded the product in another order
  for (size_t i = 0; i < std::max(b.size(), ws.size()); ++i) {
    const double expected = xs * ws[ws.size() == 1 ? 0 : i], found = b[b.size() == 1 ? 0 : i];
    if (!(std::abs(found - expected) <= kTolerance * std::abs(expected))) return false;
  }
  return true;
}

class Finder {
 public:
  Finder(const Graph& graph, const IntegerQuestions& questions)
      : graph_(graph), questions_(questions) {}

  IntegerGroups find() {
    find_carriers();
    // A carrier of which something reads the floats is none, and then its readers may be no cores.
    for (int round = 0;; ++round) {
      constexpr int kMostRounds = 4;
      if (round == kMostRounds) carriers_.clear();
      out_ = {};
      for (const Node& n : graph_.nodes())
        if (const Entry* e = entry_of(n); e && has_one_result(n)) consider(n, *e);
      if (!drop_carriers()) break;
    }
    drop_dequantizers();
    return std::move(out_);
  }

 private:
  // Operators between a DequantizeLinear and its readers that do to the codes what they do to the
  // floats, where no QuantizeLinear follows: as ONNX Runtime, which moves the DequantizeLinear
  // behind them.
  void find_carriers() {
    for (const Node& n : graph_.nodes()) {
      if (!is_passed_by_qdq(n) || !has_one_result(n) || n.output(0).uses().empty() ||
          n.output(0).is_graph_output() || questions_.is_watched(n.output(0)))
        continue;
      const Node* activation = nullptr;
      const Node* dq = dequantize_of(n, 0);
      if (!dq || !has_one_scale(*dq) || dq->input(0).constant() || quantize_behind(n, activation) ||
          !questions_.has_kernel(n.op_type(), "", n.opset(), type_of(*dq)))
        continue;
      carriers_.insert(&n);
    }
  }

  // Those with a reader that takes floats, the last ones first. Whether there were any.
  bool drop_carriers() {
    const size_t had = carriers_.size();
    if (!had) return false;
    std::vector<const Node*> in_order;
    for (const Node& n : graph_.nodes())
      if (carriers_.contains(&n)) in_order.push_back(&n);
    for (const Node* n : in_order | std::views::reverse)
      if (!std::ranges::all_of(n->output(0).uses(), [&](const Use& u) {
            const auto it = out_.by_core.find(u.user);
            if (it == out_.by_core.end() || !std::ranges::count(it->second.inputs, &n->output(0)))
              return false;
            return !out_.codes.contains(&u.user->output(0)) || carriers_.contains(u.user);
          }))
        carriers_.erase(n);
    return carriers_.size() != had;
  }

  // What makes input i of codes; nullptr: nothing does.
  const Node* dequantize_of(const Node& node, int i) const {
    if (!node.has_input(i)) return nullptr;
    const Node* p = node.input(i).producer();
    while (p && carriers_.contains(p)) p = p->input(0).producer();
    return p && gives_floats_of_codes(*p, node.graph()) ? p : nullptr;
  }
  // The codes of input i, which `dq` makes floats of: behind a carrier, what the carrier gives.
  const Value& codes_of(const Node& node, int i, const Node& dq) const {
    const Value& v = node.input(i);
    return v.producer() == &dq ? dq.input(0) : v;
  }

  void consider(const Node& core, const Entry& entry) {
    if (carriers_.contains(&core)) return carry(core);
    IntegerGroup group{.op = entry.integer_op,
                       .domain = entry.integer_domain,
                       .core = &core,
                       .last = &core,
                       .inputs = {}};
    if (entry.form == Form::kMovement) group.op = core.op_type(), group.domain = "";
    const Node* activation = nullptr;
    const Node* q = quantize_behind(core, activation);
    if (!q && entry.form != Form::kMatMul && entry.form != Form::kGemm) return;
    if (q) group.last = q;
    // An activation without a QuantizeLinear behind it runs on the float result as ever.
    if (!fill(group, entry.form, q)) return;
    const int opset = group.domain.empty() ? core.opset() : 1;
    const auto codes = out_.codes.find(group.inputs[0]);
    const DataType type = codes == out_.codes.end() ? group.inputs[0]->type().dtype : codes->second;
    if (!questions_.has_kernel(group.op, group.domain, opset, type)) return;
    if (q) out_.replaced.insert(q);
    if (activation) out_.replaced.insert(activation);
    out_.by_core.emplace(&core, std::move(group));
  }

  void carry(const Node& carrier) {
    const Node* from = dequantize_of(carrier, 0);
    if (!from) return;  // the carrier before it is none any more, and so it goes next
    const Node& dq = *from;
    IntegerGroup group{.op = carrier.op_type(),
                       .domain = "",
                       .core = &carrier,
                       .last = &carrier,
                       .inputs = {carrier.inputs().begin(), carrier.inputs().end()}};
    group.inputs[0] = &codes_of(carrier, 0, dq);
    out_.codes[&carrier.output(0)] = type_of(dq);
    out_.by_core.emplace(&carrier, std::move(group));
  }

  bool is_read_once(const Value& v) const { return only_reader(v) && !questions_.is_watched(v); }

  // The QuantizeLinear that alone reads the result, behind an activation that it covers.
  const Node* quantize_behind(const Node& core, const Node*& activation) const {
    if (!is_read_once(core.output(0))) return nullptr;
    const Use first = core.output(0).uses()[0];
    const Node* q = first.user;
    if ((q->is("Relu") || q->is("Clip")) && first.index == 0 && has_one_result(*q) &&
        is_read_once(q->output(0))) {
      activation = q;
      q = q->output(0).uses()[0].user;
    }
    const bool fits = is_quantize(*q) && has_one_result(*q) && has_one_scale(*q) &&
                      is_8bit(q->input(2).type().dtype) &&
                      &q->input(0) == (activation ? &activation->output(0) : &core.output(0)) &&
                      (!activation || saturation_covers(*activation, *q));
    if (!fits) activation = nullptr;
    return fits ? q : nullptr;
  }

  void add_codes(IntegerGroup& group, int i, const Node& dq) const {
    group.inputs.insert(group.inputs.end(),
                        {&codes_of(*group.core, i, dq), &dq.input(1), &dq.input(2)});
  }
  static void add_scale(IntegerGroup& group, const Node& q) {
    group.inputs.insert(group.inputs.end(), {&q.input(1), &q.input(2)});
  }
  static DataType type_of(const Node& qdq) { return qdq.input(2).type().dtype; }

  bool fill(IntegerGroup& group, Form form, const Node* q) {
    const Node& core = *group.core;
    if (form == Form::kConcat) return fill_concat(group, *q);
    if (form == Form::kWhere) return fill_where(group, *q);
    const Node* x = dequantize_of(core, 0);
    if (!x || !has_one_scale(*x)) return false;
    switch (form) {
      case Form::kConv: return fill_conv(group, *x, *q);
      case Form::kMatMul: return fill_matmul(group, *x, q);
      case Form::kGemm: return fill_gemm(group, *x, q);
      case Form::kBinary: {
        const Node* b = dequantize_of(core, 1);
        if (!b || !has_one_scale(*b) || type_of(*b) != type_of(*x) || type_of(*q) != type_of(*x))
          return false;
        add_codes(group, 0, *x);
        add_codes(group, 1, *b);
        add_scale(group, *q);
        return true;
      }
      case Form::kUnary: {
        if (type_of(*q) != type_of(*x) || dilated_pool(core) || beyond_kernel(core, *x, *q))
          return false;
        add_codes(group, 0, *x);
        add_scale(group, *q);
        return true;
      }
      case Form::kMovement: {
        if (!same_scale(*x, *q)) return false;
        group.inputs.push_back(&codes_of(core, 0, *x));
        for (int i = 1; i < core.num_inputs(); ++i)
          group.inputs.push_back(core.inputs()[static_cast<size_t>(i)]);
        return true;
      }
      case Form::kConcat:
      case Form::kWhere: break;
    }
    return false;
  }

  bool fill_conv(IntegerGroup& group, const Node& x, const Node& q) {
    const Node& core = *group.core;
    const Node* w = dequantize_of(core, 1);
    if (!w || !w->input(0).constant() || !has_channel_scales(*w, 0)) return false;
    add_codes(group, 0, x);
    add_codes(group, 1, *w);
    add_scale(group, q);
    return !core.has_input(2) || add_bias(group, x, *w);
  }

  bool fill_matmul(IntegerGroup& group, const Node& a, const Node* q) {
    const Node& core = *group.core;
    const Node* b = dequantize_of(core, 1);
    const int64_t rank = core.input(1).type().rank().value_or(0);
    if (!b || (!has_one_scale(*b) && (rank != 2 || !has_channel_scales(*b, 1)))) return false;
    if (q) {
      add_codes(group, 0, a);
      add_codes(group, 1, *b);
      add_scale(group, *q);
      return true;
    }
    group.op = "MatMulIntegerToFloat";
    group.domain = kMicrosoft;
    group.inputs = {&codes_of(core, 0, a), &codes_of(core, 1, *b),
                    &a.input(1),           &b->input(1),
                    &a.input(2),           &b->input(2)};
    return true;
  }

  bool fill_gemm(IntegerGroup& group, const Node& a, const Node* q) {
    const Node& core = *group.core;
    const Node* b = dequantize_of(core, 1);
    if (core.attr<float>("alpha", 1) != 1 || core.attr<float>("beta", 1) != 1) return false;
    if (!b || !b->input(0).constant() ||
        !has_channel_scales(*b, core.attr<int64_t>("transB", 0) ? 0 : 1))
      return false;
    add_codes(group, 0, a);
    add_codes(group, 1, *b);
    if (core.has_input(2)) {
      if (!add_bias(group, a, *b)) return false;
    } else if (q) {
      group.inputs.push_back(nullptr);
    }
    if (q) add_scale(group, *q);
    return true;
  }

  static bool add_bias(IntegerGroup& group, const Node& x, const Node& w) {
    const Node* bias = group.core->input(2).producer();
    if (!bias || &bias->graph() != &group.core->graph() || !is_dequantize(*bias) ||
        bias->num_inputs() < 2 || !bias_fits(*bias, x, w))
      return false;
    group.inputs.push_back(&bias->input(0));
    return true;
  }

  bool fill_concat(IntegerGroup& group, const Node& q) {
    add_scale(group, q);
    for (int i = 0; i < group.core->num_inputs(); ++i) {
      const Node* x = dequantize_of(*group.core, i);
      if (!x || !has_one_scale(*x) || type_of(*x) != type_of(q)) return false;
      add_codes(group, i, *x);
    }
    return true;
  }

  bool fill_where(IntegerGroup& group, const Node& q) {
    if (!group.core->has_input(0)) return false;
    group.inputs.push_back(&group.core->input(0));
    for (const int i : {1, 2}) {
      const Node* x = dequantize_of(*group.core, i);
      if (!x || !has_one_scale(*x) || type_of(*x) != type_of(q)) return false;
      add_codes(group, i, *x);
    }
    add_scale(group, q);
    return true;
  }

  // Scales that the kernel refuses, as onnxruntime's does; where extents are open, some of them.
  static bool beyond_kernel(const Node& core, const Node& x, const Node& q) {
    if (!core.is("GlobalAveragePool")) return false;
    int64_t most = 1;
    const auto dims = core.input(0).type().static_dims();
    for (size_t i = 2; dims && i < dims->size(); ++i)
      most = std::min(most * std::clamp<int64_t>((*dims)[i], 1, kPoolPixelsEnd), kPoolPixelsEnd);
    if (!dims) most = kPoolPixelsEnd - 1;
    const auto from = static_cast<float>(x.input(1).constant()->to_doubles()[0]),
               to = static_cast<float>(q.input(1).constant()->to_doubles()[0]);
    return !global_pool_takes(from, to, most) || !global_pool_takes(from, to, dims ? most : 1);
  }

  bool reads_codes(const Use& use, const Node& dq) const {
    const auto it = out_.by_core.find(use.user);
    return it != out_.by_core.end() && std::ranges::count(it->second.inputs, &dq.input(0)) > 0;
  }

  // A DequantizeLinear whose floats only cores would have read.
  void drop_dequantizers() {
    for (const Node& n : graph_.nodes()) {
      if (!is_dequantize(n) || !n.has_output(0)) continue;
      const Value& v = n.output(0);
      if (v.uses().empty() || v.is_graph_output() || questions_.is_watched(v)) continue;
      if (std::ranges::all_of(v.uses(), [&](const Use& u) { return reads_codes(u, n); }))
        out_.replaced.insert(&n);
    }
  }

  const Graph& graph_;
  const IntegerQuestions& questions_;
  std::unordered_set<const Node*> carriers_;
  IntegerGroups out_;
};

}  // namespace

IntegerGroups find_integer_groups(const Graph& graph, const IntegerQuestions& questions) {
  return Finder(graph, questions).find();
}

}  // namespace onnxtool
