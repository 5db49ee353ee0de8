#include "libopt/analysis/digest.h"

#include <algorithm>
#include <unordered_map>

#include "libopt/analysis/attribute_defaults.h"
#include "libopt/analysis/effects.h"
#include "libopt/analysis/seam.h"
#include "libopt/analysis/structure_keys.h"
#include "libopt/analysis/tensor_text.h"
#include "libopt/io/sparse_initializers.h"
#include "libopt/ir/constant.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

// Writes values with their lengths, so that no two sequences look the same.
class Hasher {
 public:
  Hasher& text(std::string_view s) {
    number(static_cast<int64_t>(s.size()));
    sha_.add(s);
    return *this;
  }
  Hasher& number(int64_t v) {
    sha_.add(std::as_bytes(std::span(&v, 1)));
    return *this;
  }
  Hasher& bytes(std::span<const std::byte> b) {
    number(static_cast<int64_t>(b.size()));
    sha_.add(b);
    return *this;
  }
  std::string hex() { return sha_.hex(); }

 private:
  Sha256 sha_;
};

class Digester {
 public:
  explicit Digester(const Model& model) : model_(model) {}

  std::string run() {
    const Graph& g = model_.graph();
    Hasher h;
    h.text("onnxtool-digest-1");
    for (const Value* v : g.inputs()) h.text(v->name()).text(type_text(*v));
    h.text("outputs");
    digest_body(g, "graph");
    for (const Value* v : g.outputs()) h.text(v->name()).text(values_.at(v));
    return h.text(opaque_).hex();
  }

 private:
  static std::string type_text(const Value& v) {
    ValueType t = v.type();
    t.denotation.clear();
    return format_type(t);
  }

  static void tensor(Hasher& h, const Tensor& t) {
    h.number(static_cast<int64_t>(t.dtype())).number(t.rank());
    for (const int64_t d : t.dims()) h.number(d);
    if (t.dtype() != DataType::kString)
      h.bytes(t.bytes());
    else
      for (const std::string& s : t.strings()) h.text(s);
  }

  // Digests of all values that the graph defines; `place` tells its inputs from those of other
  // graphs.
  void digest_body(const Graph& g, const std::string& place) {
    for (size_t i = 0; i < g.inputs().size(); ++i) {
      Hasher h;
      h.text("input").text(place).number(static_cast<int64_t>(i));
      if (const Tensor* t = g.inputs()[i]->initializer()) tensor(h, *t);
      values_[g.inputs()[i]] = h.hex();
    }
    for (const Value* v : g.initializers()) {
      if (v->is_graph_input()) continue;
      constant(*v, *v->initializer());
    }
    // What else no node makes: sparse initializers.
    const auto sparse = sparse_initializer_texts(g);
    for (const Value* v : g.values())
      if (!v->producer() && !values_.contains(v)) {
        const auto text = sparse.find(v->name());
        values_[v] =
            Hasher().text("other").text(text == sparse.end() ? v->name() : text->second).hex();
      }
    for (const std::string& field : g.opaque_fields)
      if (const auto is_sparse = sparse_initializer(field); !is_sparse.ok() || !*is_sparse)
        opaque_ += field;
    for (Node& n : g.nodes()) node(n, place);
  }

  void constant(const Value& v, const Tensor& t) {
    Hasher h;
    tensor(h.text("constant"), t);
    values_[&v] = h.hex();
  }

  void node(const Node& n, const std::string& place) {
    // Where a constant is stored is serialization.
    if (const auto t = constant_of(n); t && n.has_output(0)) return constant(n.output(0), *t);
    Hasher h;
    h.text("node").text(n.op_type()).text(n.domain()).text(n.overload());
    const auto schema = find_schema(n.op_type(), n.domain(), n.opset());
    h.number(schema ? schema->since_version : n.opset());
    if (const Function* f = find_function(n)) h.text(function(*f));
    // Absent inputs at the end say nothing, nor does a default that is written out.
    int inputs = n.num_inputs();
    while (inputs > 0 && !n.has_input(inputs - 1)) --inputs;
    for (int i = 0; i < inputs; ++i) h.text(n.has_input(i) ? values_.at(&n.input(i)) : "");
    outputs(h, n);
    std::vector<const Attribute*> sorted;
    for (const Attribute& a : n.attributes())
      if (!is_default_attribute(n, a)) sorted.push_back(&a);
    std::ranges::sort(sorted, {}, [](const Attribute* a) { return std::string_view(a->name); });
    for (const Attribute* a : sorted) attribute(h, *a, place);
    std::string own = h.hex();
    // Two draws of chance are not one draw used twice.
    if (!is_deterministic(n) || may_have_effects(n))
      own = Hasher().text(own).number(occurrences_[own]++).hex();
    for (int i = 0; i < n.num_outputs(); ++i)
      if (n.has_output(i)) values_[&n.output(i)] = Hasher().text(own).number(i).hex();
  }

  // Which results are made: absent ones at the end say nothing.
  static void outputs(Hasher& h, const Node& n) {
    int count = n.num_outputs(), made = 0;
    while (count > 0 && !n.has_output(count - 1)) --count;
    for (int i = 0; i < count; ++i) made += n.has_output(i);
    h.number(made == count ? count : -count);
    if (made == count) return;
    for (int i = 0; i < count; ++i) h.number(n.has_output(i));
  }

  void attribute(Hasher& h, const Attribute& a, const std::string& place) {
    h.text(a.name).number(static_cast<int64_t>(a.kind)).text(a.ref);
    std::visit([&](const auto& value) { add(h, value, place); }, a.value);
  }

  void add(Hasher&, std::monostate, const std::string&) {}
  void add(Hasher& h, float f, const std::string&) { h.bytes(std::as_bytes(std::span(&f, 1))); }
  void add(Hasher& h, int64_t i, const std::string&) { h.number(i); }
  void add(Hasher& h, const std::string& s, const std::string&) { h.text(s); }
  void add(Hasher& h, const NamedTensor& t, const std::string&) { tensor(h, t.tensor); }
  void add(Hasher& h, const ValueType& t, const std::string&) { h.text(format_type(t)); }
  void add(Hasher& h, const SparseTensor& s, const std::string&) {
    tensor(h, s.values.tensor);
    tensor(h, s.indices.tensor);
    for (const int64_t d : s.dims) h.number(d);
  }
  void add(Hasher& h, const std::unique_ptr<Graph>& g, const std::string& place) {
    digest_body(*g, place + "/" + std::to_string(depth_++));
    --depth_;
    h.number(static_cast<int64_t>(g->inputs().size()));
    for (const Value* v : g->inputs()) h.text(element_type_text(v->type()));
    h.number(static_cast<int64_t>(g->outputs().size()));
    for (const Value* v : g->outputs()) h.text(values_.at(v));
  }
  template <class T>
  void add(Hasher& h, const std::vector<T>& list, const std::string& place) {
    h.number(static_cast<int64_t>(list.size()));
    for (const T& item : list) add(h, item, place);
  }

  const Function* find_function(const Node& n) const {
    for (const Function& f : model_.functions)
      if (f.name == n.op_type() && f.domain == n.domain() && f.overload == n.overload()) return &f;
    return nullptr;
  }

  // Once each, however often it is called. A body that calls itself gives its name: it can never
  // run.
  std::string function(const Function& f) {
    if (const auto known = functions_.find(&f); known != functions_.end()) return known->second;
    functions_[&f] = Hasher().text("function").text(f.name).hex();
    digest_body(*f.body, "function");
    Hasher h;
    h.number(static_cast<int64_t>(f.body->inputs().size()));
    for (const Value* v : f.body->outputs()) h.text(values_.at(v));
    for (const std::string& a : f.attributes) h.text(a);
    for (const OpsetImport& o : f.opsets) h.text(o.domain).number(o.version);
    for (const Attribute& a : f.attribute_defaults) attribute(h, a, "function");
    return functions_[&f] = h.hex();
  }

  const Model& model_;
  std::unordered_map<const Value*, std::string> values_;
  std::unordered_map<const Function*, std::string> functions_;
  std::unordered_map<std::string, int64_t> occurrences_;
  std::string opaque_;  // fields that nobody reads, as they stand in the file
  int depth_ = 0;
};

}  // namespace

std::string semantic_digest(const Model& model) { return Digester(model).run(); }

}  // namespace onnxtool
