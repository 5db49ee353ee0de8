#include "quant/placement.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "libopt/analysis/clip.h"
#include "libopt/analysis/seam.h"
#include "libopt/target/attention_products.h"
#include "quant/attention_scores.h"
#include "quant/ops/ort_compat.h"
#include "quant/weigh.h"

namespace onnxtool {

std::optional<std::pair<double, double>> activation_bounds(const Node& node) {
  if (node.is("Relu")) return std::pair(0.0, 3.4e38);
  const auto bounds = clip_bounds(node);
  if (!bounds || bounds->low > 0 || bounds->high < 0) return std::nullopt;
  return std::pair(bounds->low, bounds->high);
}

bool is_activation(const Node& node) { return node.is("Relu") || node.is("Clip"); }

namespace {

// Where nothing is faster on integers, the weighing being a guess and integers taking a quarter of
// the memory, a node stays in float only where it is clearly faster there. Elsewhere nodes that
// lose a little would use up what the others gain.
constexpr double kFloatBias = 1.25;

constexpr const char* kNoForm = "no integer form";
constexpr const char* kTable = "float operators read its rows";
constexpr const char* kFromFloat = "an input comes from a float operator";

// Q and DQ around it, whatever the target makes of that.
constinit const TargetOp kInFloat{.op = "", .fusion = Fusion::kInteger};

class Placer {
 public:
  Placer(const Model& model, const QuantizeOptions& options, const Weighing& weighing)
      : graph_(model.graph()), options_(options), weighing_(weighing) {}

  Placement run() {
    for (Node& n : graph_.nodes())
      if (n.is("Softmax"))
        mark_scores(n, scores_,
                    options_.ort_compat ? MaskRule::kNotOfLayers : MaskRule::kAnythingAdded);
    for (Node& n : graph_.nodes()) classify(n);
    settle();
    while (keep_apart()) settle();
    if (!options_.target->cost || options_.ort_compat || !options_.include.empty() ||
        !options_.in_float.empty())
      return result();
    const std::vector<Candidate> all = candidates_;
    for (const double bias : {1.0, kFloatBias}) {
      candidates_ = all;
      // Less on integers may leave carriers without company, and those are weighed without them
      // again.
      while (weigh(bias)) settle();
      if (std::ranges::any_of(candidates_, &Candidate::alive)) break;
    }
    return result();
  }

 private:
  struct Candidate {
    IntegerNode integer;
    Fusion fusion = Fusion::kNever;
    const TargetOp* target = nullptr;
    bool alive = true;
    const char* reason = "";
  };

  // A constant of which a Gather takes rows: with onnxruntime's placement, what else moves its
  // elements takes the codes as well.
  bool is_table(const Value& v) const {
    return std::ranges::any_of(v.uses(), [&](const Use& u) {
      return u.index == 0 && u.user->is("Gather") && !options_.exclude.matches(*u.user);
    });
  }

  const char* why_not(const Node& n, const OpHandler* handler, const TargetOp* target) const {
    if (scores_.contains(&n)) return "lies between an attention mask and its Softmax";
    if (!handler) return kNoForm;
    const bool selected = n.has_output(0) && weighing_.selected.contains(n.output(0).name());
    if (!selected && options_.exclude.matches(n)) return "excluded";
    if (n.has_output(0) && options_.in_float.contains(n.output(0).name()))
      return "left in float for accuracy";
    if (!selected && !options_.include.empty() && handler->role == Role::kCore &&
        !options_.include.matches(n))
      return "not included";
    if (!options_.ort_compat && (!target || target->fusion == Fusion::kNever))
      return handler->qdq_only && options_.target->is_onnxruntime
                 ? kNoForm
                 : "the target never runs it on integers";
    if (target && target->obstacle && !options_.ort_compat)
      if (const char* r = target->obstacle(n)) return r;
    if (target && target->wrong)
      if (const char* r = target->wrong(n)) return r;
    if (!n.has_input(handler->first_data) || !n.has_output(0)) return "has no data";
    if (weighing_.in_float.contains(n.output(0).name())) return kNoGain;
    if (weighing_.unfused.contains(n.output(0).name())) return kNotFused;
    if (data_inputs(n, *handler).empty()) return "its data is not float32";
    if (handler->role == Role::kPassThrough && n.input(0).constant() && !is_table(n.input(0)))
      return "its data is constant";
    if (handler->obstacle) return handler->obstacle(n);
    return nullptr;
  }

  void classify(Node& n) {
    if (is_absorbed(n)) return;
    const OpHandler* handler =
        options_.ort_compat ? ort_compat_handler(n, options_.form) : find_handler(n);
    const TargetOp* target = find_target_op(*options_.target, n);
    if (const char* reason = why_not(n, handler, target)) {
      reasons_[&n] = reason;
      if (target && target->wrong && target->wrong(n)) wrong_.push_back(&n);
      return;
    }
    Candidate c;
    c.integer.node = &n;
    c.integer.handler = handler;
    c.target = target && target->fusion != Fusion::kNever ? target : &kInFloat;
    c.fusion = c.target->fusion;
    // The activation joins when nothing else reads the raw result. Pass-through operators keep
    // their input's scale, which an activation's range would not be.
    // onnxruntime's quantizer gives it one of its own then.
    Value& out = n.output(0);
    const bool rescales =
        options_.ort_compat && options_.form == Form::kQdq && n.num_outputs() == 1;
    // Where zero points are given it keeps activations.
    const bool keeps = options_.ort_compat && options_.activation_symmetric;
    if (!keeps && !is_activation(n) && (handler->role != Role::kPassThrough || rescales) &&
        out.has_one_use() && !out.is_graph_output()) {
      Node* user = out.uses()[0].user;
      if (&user->graph() == &graph_ && is_activation(*user) && out.uses()[0].index == 0 &&
          activation_bounds(*user) && !options_.exclude.matches(*user))
        c.integer.activation = user;
    }
    index_[&n] = candidates_.size();
    candidates_.push_back(c);
  }

  Candidate* producer_of(const Value& v) {
    Node* p = v.producer();
    if (!p) return nullptr;
    if (is_activation(*p) && p->input(0).producer()) {
      const auto it = index_.find(p->input(0).producer());
      if (it != index_.end() && candidates_[it->second].alive &&
          candidates_[it->second].integer.activation == p)
        return &candidates_[it->second];
    }
    const auto it = index_.find(p);
    return it != index_.end() && candidates_[it->second].alive &&
                   !candidates_[it->second].integer.activation
               ? &candidates_[it->second]
               : nullptr;
  }

  // Others, as a condition, have no codes.
  static std::vector<Value*> data_inputs(const Node& n, const OpHandler& handler) {
    std::vector<Value*> out;
    for (const int i : onnxtool::data_inputs(handler, n))
      if (n.has_input(i) && !(i == handler.weight_input && n.input(i).constant()) &&
          n.input(i).type().dtype == DataType::kFloat)
        out.push_back(&n.input(i));
    return out;
  }
  static std::vector<Value*> data_inputs(const IntegerNode& n) {
    return data_inputs(*n.node, *n.handler);
  }

  // By the node before it, as of now.
  bool is_absorbed(const Node& n) const {
    const Node* p = is_activation(n) ? n.input(0).producer() : nullptr;
    const auto it = p ? index_.find(p) : index_.end();
    return it != index_.end() && candidates_[it->second].integer.activation == &n;
  }

  bool reads_as_data(const Candidate& c, const Value& v) const {
    const auto inputs = data_inputs(c.integer);
    return std::find(inputs.begin(), inputs.end(), &v) != inputs.end();
  }

  // Consumers of `v` that take its integer form.
  bool has_integer_consumer(const Value& v) {
    for (const Use& u : v.uses()) {
      const auto it = index_.find(u.user);
      if (it != index_.end() && candidates_[it->second].alive &&
          reads_as_data(candidates_[it->second], v))
        return true;
    }
    return false;
  }

  bool only_integer_consumers(const Candidate& c) {
    for (const Value* v : c.integer.node->outputs()) {
      if (!v) continue;
      if (v->is_graph_output()) return false;
      for (const Use& u : v->uses()) {
        const auto it = index_.find(u.user);
        if (it == index_.end() || !candidates_[it->second].alive ||
            !reads_as_data(candidates_[it->second], *v))
          return false;
      }
    }
    return true;
  }

  // The target fuses no layer whose only reader is a Relu or Clip that stays float: a Q stands
  // between, or behind an activation that vanishes into it.
  static bool before_activation(const Node& node) {
    const Value& out = node.output(0);
    return out.has_one_use() && !out.is_graph_output() && is_activation(*out.uses()[0].user);
  }

  // nullptr, or why a secondary operator does not stand between integer ones.
  const char* out_of_place(Candidate& c) {
    const char* reason = nullptr;
    for (Value* v : data_inputs(c.integer)) {
      if (v->constant()) continue;
      // Moving integers beats moving floats from the first node on, if all readers take them;
      // arithmetic on an input would only lose precision to save nothing.
      const bool from_input = v->is_graph_input() &&
                              c.integer.handler->role == Role::kPassThrough &&
                              only_integer_consumers(c);
      if (!producer_of(*v) && !from_input) reason = kFromFloat;
    }
    // What tables hold would be rounded more coarsely than rows by themselves (quant/tables.h),
    // unless the readers do that anyway.
    if (c.integer.node->input(0).constant() && c.integer.handler->role == Role::kPassThrough &&
        !only_integer_consumers(c))
      return kTable;
    // Every output's readers count: a Split feeds several.
    bool consumed = false;
    for (int i = 0; i < c.integer.node->num_outputs(); ++i)
      if (c.integer.node->has_output(i))
        consumed |= has_integer_consumer(i == 0 ? c.integer.result() : c.integer.node->output(i));
    if (!consumed) reason = "nothing that runs on integers reads it";
    if (c.integer.handler->role != Role::kPassThrough && c.integer.result().is_graph_output())
      reason = "is a graph output, where floats cost nothing";
    return reason;
  }

  // As onnxruntime's quantizer places: all arithmetic, tables, and what moves a tensor that it has
  // quantized by then, going by the order of nodes.
  const char* not_marked_before(size_t k) {
    const Candidate& c = candidates_[k];
    const OrtWhen when = ort_compat_when(*c.integer.node, *c.integer.handler, options_.form);
    if (when == OrtWhen::kAlways) return nullptr;
    for (const Value* v : data_inputs(c.integer)) {
      // These stay float in QOperator form; what follows is placed as if they did not.
      const Node* p = v->producer();
      while (options_.form == Form::kQOperator && p && !index_.contains(p) && p->has_input(0) &&
             (is_activation(*p) || p->is("Pad")) && !is_absorbed(*p) &&
             !options_.exclude.matches(*p)) {
        v = &p->input(0);
        p = v->producer();
      }
      const bool is_marked = producer_of(*v) || (v->constant() && c.integer.node->is("Gather")) ||
                             is_read_before(*v, k);
      if (!is_marked) return kFromFloat;
    }
    return nullptr;
  }

  bool is_read_before(const Value& v, size_t k) const {
    return std::ranges::any_of(v.uses(), [&](const Use& u) {
      const auto it = index_.find(u.user);
      return it != index_.end() && it->second < k && candidates_[it->second].alive &&
             reads_as_data(candidates_[it->second], v);
    });
  }

  // The largest set of secondary operators that stand between integer ones: start with all, drop
  // what would need a Q of its own before it or is read by floats only, until nothing changes.
  void settle() {
    // A chain dies from one of its ends: going both ways by turns takes it in one sweep.
    bool backward = false;
    for (bool changed = true; changed; backward = !backward) {
      changed = false;
      for (size_t k = 0; k < candidates_.size(); ++k) {
        const size_t i = backward ? candidates_.size() - 1 - k : k;
        Candidate& c = candidates_[i];
        if (!c.alive || c.integer.handler->role == Role::kCore) continue;
        const char* reason = options_.ort_compat ? not_marked_before(i) : out_of_place(c);
        if (!reason) continue;
        c.alive = false;
        c.reason = reason;
        changed = true;
      }
    }
  }

  // No node that the target would compute wrongly stands between a DQ and a Q: the layer before it
  // stays float. Whether anything changed.
  bool keep_apart() {
    bool changed = false;
    for (const Node* n : wrong_) {
      // The target moves a DQ past operators that only move elements.
      const Value* v = &n->input(0);
      while (v->producer() && moves_elements(*v->producer())) v = &v->producer()->input(0);
      Candidate* producer = producer_of(*v);
      if (!producer || !has_integer_consumer(n->output(0))) continue;
      producer->alive = false;
      producer->reason = "the target would compute its reader on integers, and wrongly";
      changed = true;
    }
    return changed;
  }

  std::vector<int64_t> shape_of(const Value& v) const {
    const auto it = weighing_.shapes.find(v.name());
    if (it != weighing_.shapes.end()) return it->second;
    std::vector<int64_t> dims;
    // Nothing is known: one sample, and some extent that is neither tiny nor large.
    if (v.type().shape)
      for (const Dim& d : *v.type().shape) dims.push_back(d.value.value_or(dims.empty() ? 1 : 32));
    return dims;
  }

  // Reshapes that a product on integers takes are its own.
  NodeCost cost_of(const Node& n, const ShapeOf& shapes) const {
    const CostModel& cost = *options_.target->cost;
    if (n.has_output(0) && weighing_.reshaped.contains(n.output(0).name())) return {};
    NodeCost c = cost.node(n, shapes);
    if (!n.is("Gemm")) return c;
    if (const Node* before = n.input(0).producer();
        before && weighing_.reshaped.contains(n.input(0).name()))
      c.integer_ns +=
          cost.node(*before, shapes).integer_ns / static_cast<double>(n.input(0).uses().size());
    const Value* v = &n.output(0);
    if (before_activation(n)) v = &v->uses()[0].user->output(0);
    for (const Use& u : v->uses())
      if (u.user->has_output(0) && weighing_.reshaped.contains(u.user->output(0).name()))
        c.integer_ns += cost.node(*u.user, shapes).integer_ns;
    return c;
  }

  // Leaves in float what is no faster otherwise, if float took so many times as long. Whether
  // anything changed.
  bool weigh(double float_bias) {
    const CostModel& cost = *options_.target->cost;
    const ShapeOf shapes = [this](const Value& v) { return shape_of(v); };
    std::vector<WeighedNode> nodes;
    std::vector<size_t> candidate_of;
    std::unordered_map<const Candidate*, int> vertex;
    for (size_t i = 0; i < candidates_.size(); ++i) {
      if (!candidates_[i].alive) continue;
      vertex[&candidates_[i]] = static_cast<int>(nodes.size());
      candidate_of.push_back(i);
      const NodeCost c = cost_of(*candidates_[i].integer.node, shapes);
      nodes.push_back({float_bias * c.float_ns, c.integer_ns});
    }
    std::vector<WeighedTensor> tensors;
    std::set<int> seen;
    const auto add = [&](Value& v) {
      if (v.constant() || !seen.insert(v.id()).second) return;
      WeighedTensor t;
      Candidate* producer = producer_of(v);
      if (producer) t.producer = vertex.at(producer);
      t.float_readers = v.is_graph_output();
      for (const Use& u : v.uses()) {
        const auto it = index_.find(u.user);
        const Candidate* reader = it == index_.end() ? nullptr : &candidates_[it->second];
        if (reader && reader->alive && reads_as_data(*reader, v))
          t.readers.push_back(vertex.at(reader));
        else
          ++t.float_readers;
      }
      t.quantize_ns = cost.quantize_ns(v, shapes);
      t.dequantize_ns = cost.dequantize_ns(v, shapes);
      // Some kernels give floats, where nothing wants the integers.
      if (producer && producer->fusion == Fusion::kIntegerOrFloatOutput && t.readers.empty())
        t.dequantize_ns = 0;
      tensors.push_back(std::move(t));
    };
    for (size_t i : candidate_of) {
      const IntegerNode& n = candidates_[i].integer;
      for (Value* v : data_inputs(n)) add(*v);
      for (int o = 0; o < n.node->num_outputs(); ++o)
        if (n.node->has_output(o)) add(o == 0 ? n.result() : n.node->output(o));
    }
    for (const AttentionProducts& a : find_attention_products(graph_)) {
      // As a value that each of them wants on integers.
      WeighedTensor lost;
      for (const Node* n : a.nodes())
        if (const auto it = index_.find(n); it != index_.end() && candidates_[it->second].alive)
          lost.readers.push_back(vertex.at(&candidates_[it->second]));
      lost.quantize_ns = lost_attention_ns(a, shapes);
      tensors.push_back(std::move(lost));
    }
    const std::vector<bool> integer = cheapest_placement(nodes, tensors);
    bool changed = false;
    for (size_t k = 0; k < integer.size(); ++k) {
      if (integer[k]) continue;
      candidates_[candidate_of[k]].alive = false;
      candidates_[candidate_of[k]].reason = kNoGain;
      changed = true;
    }
    return changed;
  }

  Placement result() {
    Placement p;
    std::map<int, QuantizedTensor> tensors;
    std::set<const Node*> absorbed;
    const auto quantized = [&](Value& v) -> QuantizedTensor& {
      QuantizedTensor& t = tensors[v.id()];
      if (!t.value) t.value = t.range_owner = &v;
      return t;
    };
    for (Candidate& c : candidates_) {
      IntegerNode& n = c.integer;
      if (!c.alive) {
        reasons_[n.node] = c.reason;
        continue;
      }
      if (c.fusion == Fusion::kIntegerOrFloatOutput)
        n.quantized_output = options_.ort_compat || has_integer_consumer(n.result()) ||
                             (options_.quantize_outputs && n.result().is_graph_output()) ||
                             before_activation(*n.node);
      if (n.result().type().dtype != DataType::kFloat) n.quantized_output = false;
      n.kernel = n.quantized_output || c.target->float_output_op.empty()
                     ? c.target->integer_op
                     : c.target->float_output_op;
      for (Value* v : data_inputs(n)) quantized(*v);
      if (is_activation(*n.node) && n.node->input(0).has_one_use()) {
        // onnxruntime's quantizer: what else it could be is of no use.
        QuantizedTensor& t = quantized(n.node->input(0));
        std::tie(t.low, t.high) = activation_bounds(*n.node).value_or(std::pair(t.low, t.high));
      }
      if (n.handler->role == Role::kPassThrough && !n.activation) {
        for (int i = 0; i < n.node->num_outputs(); ++i)
          if (n.node->has_output(i) && n.node->output(i).type().dtype == DataType::kFloat)
            quantized(n.node->output(i)).range_owner = quantized(n.node->input(0)).range_owner;
      } else if (n.quantized_output) {
        QuantizedTensor& t = quantized(n.result());
        if (n.handler->unit_output && !options_.ort_compat) {
          // Not more, but often far less: of a row of a thousand no probability need reach 1/512.
          t.low = 0;
          t.high = 1;
          t.one_sided = true;
        }
        if (n.activation) {
          const auto bounds = *activation_bounds(*n.activation);
          t.low = bounds.first;
          t.high = bounds.second;
          t.one_sided = bounds.first == 0;
          absorbed.insert(n.activation);
        }
      }
      p.nodes.push_back(n);
    }
    std::set<const Value*> owners;
    for (auto& [id, t] : tensors) {
      // Owners may have been found before their own owner was: follow to the root.
      while (tensors[t.range_owner->id()].range_owner != t.range_owner)
        t.range_owner = tensors[t.range_owner->id()].range_owner;
      if (!t.range_owner->constant()) owners.insert(t.range_owner);
    }
    for (auto& [id, t] : tensors) {
      // Behind a mask, where it stays float, it has the same range.
      const Node* maker = t.value->producer();
      t.unit_range =
          options_.ort_compat && maker && maker->is("Softmax") && !options_.exclude.matches(*maker);
      p.tensors.push_back(t);
      if (owners.contains(t.value) && !t.unit_range) p.watched.push_back(t.value);
    }
    std::map<const Node*, std::string_view> kernels;
    for (const IntegerNode& n : p.nodes)
      kernels[n.node] = n.kernel.empty() ? std::string_view("on integers") : n.kernel;
    for (Node& n : graph_.nodes()) {
      NodeDecision d;
      d.node = &n;
      if (const auto it = kernels.find(&n); it != kernels.end()) {
        d.integer = true;
        d.kernel = it->second;
      } else if (absorbed.contains(&n)) {
        d.integer = true;
        d.kernel = "absorbed";
      } else {
        const auto r = reasons_.find(&n);
        d.reason = r == reasons_.end() ? kNoForm : r->second;
      }
      p.decisions.push_back(d);
    }
    return p;
  }

  const Graph& graph_;
  const QuantizeOptions& options_;
  const Weighing& weighing_;
  std::set<const Node*> scores_;
  std::vector<const Node*> wrong_;  // for the target's integer kernel
  std::vector<Candidate> candidates_;
  std::unordered_map<const Node*, size_t> index_;
  std::unordered_map<const Node*, const char*> reasons_;
};

}  // namespace

std::set<const Node*> Placement::integer_nodes() const {
  std::set<const Node*> out;
  for (const IntegerNode& n : nodes) out.insert(n.node);
  return out;
}

TypicalShapes typical_shapes(const Model& model, const QuantizeOptions& options) {
  const std::unique_ptr<Model> copy = model.clone();
  // What was inferred with open extents would stand in the way of the known ones.
  for (Value* v : copy->graph().values())
    if (v->producer()) v->set_type({});
  for (Value* v : copy->graph().inputs()) {
    const auto it = options.input_shapes.find(v->name());
    if (it == options.input_shapes.end()) continue;
    ValueType type = v->type();
    type.shape.emplace();
    for (int64_t d : it->second) type.shape->push_back(Dim::of(d));
    v->set_type(std::move(type));
  }
  TypicalShapes shapes;
  if (!infer_graph(copy->graph()).ok()) return shapes;
  for (const Value* v : copy->graph().values())
    if (auto dims = v->type().static_dims()) shapes.emplace(v->name(), *std::move(dims));
  return shapes;
}

Placement place(const Model& model, const QuantizeOptions& options, const Weighing& weighing) {
  return Placer(model, options, weighing).run();
}

}  // namespace onnxtool
