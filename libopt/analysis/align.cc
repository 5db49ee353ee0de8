#include "libopt/analysis/align.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "libopt/analysis/provenance.h"
#include "libopt/analysis/qdq_movers.h"
#include "libopt/io/encode.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

// Longest first: one ending may hold another.
constexpr std::string_view kEndings[] = {"_DequantizeLinear_Output",
                                         "_QuantizeLinear_Input",
                                         "_DequantizeLinear",
                                         "_QuantizeLinear_Output",
                                         "_QuantizeLinear",
                                         "_dequantized",
                                         "_quantized"};

// Leaves the meaning of its input 0 as it is, up to precision.
bool is_transparent(const Node& n) {
  return n.is("QuantizeLinear") || n.is("DequantizeLinear") || n.is("Cast") || n.is("Identity") ||
         ((n.op_type() == "QuantizeLinear" || n.op_type() == "DequantizeLinear") &&
          n.domain() == "com.microsoft");
}

// Values that no input changes: initializers (defaults of inputs too) and what is computed from
// them.
std::unordered_set<const Value*> constants_of(const Graph& graph) {
  std::unordered_set<const Value*> out;
  for (const Node& n : graph.nodes()) {
    bool all = true;
    for (const Value* v : n.inputs()) {
      if (!v) continue;
      if (v->initializer()) out.insert(v);
      all &= out.contains(v);
    }
    n.for_each_subgraph([&](Graph&) { all = false; });
    if (!all || n.op_type().starts_with("Random")) continue;
    for (const Value* v : n.outputs())
      if (v) out.insert(v);
  }
  return out;
}

const Value& origin(const Value& v) {
  const Value* at = &v;
  for (int depth = 0; depth < 64; ++depth) {
    const Node* p = at->producer();
    if (!p || !is_transparent(*p) || !p->has_input(0)) break;
    at = &p->input(0);
  }
  return *at;
}

bool contradicts(const Value& a, const Value& b) {
  const auto &x = a.type().shape, &y = b.type().shape;
  if (!x || !y) return false;
  if (x->size() != y->size()) return true;
  for (size_t i = 0; i < x->size(); ++i)
    if ((*x)[i].value && (*y)[i].value && (*x)[i].value != (*y)[i].value) return true;
  return false;
}

// What tells apart two nodes that read the same values: attributes, and shapes of constants.
std::string detail_of(const Node& n) {
  std::map<std::string, std::string> attributes;
  for (const Attribute& a : n.attributes())
    if (a.kind != AttributeKind::kGraph && a.kind != AttributeKind::kGraphs)
      attributes[a.name] = encode_attribute(a).flatten();
  std::string out;
  for (const auto& [name, bytes] : attributes) out += name + "=" + bytes + ";";
  for (const Value* v : n.inputs()) {
    const Tensor* t = v ? origin(*v).constant() : nullptr;
    if (t && t->count() > 1) out += format_dims(t->dims());
  }
  return out;
}

bool is_number(const std::string& name) {
  return std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The product on integers that a value is scaled from; nullptr: none. Dynamic quantization writes
// it as Add(Mul(Cast(ConvInteger(...)), scale), bias).
const Node* integer_product(const Value& v, int depth = 0) {
  const Node* p = v.producer();
  if (!p || depth > 5) return nullptr;
  if (p->is("ConvInteger") || p->is("MatMulInteger")) return p;
  if (!p->is("Add") && !p->is("Mul") && !p->is("Cast") && !p->is("Reshape")) return nullptr;
  for (const Value* in : p->inputs())
    if (const Node* found = in ? integer_product(*in, depth + 1) : nullptr) return found;
  return nullptr;
}

bool same_operator(const Value& r, const Value& t) {
  const Node *x = origin(r).producer(), *y = origin(t).producer();
  if (!x || !y) return false;
  const Node* product = integer_product(origin(t));
  return base_operator(*x) == base_operator(*y) ||
         (product && base_operator(*x) == base_operator(*product));
}

bool same_shape(const Value& a, const Value& b) {
  return a.type().shape && b.type().shape && !contradicts(a, b) &&
         is_float(a.type().dtype) == is_float(b.type().dtype);
}

// Operators that read a value, also through transparent nodes; "" for a graph output.
std::set<std::string> readers(const Value& v, int depth = 0) {
  std::set<std::string> out;
  if (v.is_graph_output()) out.insert("");
  for (const Use& use : v.uses()) {
    if (!is_transparent(*use.user))
      out.insert(base_operator(*use.user));
    else if (depth < 8 && use.user->has_output(0))
      out.merge(readers(use.user->output(0), depth + 1));
  }
  return out;
}

bool share(const std::set<std::string>& a, const std::set<std::string>& b) {
  return (a.empty() && b.empty()) ||
         std::any_of(a.begin(), a.end(), [&](const std::string& s) { return b.contains(s); });
}

// What readers see of a value that is only read as codes: the result of DequantizeLinear behind
// QuantizeLinear. A Relu that was left to the codes' range shows there, and the rounding is the
// value's.
const Value& as_read(const Value& v) {
  const Value* seen = nullptr;
  for (const Use& q : v.uses()) {
    if (q.user->op_type() != "QuantizeLinear" || q.index != 0 || !q.user->has_output(0)) return v;
    for (const Use& d : q.user->output(0).uses())
      if (!seen && d.user->op_type() == "DequantizeLinear" && d.index == 0 && d.user->has_output(0))
        seen = &d.user->output(0);
  }
  return seen && !v.is_graph_output() ? *seen : v;
}

// Whether what the readers of codes see (as_read()) ends at 0 though the value does not: its codes
// start there.
bool is_cut_off(const Value& seen) {
  const Node* dq = seen.producer();
  const DataType codes = dq->input(0).type().dtype;
  const Tensor* zero = dq->has_input(2) ? dq->input(2).constant() : nullptr;
  if (is_float(codes) || (dq->has_input(2) && (!zero || zero->count() != 1))) return false;
  const double lowest = is_signed(codes) ? -std::ldexp(1.0, bits_of(codes) - 1) : 0;
  return (zero ? zero->to_doubles()[0] : 0) == lowest;
}

// Whether a Relu or Clip reads it, and nothing else, behind operators that move elements.
bool ends_in_activation(const Value& v) {
  const Value* at = &v;
  while (at->has_one_use() && !at->is_graph_output()) {
    const Node& user = *at->uses()[0].user;
    if (user.is("Relu") || user.is("Clip")) return true;
    if (!is_passed_by_qdq(user) || at->uses()[0].index != 0) return false;
    at = &user.output(0);
  }
  return false;
}

class Alignment {
 public:
  Alignment(const Graph& reference, const Graph& test)
      : reference_(reference), test_(test), constant_(constants_of(reference)) {
    constant_.merge(constants_of(test));
  }

  std::vector<AlignedValues> run() {
    pair_inputs();
    pair_provenance();
    pair_names();
    pair_structure();
    std::vector<AlignedValues> out;
    for (const Node& n : reference_.nodes())
      for (const Value* r : n.outputs())
        if (const auto it = r ? found_.find(r) : found_.end(); it != found_.end())
          out.push_back(it->second);
    return out;
  }

 private:
  // What a value of the test graph stands for; nullptr: not known.
  const Value* meaning(const Value& t) const {
    const Value* at = &t;
    for (int depth = 0; depth < 64; ++depth) {
      if (const auto it = means_.find(at); it != means_.end()) return it->second;
      const Node* p = at->producer();
      if (!p || !is_transparent(*p) || !p->has_input(0)) return nullptr;
      at = &p->input(0);
    }
    return nullptr;
  }

  void pair(const Value& r, const Value& t, AlignedValues::By by) {
    const Value& seen = as_read(t);
    // The activation that is left to the codes stood further down in the reference, which has no
    // such value then.
    if (&seen != &t && is_cut_off(seen) && ends_in_activation(r)) return;
    found_.emplace(&r, AlignedValues{&r, &seen, by});
    taken_.insert({&t, &seen});
    means_.emplace(&t, &origin(r));
    means_.emplace(&seen, &origin(r));
  }

  void pair_inputs() {
    std::unordered_map<std::string, const Value*> by_name;
    std::vector<const Value*> ours, theirs;
    for (const Value* v : reference_.inputs())
      if (!v->initializer()) ours.push_back(v), by_name.emplace(v->name(), v);
    for (const Value* v : test_.inputs())
      if (!v->initializer()) theirs.push_back(v);
    for (size_t i = 0; i < theirs.size(); ++i) {
      const auto it = by_name.find(theirs[i]->name());
      if (it != by_name.end())
        means_.emplace(theirs[i], it->second);
      else if (ours.size() == theirs.size())
        means_.emplace(theirs[i], ours[i]);
    }
  }

  // Of several nodes that were made of one the last gives its result.
  void pair_provenance() {
    const auto made_of = provenance_of(test_);
    if (made_of.empty()) return;
    std::unordered_map<std::string, const Node*> known, last;
    for (const Node& n : reference_.nodes()) known.emplace(provenance_name(n), &n);
    for (const Node& t : test_.nodes())
      if (const auto it = made_of.find(provenance_name(t)); it != made_of.end())
        last[it->second.back()] = &t;
    for (const auto& [original, t] : last) {
      const auto r = known.find(original);
      if (r != known.end() && r->second->has_output(0) && t->has_output(0) &&
          !contradicts(r->second->output(0), t->output(0)))
        pair(r->second->output(0), t->output(0), AlignedValues::By::kProvenance);
    }
  }

  void pair_names() {
    std::unordered_map<std::string, const Value*> plain, ended;
    for (const Node& n : test_.nodes())
      for (const Value* t : n.outputs()) {
        if (!t) continue;
        plain.emplace(t->name(), t);
        for (const std::string_view ending : kEndings)
          if (t->name().ends_with(ending)) {
            // Floats serve better than codes.
            const std::string stem = t->name().substr(0, t->name().size() - ending.size());
            const auto [it, fresh] = ended.emplace(stem, t);
            if (!fresh && !is_float(it->second->type().dtype) && is_float(t->type().dtype))
              it->second = t;
            break;
          }
      }
    const bool numbers_count = same_numbering(plain);
    // Exporters number what has no name, and another export numbers it anew: such a name says
    // nothing where the operators differ, unless the others show that the numbers are the same.
    const auto says_nothing = [&](const Value& r, const Value& t) {
      return is_number(r.name()) && !same_operator(r, t) && !(numbers_count && same_shape(r, t));
    };
    for (const Node& n : reference_.nodes())
      for (const Value* r : n.outputs()) {
        if (!r || found_.contains(r)) continue;
        for (const auto* names : {&plain, &ended}) {
          const auto it = names->find(r->name());
          if (it == names->end() || contradicts(*r, *it->second) || says_nothing(*r, *it->second) ||
              taken_.contains(it->second))
            continue;
          pair_as_read(*r, *it->second, AlignedValues::By::kName);
          break;
        }
      }
  }

  // Whether nearly all numbers that both graphs use as names stand for the same operator and shape.
  bool same_numbering(const std::unordered_map<std::string, const Value*>& named) const {
    constexpr size_t kFewest = 8;  // of less the agreement may be chance
    size_t shared = 0, equal = 0;
    for (const Node& n : reference_.nodes())
      for (const Value* r : n.outputs()) {
        const auto it = r && is_number(r->name()) ? named.find(r->name()) : named.end();
        if (it == named.end()) continue;
        ++shared;
        equal += same_operator(*r, *it->second) && !contradicts(*r, *it->second);
      }
    return shared >= kFewest && equal * 10 >= shared * 8;
  }

  // A fused node often keeps the name of its first part: Conv with a BatchNormalization folded into
  // it. Where nobody reads the value as before, it stands for the result of what vanished behind
  // it.
  void pair_as_read(const Value& named, const Value& t, AlignedValues::By by) {
    const auto theirs = readers(t);
    const Value* r = &named;
    for (int step = 0; step < 5; ++step) {
      if (share(readers(*r), theirs)) {
        if (!found_.contains(r) && !taken_.contains(&t) && !contradicts(*r, t)) pair(*r, t, by);
        return;
      }
      if (r->uses().size() != 1 || r->is_graph_output() || !r->uses()[0].user->has_output(0))
        return;
      const Node& vanished = *r->uses()[0].user;
      if (&vanished.graph() != &reference_) return;
      r = &vanished.output(0);
    }
  }

  // Operator and what its variable inputs stand for; nullopt where one is not known.
  std::optional<std::string> key_of(const Node& n, bool of_test) const {
    std::string key = base_operator(n);
    for (const Value* v : n.inputs()) {
      if (!v || constant_.contains(v)) continue;
      const Value* m = of_test ? meaning(*v) : &origin(*v);
      if (!m) return std::nullopt;
      key += ' ' + std::to_string(m->id());
    }
    return key;
  }

  void pair_structure() {
    // Reference nodes by what they read; each list in order.
    std::unordered_map<std::string, std::vector<const Node*>> open;
    for (const Node& n : reference_.nodes())
      if (is_open(n)) open[*key_of(n, false)].push_back(&n);
    std::vector<const Node*> nodes;
    for (const Node& n : test_.nodes())
      if (n.has_output(0) && !taken_.contains(&n.output(0)) && !constant_.contains(&n.output(0)) &&
          !is_transparent(n))
        nodes.push_back(&n);
    // Nodes of a kind on the same inputs come as a group; later ones wait for what earlier ones
    // mean.
    for (const Node* n : nodes) {
      const auto key = key_of(*n, true);
      if (!key || done_.contains(*key)) continue;
      done_.insert(*key);
      std::vector<const Node*> group;
      // Siblings read the same values, so they are among the users of one of them.
      for (const Node* s : siblings(*n))
        if (key_of(*s, true) == key) group.push_back(s);
      if (const auto it = open.find(*key); it != open.end()) pair_group(it->second, group);
    }
  }

  bool is_open(const Node& n) const {
    return n.has_output(0) && !found_.contains(&n.output(0)) && !constant_.contains(&n.output(0)) &&
           !is_transparent(n);
  }

  // The node and those that read the same first variable value, through transparent nodes, in
  // order.
  std::vector<const Node*> siblings(const Node& n) const {
    std::vector<const Node*> out{&n};
    for (const Value* v : n.inputs()) {
      if (!v || constant_.contains(v)) continue;
      collect(origin(*v), out, 0);
      break;
    }
    std::sort(out.begin(), out.end(),
              [](const Node* a, const Node* b) { return a->id() < b->id(); });
    out.erase(std::unique(out.begin(), out.end()), out.end());
    std::erase_if(out, [&](const Node* s) {
      return &s->graph() != &test_ || !s->has_output(0) || taken_.contains(&s->output(0));
    });
    return out;
  }
  void collect(const Value& v, std::vector<const Node*>& out, int depth) const {
    for (const Use& use : v.uses()) {
      if (!is_transparent(*use.user))
        out.push_back(use.user);
      else if (depth < 8 && use.user->has_output(0))
        collect(use.user->output(0), out, depth + 1);
    }
  }

  void pair_group(const std::vector<const Node*>& reference, const std::vector<const Node*>& test) {
    std::map<std::string, std::pair<std::vector<const Node*>, std::vector<const Node*>>> kinds;
    const bool single = reference.size() == 1 && test.size() == 1;
    for (const Node* n : reference) kinds[single ? "" : detail_of(*n)].first.push_back(n);
    for (const Node* n : test) kinds[single ? "" : detail_of(*n)].second.push_back(n);
    for (const auto& [detail, lists] : kinds) {
      if (lists.first.size() != lists.second.size()) continue;
      for (size_t i = 0; i < lists.first.size(); ++i)
        pair_outputs(*lists.first[i], *lists.second[i]);
    }
  }

  void pair_outputs(const Node& r, const Node& t) {
    for (int i = 0; i < std::min(r.num_outputs(), t.num_outputs()); ++i) {
      if (!r.has_output(i) || !t.has_output(i) || found_.contains(&r.output(i)) ||
          taken_.contains(&t.output(i)))
        continue;
      if (!contradicts(r.output(i), t.output(i)))
        pair_as_read(r.output(i), t.output(i), AlignedValues::By::kStructure);
    }
  }

  const Graph &reference_, &test_;
  std::unordered_set<const Value*> constant_;
  std::unordered_map<const Value*, AlignedValues> found_;  // by the reference's value
  std::unordered_set<const Value*> taken_;                 // values of the test graph
  std::unordered_map<const Value*, const Value*> means_;   // test value -> origin in the reference
  std::unordered_set<std::string> done_;
};

}  // namespace

std::vector<AlignedValues> align_values(const Graph& reference, const Graph& test) {
  return Alignment(reference, test).run();
}

std::string base_operator(const Node& n) {
  const std::string& op = n.op_type();
  if (op.starts_with("QLinear") && op.size() > 7) return op.substr(7);
  if (op == "QGemm" || op == "FusedGemm") return "Gemm";
  if (op == "ConvInteger" || op == "FusedConv") return "Conv";
  if (op == "MatMulInteger" || op == "FusedMatMul" || op == "MatMulNBits") return "MatMul";
  return op;
}

CodeParams code_params(const Value& value) {
  const Value* at = &value;
  for (int depth = 0; depth < 64; ++depth) {
    const Node* p = at->producer();
    if (!p) return {};
    const std::string& op = p->op_type();
    int scale = -1;
    if (op == "QuantizeLinear")
      scale = 1;
    else if (op == "QLinearConv" || op == "QLinearMatMul" || op == "QLinearAdd" ||
             op == "QLinearMul")
      scale = 6;
    else if (op == "QGemm")
      scale = 7;
    else if (op == "QLinearConcat")
      scale = 0;
    else if (op.starts_with("QLinear"))
      scale = 3;
    if (scale >= 0) {
      if (!p->has_input(scale)) return {};
      const Tensor* s = p->input(scale).constant();
      const Tensor* z = p->has_input(scale + 1) ? p->input(scale + 1).constant() : nullptr;
      if (!s || s->count() != 1 || !is_float(s->dtype()) ||
          (p->has_input(scale + 1) && (!z || z->count() != 1)))
        return {};
      return {s->to_doubles()[0], z ? z->to_doubles()[0] : 0};
    }
    const bool moves = op == "MaxPool" || op == "Reshape" || op == "Transpose" || op == "Flatten" ||
                       op == "Squeeze" || op == "Unsqueeze" || op == "Identity";
    if (!moves || !p->has_input(0)) return {};
    at = &p->input(0);
  }
  return {};
}

}  // namespace onnxtool
