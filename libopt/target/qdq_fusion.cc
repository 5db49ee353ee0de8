#include "libopt/target/qdq_fusion.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libopt/analysis/clip.h"
#include "libopt/analysis/effects.h"
#include "libopt/analysis/qdq_movers.h"
#include "libopt/ir/code_type.h"
#include "libopt/ir/walk.h"
#include "libopt/rewrite/rewriter.h"
#include "libopt/rewrite/visit.h"
#include "libopt/target/bias_fault.h"
#include "libopt/target/joined_sum.h"
#include "libopt/target/nbits_products.h"

namespace onnxtool {
namespace {

// Operators with integer kernels that may already stand in a model.
bool is_integer_operator(const Node& n) {
  const std::string& op = n.op_type();
  return op.starts_with("QLinear") || op == "QGemm" || op == "MatMulInteger" ||
         op == "ConvInteger" || op == "MatMulIntegerToFloat" || op == "DynamicQuantizeMatMul" ||
         op == "DynamicQuantizeLinear" || op == "QAttention";
}

bool is_complete(const Node& n) { return n.has_input(0) && n.has_input(1) && n.has_output(0); }
bool is_q(const Node& n) { return n.op_type() == "QuantizeLinear" && is_complete(n); }
bool is_dq(const Node& n) { return n.op_type() == "DequantizeLinear" && is_complete(n); }

// [] or [1].
bool is_scalar(const Value& v) {
  const Tensor* t = v.constant();
  return t && t->count() == 1 && t->rank() <= 1;
}

bool has_scalar_codes(const Node& qdq) {
  return qdq.num_inputs() >= 2 && is_scalar(qdq.input(1)) &&
         (!qdq.has_input(2) || is_scalar(qdq.input(2)));
}

// Both have a zero point, and the numbers are equal.
bool same_codes(const Node& a, const Node& b) {
  if (!a.has_input(2) || !b.has_input(2) || !has_scalar_codes(a) || !has_scalar_codes(b))
    return false;
  const auto equal = [](const Tensor& x, const Tensor& y) {
    return x.dtype() == y.dtype() && std::ranges::equal(x.bytes(), y.bytes());
  };
  return equal(*a.input(1).constant(), *b.input(1).constant()) &&
         equal(*a.input(2).constant(), *b.input(2).constant());
}

class Fuser {
 public:
  Fuser(std::unique_ptr<Model> model, const Target& target)
      : model_(std::move(model)), graph_(model_->graph()), target_(target) {}

  IntegerGraph run() {
    find_known();
    if (!target_.is_onnxruntime) {
      count(graph_);
      return std::move(out_);
    }
    join_sums();
    turn_weights();
    separate_readers();
    move_q_up();
    move_dq_down();
    merge_equal_q();
    if (target_.quantizes_parameters) quantize_parameters();
    separate_readers();
    for (Node& n : graph_.nodes()) code_scalar_side(n);
    if (target_.prefers_unsigned) make_unsigned();
    for (Node& n : graph_.nodes()) fuse(n);
    read_packed();
    count(graph_);
    return std::move(out_);
  }

 private:
  Node& add_like(const Node& qdq, Value& input, const Node* before) {
    Rewriter rw(graph_, before);
    std::vector<Value*> inputs = {&input};
    for (int i = 1; i < qdq.num_inputs(); ++i)
      inputs.push_back(qdq.has_input(i) ? &qdq.input(i) : nullptr);
    std::vector<Attribute> attributes;
    if (const int64_t axis = qdq.attr<int64_t>("axis", 1); axis != 1)
      attributes.push_back(Attribute::of("axis", axis));
    return rw.add_node(qdq.op_type(), inputs, std::move(attributes));
  }
  // A Q or DQ with the codes of `like`, which may be either.
  Node& add_coded(std::string_view op, const Node& like, Value& input, const Node* before) {
    Node& n = add_like(like, input, before);
    Rewriter(graph_).set_op(n, op);
    if (is_q(n)) {  // operators behind its DQ go by the type
      ValueType type = input.type();
      type.dtype = (is_q(like) ? like.output(0) : like.input(0)).type().dtype;
      n.output(0).set_type(std::move(type));
    }
    return n;
  }

  bool in_this_graph(const Use& u) const { return &u.user->graph() == &graph_; }

  // What follows from constants alone is computed at load, a Q included; a DQ is not, so that
  // weights stay integers.
  void find_known() {
    for (const Node& n : graph_.nodes()) {
      bool known = n.num_inputs() > 0 && !is_dq(n) && is_deterministic(n);
      n.for_each_subgraph([&](Graph&) { known = false; });
      for (const Value* v : n.inputs()) known = known && (!v || is_known(*v));
      if (!known) continue;
      for (const Value* v : n.outputs())
        if (v) known_.insert(v);
    }
  }
  bool is_known(const Value& v) const { return v.constant() || known_.contains(&v); }

  static bool multiplies_codes(const Use& use) {
    if (use.index != 1 || !use.user->has_input(0)) return false;
    const Node* made_by = before_movers(use.user->input(0)).producer();
    return made_by && is_dq(*made_by);
  }

  // A weight that is turned behind its DQ gets turned before it, for a product of codes. Of its own
  // only the shape counts.
  void turn_weights() {
    visit_nodes(graph_, [this](Node& turn) {
      Node* dq = turn.has_input(0) ? turn.input(0).producer() : nullptr;
      if (!swaps_axes(turn, /*by_default=*/false) || !turn.has_output(0) || !dq || !is_dq(*dq) ||
          !dq->output(0).has_one_use() || dq->output(0).is_graph_output() ||
          dq->attr<int64_t>("block_size", 0) != 0)
        return;
      const Tensor* codes = dq->input(0).constant();
      if (!codes || codes->rank() != 2 ||
          !std::ranges::all_of(turn.output(0).uses(), multiplies_codes))
        return;
      Rewriter rw(graph_, &turn);
      const std::vector<int64_t> dims = {codes->dims()[1], codes->dims()[0]};
      const int64_t axis = dq->attr<int64_t>("axis", 1);
      std::vector<Value*> inputs = {&rw.add_constant(codes->reshaped(dims), "turned"),
                                    &dq->input(1)};
      if (dq->has_input(2)) inputs.push_back(&dq->input(2));
      Node& turned = rw.add_node(dq->op_type(), inputs);
      rw.set_attribute(turned, Attribute::of("axis", int64_t{axis == 0 || axis == -2 ? 1 : 0}));
      turned.output(0).set_type(turn.output(0).type());
      rw.replace_uses(turn.output(0), turned.output(0));
      rw.remove(turn);
      rw.sweep();
    });
  }

  // A product and the sum behind it are a Gemm before anybody looks for integers.
  void join_sums() {
    visit_nodes(graph_, [this](Node& product) {
      Node* sum = joined_sum(product);
      if (!sum) return;
      // Its weight is turned before that, and a Gemm's weight is not.
      if (const auto packed = packed_product(product); packed && packed->transposed) return;
      const int rank = *product.input(0).type().rank();
      Value& addend = sum->input(&sum->input(0) == &product.output(0) ? 1 : 0);
      // Behind it, so that its addend, too, stands before it.
      Rewriter rw(graph_, sum);
      const auto matrix = [&](Value& v, ValueType type) -> Value& {
        if (rank == 2) return v;
        Value& r =
            rw.add_node("Reshape", {&v, &rw.add_constant(Tensor::vector<int64_t>({-1}))}).output(0);
        r.set_type(std::move(type));
        return r;
      };
      ValueType x = product.input(0).type(), y = x;
      if (rank != 2) {
        const Dim k = product.input(1).type().shape->at(0),
                  n = product.input(1).type().shape->at(1);
        x.shape = {Dim{}, k};
        y.shape = {Dim{}, n};
      }
      Node& gemm = rw.add_node("Gemm", {&matrix(product.input(0), x), &product.input(1), &addend},
                               {}, 1, product.output(0).name());
      gemm.output(0).set_type(rank == 2 ? sum->output(0).type() : y);
      joined_[&gemm] = product.output(0).name();
      rw.replace_uses(sum->output(0), matrix(gemm.output(0), sum->output(0).type()));
      rw.remove(*sum);
      rw.remove(product);
    });
  }

  // Each reader of a DQ gets its own; a graph output or a subgraph keeps the first.
  void separate_readers() {
    for (Node& dq : graph_.nodes()) {
      if (!is_dq(dq)) continue;
      const std::vector<Use> uses = dq.output(0).uses();
      bool keep_first = !dq.output(0).is_graph_output();
      for (const Use& u : uses) keep_first = keep_first && in_this_graph(u);
      for (const Use& u : uses) {
        if (!in_this_graph(u)) continue;
        if (keep_first) {
          keep_first = false;
          continue;
        }
        Node& own = add_like(dq, dq.input(0), dq.next());
        own.output(0).set_type(dq.output(0).type());
        Rewriter(graph_).set_input(*u.user, u.index, &own.output(0));
      }
    }
  }

  void move_q_up() {
    std::vector<Node*> qs;
    for (Node& n : graph_.nodes())
      if (is_q(n)) qs.push_back(&n);
    for (Node* q : qs) {
      if (!has_scalar_codes(*q)) continue;
      // The node before it moves elements and nothing else reads it: Q and DQ go before that one,
      // too.
      for (Value* v = &q->input(0);;) {
        Node* mover = v->producer();
        if (!mover || &mover->graph() != &graph_ || !v->has_one_use() || !is_passed_by_qdq(*mover))
          break;
        Value& source = mover->input(0);
        if (is_known(source)) break;
        if (source.producer() && (is_dq(*source.producer()) || !source.has_one_use())) break;
        Node& up = add_coded("QuantizeLinear", *q, source, mover);
        Node& down = add_coded("DequantizeLinear", *q, up.output(0), mover);
        down.output(0).set_type(source.type());
        Rewriter(graph_).set_input(*mover, 0, &down.output(0));
        v = &source;
        // What is above reads through the new Q.
        if (!v->producer() || !is_passed_by_qdq(*v->producer())) break;
      }
    }
  }

  // The readers of `mover`'s result behind a new Q, each with its own DQ. Returns those DQs.
  std::vector<Node*> insert_after(Node& mover, const Node& codes) {
    Value& v = mover.output(0);
    std::vector<Use> readers;
    for (const Use& u : v.uses())
      if (!is_q(*u.user)) readers.push_back(u);
    const bool to_output = v.is_graph_output();
    if (to_output ? !v.uses().empty() : readers.empty()) return {};
    Node& q = add_coded("QuantizeLinear", codes, v, mover.next());
    std::vector<Node*> added;
    for (size_t i = 0; i < std::max<size_t>(readers.size(), to_output); ++i) {
      Node& dq = add_coded("DequantizeLinear", codes, q.output(0), q.next());
      dq.output(0).set_type(v.type());
      if (to_output) {
        for (size_t o = 0; o < graph_.outputs().size(); ++o)
          if (graph_.outputs()[o] == &v) graph_.set_output(o, dq.output(0));
      } else {
        Rewriter(graph_).set_input(*readers[i].user, readers[i].index, &dq.output(0));
      }
      added.push_back(&dq);
    }
    return added;
  }

  // The Transpose of a weight: its codes are turned themselves.
  static bool turns_packed_weight(const Node& n, const Node& dq) {
    if (!n.is("Transpose") || !n.has_output(0) || n.output(0).uses().size() != 1) return false;
    const auto packed = packed_product(*n.output(0).uses()[0].user);
    return packed && packed->dequantize == &dq;
  }

  void move_dq_down() {
    std::vector<Node*> open;
    for (Node& n : graph_.nodes())
      if (is_dq(n)) open.push_back(&n);
    while (!open.empty()) {
      Node& dq = *open.back();
      open.pop_back();
      if (!has_scalar_codes(dq) || !dq.output(0).has_one_use() || dq.output(0).uses().empty())
        continue;
      const Use u = dq.output(0).uses()[0];
      if (!in_this_graph(u) || !is_passed_by_qdq(*u.user) || turns_packed_weight(*u.user, dq))
        continue;
      for (Node* added : insert_after(*u.user, dq)) open.push_back(added);
    }
  }

  // Common subexpressions: one Q of a value and its codes is enough.
  void merge_equal_q() {
    visit_nodes(graph_, [this](Node& q) {
      if (!is_q(q) || q.output(0).unused()) return;
      const std::vector<Use> siblings = q.input(0).uses();
      for (const Use& u : siblings) {
        Node& other = *u.user;
        if (&other == &q || u.index != 0 || !is_q(other) || !in_this_graph(u) ||
            !same_codes(q, other) || other.output(0).is_graph_output())
          continue;
        Rewriter rw(graph_);
        rw.replace_uses(other.output(0), q.output(0));
        rw.remove(other);
      }
    });
  }

  // s8 pairs as u8, their zero points moved by 128.
  void make_unsigned() {
    for (Node& q : graph_.nodes()) {
      if (!is_q(q) || !q.output(0).has_one_use() || q.output(0).uses().empty()) continue;
      Node& dq = *q.output(0).uses()[0].user;
      if (!is_dq(dq) || !same_codes(q, dq)) continue;
      const Tensor& zero = *q.input(2).constant();
      if (zero.dtype() != DataType::kInt8) continue;
      const auto moved = static_cast<std::byte>(zero.to_ints()[0] + 128);
      Rewriter rw(graph_);
      Value& u8 = rw.add_constant(Tensor::from_bytes(DataType::kUint8, zero.dims(), {moved}));
      rw.set_input(q, 2, &u8);
      rw.set_input(dq, 2, &u8);
      ValueType type = q.output(0).type();
      type.dtype = DataType::kUint8;
      q.output(0).set_type(type);
    }
  }

  // A float weight or bias of a layer between DQ and Q becomes integers at load.
  void quantize_parameters() {
    for (Node& n : graph_.nodes()) {
      if (!n.is("Conv") && !n.is("ConvTranspose") && !n.is("Gemm")) continue;
      const auto from_dq = [&](int i) {
        return n.has_input(i) && n.input(i).producer() && is_dq(*n.input(i).producer());
      };
      if (!from_dq(0) || !is_scalar(n.input(0).producer()->input(1)) || !leads_to_q(n)) continue;
      const auto constant_float = [&](int i) {
        return n.input(i).constant() && n.input(i).constant()->dtype() == DataType::kFloat;
      };
      if (!n.has_input(1) || (!from_dq(1) && !constant_float(1))) continue;
      if (n.has_input(2) && !(n.input(2).constant() && n.input(2).constant()->rank() == 1))
        continue;
      if (from_dq(1)) {
        const Node& dq = *n.input(1).producer();
        if (!n.has_input(2)) continue;
        if (!is_scalar(dq.input(1))) {
          const Tensor* scale = dq.input(1).constant();
          const int64_t axis = dq.attr<int64_t>("axis", 1),
                        expected = n.is("Gemm") && !n.attr<int64_t>("transB", 0) ? 1 : 0;
          if (!scale || scale->count() != n.input(2).constant()->count() || axis != expected)
            continue;
        }
      } else {
        parameter_dq(n, 1, DataType::kInt8);
      }
      if (n.has_input(2)) parameter_dq(n, 2, DataType::kInt32);
    }
  }

  // A scalar that a Where picks instead of what a DQ gives gets codes of its own.
  void code_scalar_side(Node& where) {
    if (!where.is("Where") || where.num_inputs() != 3 || !where.has_output(0) ||
        !where.output(0).has_one_use() || where.output(0).is_graph_output())
      return;
    const Node& q = *where.output(0).uses()[0].user;
    if (!is_q(q)) return;
    for (const int i : {1, 2}) {
      const Tensor* scalar = where.has_input(i) ? where.input(i).constant() : nullptr;
      const Node* dq = where.has_input(3 - i) ? where.input(3 - i).producer() : nullptr;
      if (!scalar || scalar->rank() != 0 || scalar->dtype() != DataType::kFloat || !dq ||
          !is_dq(*dq) || !dq->has_input(2) || !dq->input(1).constant() ||
          !dq->input(2).constant() || !q.has_input(2) || !q.input(2).constant())
        continue;
      const DataType type = dq->input(2).constant()->dtype();
      if (q.input(2).constant()->dtype() == type) parameter_dq(where, i, type);
    }
  }

  // Only that it is there counts, not its values.
  void parameter_dq(Node& n, int index, DataType type) {
    Rewriter rw(graph_, &n);
    const Tensor& t = *n.input(index).constant();
    std::vector<std::byte> zeros(
        static_cast<size_t>(size_bytes_of(type, static_cast<size_t>(t.count()))));
    Value& integers = rw.add_constant(Tensor::from_bytes(type, t.dims(), std::move(zeros)));
    Node& dq = rw.add_node("DequantizeLinear",
                           {&integers, &rw.add_constant(Tensor::scalar(1.0f)),
                            &rw.add_constant(Tensor::from_bytes(
                                type, {}, std::vector<std::byte>(size_bytes_of(type, 1))))});
    dq.output(0).set_type(n.input(index).type());
    rw.set_input(n, index, &dq.output(0));
    made_bias_.insert(&n);
  }

  static bool leads_to_q(const Node& layer) {
    for (const Node* n = &layer;;) {
      if (n->num_outputs() != 1 || !n->has_output(0) || n->output(0).uses().size() != 1)
        return false;
      n = n->output(0).uses()[0].user;
      if (is_q(*n)) return true;
      if (!n->is("Relu") && !n->is("Clip")) return false;
    }
  }

  bool made_redundant(const Node& activation, const Node& q) const {
    const Tensor* scale = q.input(1).constant();
    const Tensor* zero = q.has_input(2) ? q.input(2).constant() : nullptr;
    if (!scale || scale->rank() != 0 || !is_float(scale->dtype()) || !zero || zero->rank() != 0)
      return false;
    int64_t low, high;
    switch (zero->dtype()) {
      case DataType::kUint8: low = 0, high = 255; break;
      case DataType::kInt8: low = -128, high = 127; break;
      case DataType::kUint16: low = 0, high = 65535; break;
      case DataType::kInt16: low = -32768, high = 32767; break;
      default: return false;
    }
    const int64_t z = zero->to_ints()[0];
    if (activation.is("Relu")) return z == low;
    const auto bounds = clip_bounds(activation);
    if (!bounds) return false;
    const auto s = static_cast<float>(scale->to_doubles()[0]);
    // Bounds far outside overflow an int there; they count as outside all the same.
    const auto code = [&](float x) {
      return std::clamp<double>(std::rint(x / s), -1e9, 1e9) + static_cast<double>(z);
    };
    return code(bounds->low) <= static_cast<double>(low) &&
           code(bounds->high) >= static_cast<double>(high);
  }

  void fuse(Node& n) {
    const TargetOp* op = find_target_op(target_, n);
    if (!op || op->fusion == Fusion::kNever || n.num_outputs() == 0 || !n.has_output(0)) return;
    if (op->obstacle && op->obstacle(n)) return;
    if (target_.is_onnxruntime && n.is("Conv") && !made_bias_.contains(&n) &&
        !bias_fault(n).empty())
      return;
    std::vector<Node*> dqs, qs;
    int inputs = 0;
    for (int i = op->first_data; i < n.num_inputs(); ++i) {
      if (!n.has_input(i)) continue;
      ++inputs;
      Node* p = n.input(i).producer();
      if (p && &p->graph() == &graph_ && is_dq(*p)) dqs.push_back(p);
    }
    for (Node* dq : dqs)
      if (!dq->output(0).has_one_use()) return;

    // Relu or Clip right behind it must be one that the Q makes redundant.
    Node* activation = nullptr;
    size_t edges = 0;
    for (int o = 0; o < n.num_outputs(); ++o)
      if (n.has_output(o)) edges += n.output(o).uses().size();
    if (edges == 1 && !n.output(0).uses().empty()) {
      Node& next = *n.output(0).uses()[0].user;
      if ((next.is("Relu") || next.is("Clip")) && next.has_output(0) &&
          next.output(0).uses().size() == 1 && !next.output(0).is_graph_output())
        activation = &next;
    }
    Node& last = activation ? *activation : n;
    bool graph_output = false;
    size_t last_edges = 0, outputs = 0;
    for (int o = 0; o < last.num_outputs(); ++o) {
      if (!last.has_output(o)) continue;
      ++outputs;
      graph_output |= last.output(o).is_graph_output();
      last_edges += last.output(o).uses().size();
      for (const Use& u : last.output(o).uses())
        if (u.index == 0 && in_this_graph(u) && is_q(*u.user)) qs.push_back(u.user);
    }
    if (activation && (qs.size() != 1 || !made_redundant(*activation, *qs[0]))) return;
    const bool all_q =
        !qs.empty() && qs.size() == outputs && last_edges == qs.size() && !graph_output;

    const auto type_of = [](const Node& dq) { return dq.input(0).type().dtype; };
    const auto result_type = [&] {
      return qs[0]->has_input(2) && qs[0]->input(2).constant() ? qs[0]->input(2).constant()->dtype()
                                                               : DataType::kUint8;
    };
    bool fits = false;
    std::string_view kernel = op->integer_op;
    switch (op->fusion) {
      case Fusion::kNever: break;
      case Fusion::kReadsIntegers: {
        fits = !activation && dqs.size() == 1 && is_8bit(type_of(*dqs[0])) &&
               has_scalar_codes(*dqs[0]) && dqs[0]->has_input(2);
        qs.clear();
        break;
      }
      case Fusion::kPassThrough: {
        if (activation || dqs.size() != 1 || !all_q) break;
        fits = std::all_of(qs.begin(), qs.end(),
                           [&](const Node* q) { return same_codes(*dqs[0], *q); });
        break;
      }
      case Fusion::kInteger:
      case Fusion::kIntegerOrFloatOutput: {
        if (dqs.empty() || static_cast<int>(dqs.size()) != inputs) break;
        const DataType data = type_of(*dqs[0]);
        if (!is_8bit(data) || (data == DataType::kInt8 && !op->signed_data)) break;
        if (!op->mixed_types)
          if (!std::all_of(dqs.begin(), dqs.end(),
                           [&](const Node* dq) { return type_of(*dq) == data; }))
            break;
        if (qs.empty()) {
          fits = op->fusion == Fusion::kIntegerOrFloatOutput && !op->float_output_op.empty();
          kernel = op->float_output_op;
        } else {
          fits = all_q && result_type() == data;
        }
        break;
      }
    }
    if (!fits) return;
    const auto joined = joined_.find(&n);
    out_.fused[joined == joined_.end() ? n.output(0).name() : joined->second] = kernel;
    if (!kernel.empty()) ++out_.integer_operators[std::string(kernel)];
    gone_.insert(dqs.begin(), dqs.end());
    gone_.insert(qs.begin(), qs.end());
  }

  // Products by dequantized weights that become MatMulNBits, which reads the codes.
  void read_packed() {
    for_each_node_inside_first(graph_, [&](const Node& n) {
      const auto packed = packed_product(n);
      if (!packed || gone_.contains(packed->dequantize)) return;
      ++out_.integer_operators["MatMulNBits"];
      gone_.insert(packed->dequantize);
    });
  }

  void count(const Graph& graph) {
    for (const Node& n : graph.nodes()) {
      if (is_q(n))
        out_.quantize += !gone_.contains(&n) && !is_known(n.output(0));
      else if (is_dq(n))
        out_.dequantize += !gone_.contains(&n);
      else if (is_integer_operator(n))
        ++out_.integer_operators[n.op_type()];
      n.for_each_subgraph([&](Graph& sub) { count(sub); });
    }
  }

  std::unique_ptr<Model> model_;
  Graph& graph_;
  const Target& target_;
  IntegerGraph out_;
  std::set<const Node*> gone_;
  std::unordered_map<const Node*, std::string>
      joined_;                              // Gemms, by what their products were called
  std::set<const Node*> made_bias_;         // layers whose parameters become integers at load
  std::unordered_set<const Value*> known_;  // computed at load
};

}  // namespace

IntegerGraph fuse_qdq(const Model& model, const Target& target) {
  return Fuser(model.clone(), target).run();
}

}  // namespace onnxtool
