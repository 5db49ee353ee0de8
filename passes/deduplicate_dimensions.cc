// Gives extents that are equal one name, where two values are added behind a convolution.
//
//   a: float[N, 8, s1, s2], b: float[N, 8, s3, s4], y = Add(a, b)     s3 is s1, s4 is s2
//     =>
//   the same with b: float[N, 8, s1, s2]
//
// Runtimes take extents for equal that have one name or one number: onnxruntime computes such an
// Add with the convolution before it, or in its blocked layout. Exporters number what their own
// inference does not know, or say nothing. What is equal is what inference says from the inputs
// alone. Names that a file has go before new ones. Does not fire: no Conv on either side; shapes
// that runtimes see to be equal, or that are not known to be; inputs and outputs, which are
// declared to callers; a name that stands for other extents besides; a file that would grow beyond
// --max-growth. Source: onnxruntime 1.31, nchwc_transformer.cc, as measured.

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

#include "libopt/analysis/merge_types.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/encode.h"
#include "passes/growth.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

constexpr std::array<std::string_view, 8> kActivations = {
    "Clip", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"};

bool comes_from_conv(const Value& v) {
  const Node* n = v.producer();
  if (n && n->domain().empty() && n->has_input(0) && std::ranges::count(kActivations, n->op_type()))
    n = n->input(0).producer();
  return n && (n->is("Conv") || n->is("FusedConv", "com.microsoft"));
}

bool is_shaped(const Value* v) { return v && v->type().is_tensor() && v->type().shape; }

// Whether runtimes might fuse the addition, and some extent is no number.
bool may_gain(const Node& n) {
  if ((!n.is("Add") && !n.is("Sum")) || n.num_inputs() < 2) return false;
  bool open = false, behind_conv = false;
  for (const Value* v : n.inputs()) {
    if (!is_shaped(v) || v->type().rank() != n.input(0).type().rank() || v->constant() ||
        &v->graph() != &n.graph())
      return false;
    behind_conv |= comes_from_conv(*v);
    open |= std::ranges::any_of(*v->type().shape, [](const Dim& d) { return !d.value; });
  }
  return open && behind_conv;
}

bool is_declared(const Value& v) {
  return v.has_value_info || v.is_graph_input() || v.is_graph_output();
}

bool is_promised(const Value& v) { return v.is_graph_input() || v.is_graph_output(); }

// What a runtime infers from what the file says.
std::unique_ptr<Model> as_runtimes_see(const Model& model) {
  auto copy = model.clone();
  forget_invented_dims(copy->graph());
  for (Value* v : copy->graph().values())
    if (v->producer() && v->producer()->domain().empty() && !is_declared(*v)) v->set_type({});
  infer_strictly(copy->graph(), [](const Node&, const Error&, bool) {});
  return copy;
}

// What inference says when it knows no names but the inputs'.
std::unique_ptr<Model> named_anew(const Model& model) {
  auto copy = model.clone();
  forget_invented_dims(copy->graph());
  for (Value* v : copy->graph().values()) {
    if (!v->producer()) continue;
    ValueType type = is_declared(*v) ? v->type() : ValueType();
    if (type.shape)
      for (Dim& d : *type.shape) d.symbol.clear();
    v->set_type(std::move(type));
  }
  [[maybe_unused]] const bool consistent = infer_graph_naming_dims(copy->graph()).ok();
  return copy;
}

Dim dim_of(const Model& model, const Value& v, size_t axis) {
  const Value* there = model.graph().find(v.name());
  if (!there || !is_shaped(there) || there->type().rank() != v.type().rank()) return {};
  return (*there->type().shape)[axis];
}

// Equal keys are equal extents; empty: unknown.
std::string key_of(const Dim& d) { return d.value ? '=' + std::to_string(*d.value) : d.symbol; }

// What the file calls extents.
class Names {
 public:
  Names(const Graph& graph, const Model& anew) {
    for (const Value* v : graph.values())
      if (is_shaped(v) && is_declared(*v))
        for (size_t axis = 0; axis < v->type().shape->size(); ++axis)
          note((*v->type().shape)[axis].symbol, key_of(dim_of(anew, *v, axis)), is_promised(*v));
    for (const Node& n : graph.nodes()) n.for_each_subgraph([&](Graph& sub) { note_inner(sub); });
    // Those that callers know first, then the shortest.
    const auto rank = [&](const std::string& name) {
      return std::tuple(!names_.at(name).promised, name.size(), std::string_view(name));
    };
    for (const auto& [name, known] : names_) {
      if (known.extent.empty()) continue;
      std::string& best = chosen_[known.extent];
      if (best.empty() || rank(name) < rank(best)) best = name;
    }
  }

  /// The extent as it is to be declared: its number, a name that the file has for it, a new one.
  Dim choose(const Dim& extent) {
    if (extent.value || !is_invented(extent.symbol)) return extent;
    std::string& name = chosen_[extent.symbol];
    while (name.empty())
      if (std::string fresh = "d" + std::to_string(next_++);
          names_.emplace(fresh, Known{extent.symbol, false, 0}).second)
        name = fresh;
    return Dim::named(name);
  }
  /// Whether it stands for one extent everywhere and is not declared to callers.
  bool may_replace(const std::string& name) const {
    const auto it = names_.find(name);
    return it != names_.end() && !it->second.extent.empty() && !it->second.promised;
  }
  int64_t places(const std::string& name) const { return names_.at(name).places; }

 private:
  struct Known {
    std::string extent;  // empty: several, or one that is not known
    bool promised = false;
    int64_t places = 0;
  };

  void note(const std::string& name, const std::string& extent, bool promised) {
    if (name.empty() || is_invented(name)) return;
    Known& known = names_[name];
    if (known.places++ == 0)
      known.extent = extent;
    else if (known.extent != extent)
      known.extent.clear();
    known.promised |= promised;
  }
  void note_inner(const Graph& sub) {
    for (const Value* v : sub.values())
      if (is_shaped(v) && is_declared(*v))
        for (const Dim& d : *v->type().shape) note(d.symbol, {}, false);
    for (const Node& n : sub.nodes()) n.for_each_subgraph([&](Graph& g) { note_inner(g); });
  }

  std::map<std::string, Known> names_;
  std::map<std::string, std::string> chosen_;  // by extent
  int next_ = 0;
};

// Shapes of values, with one name for what is equal.
class Declarations {
 public:
  Declarations(Graph& graph, const Model& seen, const Model& anew)
      : graph_(graph), seen_(seen), anew_(anew), names_(graph, anew) {}

  /// What is to be declared for the addition; a reason: nothing can be.
  const char* prepare(const Node& add) {
    types_.clear();
    renames_.clear();
    bytes_ = 0;
    std::vector<size_t> axes;
    for (size_t axis = 0; axis < add.input(0).type().shape->size(); ++axis) {
      if (is_known(add, seen_, axis)) continue;
      if (!is_known(add, anew_, axis)) return "shapes are not known to be equal";
      axes.push_back(axis);
    }
    for (Value* v : add.inputs())
      if (const char* obstacle = prepare(*v, axes)) return obstacle;
    return nullptr;
  }
  int64_t bytes() const { return bytes_; }

  void declare() {
    for (auto& [v, type] : types_) {
      v->set_type(std::move(type));
      v->has_value_info = true;
    }
    renamed_.merge(renames_);
  }
  /// What else has a name that is replaced.
  void finish() const {
    if (renamed_.empty()) return;
    for (Value* v : graph_.values()) {
      if (!is_shaped(v) || !v->has_value_info) continue;
      ValueType type = v->type();
      for (Dim& d : *type.shape)
        if (const auto it = renamed_.find(d.symbol); it != renamed_.end()) set(d, it->second);
      v->set_type(std::move(type));
    }
  }

  static bool is_known(const Node& add, const Model& model, size_t axis) {
    const Dim first = dim_of(model, add.input(0), axis);
    return !key_of(first).empty() && std::ranges::all_of(add.inputs(), [&](const Value* v) {
      return key_of(dim_of(model, *v, axis)) == key_of(first);
    });
  }

 private:
  static void set(Dim& d, const Dim& target) {
    d.value = target.value;
    d.symbol = target.symbol;
  }

  const char* prepare(Value& v, const std::vector<size_t>& axes) {
    ValueType type = v.type();
    for (Dim& d : *type.shape)
      if (is_invented(d.symbol)) d.symbol.clear();
    const int64_t before = v.has_value_info ? size_of(type) : -size_of_one(v);
    for (const size_t axis : axes) {
      Dim& d = (*type.shape)[axis];
      const Dim target = names_.choose(dim_of(anew_, v, axis));
      if (const auto it = renamed_.find(d.symbol); it != renamed_.end()) set(d, it->second);
      if (key_of(d) == key_of(target)) continue;
      if (is_promised(v)) return "extents are declared to callers";
      if (v.has_value_info && !d.symbol.empty()) {
        if (!names_.may_replace(d.symbol)) return "a name stands for other extents, too";
        if (renames_.emplace(d.symbol, target).second)
          bytes_ += names_.places(d.symbol) * (static_cast<int64_t>(target.symbol.size()) -
                                               static_cast<int64_t>(d.symbol.size()));
      }
      set(d, target);
    }
    if (is_promised(v)) return nullptr;
    bytes_ += size_of(type) - before;
    types_.emplace_back(&v, std::move(type));
    return nullptr;
  }

  static int64_t size_of(const ValueType& type) {
    return static_cast<int64_t>(encode_type(type).size());
  }
  static int64_t size_of_one(const Value& v) {
    constexpr int64_t kAround = 8;  // tags and lengths
    return kAround + static_cast<int64_t>(v.name().size());
  }

  Graph& graph_;
  const Model &seen_, &anew_;
  Names names_;
  std::map<std::string, Dim> renamed_;
  // Of one addition.
  std::vector<std::pair<Value*, ValueType>> types_;
  std::map<std::string, Dim> renames_;
  int64_t bytes_ = 0;
};

void run_graph(Graph& graph, const PassContext& context,
               const std::function<bool(const std::string&)>& may_rewrite) {
  if (graph.parent()) return;
  std::vector<const Node*> adds;
  for (const Node& n : graph.nodes())
    if (may_gain(n)) adds.push_back(&n);
  if (adds.empty()) return;
  const auto seen = as_runtimes_see(graph.model());
  std::erase_if(adds, [&](const Node* add) {
    for (size_t axis = 0; axis < add->input(0).type().shape->size(); ++axis)
      if (!Declarations::is_known(*add, *seen, axis)) return false;
    return true;
  });
  if (adds.empty()) return;
  const auto anew = named_anew(graph.model());
  Declarations declarations(graph, *seen, *anew);
  for (const Node* add : adds) {
    const char* obstacle = declarations.prepare(*add);
    // Nothing leaves the file for it: no growth is negligible.
    if (!obstacle && !may_grow(context, declarations.bytes() + kNegligibleGrowth, 0))
      obstacle = "the file would grow";
    if (obstacle) {
      if (context.on_near_miss) context.on_near_miss(*context.state->running, *add, obstacle);
      continue;
    }
    if (!may_rewrite(add->describe())) break;
    declarations.declare();
  }
  declarations.finish();
}

}  // namespace

constinit const PassInfo kDeduplicateDimensions{
    .name = "deduplicate-dimensions",
    .summary = "give extents one name that are equal where values are added behind a convolution",
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run_graph = run_graph,
    .last = true};
}  // namespace onnxtool
