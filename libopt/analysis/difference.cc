#include "libopt/analysis/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

#include "libopt/analysis/graph_difference.h"
#include "libopt/analysis/tensor_text.h"
#include "libopt/ir/unread.h"

namespace onnxtool {
namespace {

class Comparison {
 public:
  Comparison(const Model& a, const Model& b)
      : a_(a),
        b_(b),
        keyed_a_(a.graph(), shared_.keys),
        keyed_b_(b.graph(), shared_.keys),
        main_(a.graph(), b.graph(), keyed_a_, keyed_b_, GraphComparison::Face::kNames, "",
              shared_) {}

  std::vector<Difference> run() {
    header();
    main_.run();
    functions();
    return std::move(shared_.out);
  }

 private:
  void changed(std::string place, std::string what) {
    shared_.changed(std::move(place), std::move(what));
  }
  void changed_if(bool differs, const std::string& place, const std::string& before,
                  const std::string& after) {
    if (differs) changed(place, before + " -> " + after);
  }

  // `place` of the function that imports them; empty: the model.
  void opsets(const std::vector<OpsetImport>& a, const std::vector<OpsetImport>& b,
              const std::string& place) {
    std::map<std::string, std::array<int64_t, 2>> versions;
    for (const OpsetImport& o : a) versions[o.domain == "ai.onnx" ? "" : o.domain][0] = o.version;
    for (const OpsetImport& o : b) versions[o.domain == "ai.onnx" ? "" : o.domain][1] = o.version;
    const auto text = [](int64_t v) { return v ? std::to_string(v) : std::string("none"); };
    for (const auto& [d, v] : versions) {
      const std::string name = "opset '" + (d.empty() ? "ai.onnx" : d) + "'";
      if (v[0] == v[1]) continue;
      const std::string change = text(v[0]) + " -> " + text(v[1]);
      if (place.empty())
        changed(name, change);
      else
        changed(place, name + ": " + change);
    }
  }

  void header() {
    changed_if(a_.ir_version != b_.ir_version, "IR version", std::to_string(a_.ir_version),
               std::to_string(b_.ir_version));
    opsets(a_.opsets, b_.opsets, "");
    std::map<std::string, std::string> before(a_.metadata.begin(), a_.metadata.end()),
        after(b_.metadata.begin(), b_.metadata.end());
    for (const auto& [key, value] : before)
      if (!after.contains(key))
        shared_.out.push_back({Difference::Kind::kRemoved, "metadata '" + key + "'", value});
      else
        changed_if(after[key] != value, "metadata '" + key + "'", "'" + value + "'",
                   "'" + after[key] + "'");
    for (const auto& [key, value] : after)
      if (!before.contains(key))
        shared_.out.push_back({Difference::Kind::kAdded, "metadata '" + key + "'", value});
    faces(a_.graph().inputs(), b_.graph().inputs(), "input");
    faces(a_.graph().outputs(), b_.graph().outputs(), "output");
  }

  // By name: this is what programs rely on.
  void faces(const std::vector<Value*>& before, const std::vector<Value*>& after,
             const std::string& word) {
    const auto find = [](const std::vector<Value*>& list, const std::string& name) -> const Value* {
      const auto it =
          std::find_if(list.begin(), list.end(), [&](const Value* v) { return v->name() == name; });
      return it == list.end() ? nullptr : *it;
    };
    for (const Value* v : before) {
      const std::string place = word + " '" + v->name() + "'";
      const Value* other = find(after, v->name());
      if (!other)
        shared_.out.push_back({Difference::Kind::kRemoved, place, format_type(v->type())});
      else
        changed_if(format_type(v->type()) != format_type(other->type()), place,
                   format_type(v->type()), format_type(other->type()));
      if (other && v->initializer() && other->initializer() &&
          !seem_equal(*v->initializer(), *other->initializer()))
        changed(place, "default: " + tensor_change(*v->initializer(), *other->initializer()));
    }
    for (const Value* v : after)
      if (!find(before, v->name()))
        shared_.out.push_back(
            {Difference::Kind::kAdded, word + " '" + v->name() + "'", format_type(v->type())});
    order(before, after, word);
  }

  // Of those that both have: some programs go by it.
  void order(const std::vector<Value*>& before, const std::vector<Value*>& after,
             const std::string& word) {
    std::set<std::string> names;
    for (const Value* v : before) names.insert(v->name());
    std::vector<std::string> left, right;
    for (const Value* v : after)
      if (names.contains(v->name())) right.push_back(v->name());
    names = {right.begin(), right.end()};
    for (const Value* v : before)
      if (names.contains(v->name())) left.push_back(v->name());
    changed_if(left != right, "order of " + word + "s", fmt::format("{}", fmt::join(left, ", ")),
               fmt::format("{}", fmt::join(right, ", ")));
  }

  using FunctionId = std::tuple<std::string, std::string, std::string>;
  static std::map<FunctionId, const Function*> by_name(const Model& model) {
    std::map<FunctionId, const Function*> out;
    for (const Function& f : model.functions) out[{f.domain, f.name, f.overload}] = &f;
    return out;
  }
  static std::string describe(const Function& f) {
    return "function '" + f.domain + "." + f.name + (f.overload.empty() ? "" : ":" + f.overload) +
           "'";
  }

  void functions() {
    const auto before = by_name(a_), after = by_name(b_);
    for (const auto& [id, f] : before)
      if (const auto it = after.find(id); it == after.end())
        shared_.out.push_back({Difference::Kind::kRemoved, describe(*f), ""});
      else
        function(*f, *it->second);
    for (const auto& [id, f] : after)
      if (!before.contains(id)) shared_.out.push_back({Difference::Kind::kAdded, describe(*f), ""});
  }

  // Inputs and outputs by place, since calls pass them so; attributes by name.
  void function(const Function& a, const Function& b) {
    const std::string place = describe(a);
    if (face_of(*a.body) != face_of(*b.body))
      changed(place, face_of(*a.body) + " -> " + face_of(*b.body));
    std::map<std::string, GraphComparison::AttributePair> defaults;
    for (const Attribute& x : a.attribute_defaults) defaults[x.name].first = &x;
    for (const Attribute& y : b.attribute_defaults) defaults[y.name].second = &y;
    for (const auto& [name, pair] : defaults)
      main_.attribute(place, name, "default of attribute '" + name + "'", pair, "none");
    const auto only_in = [&](const Function& one, const Function& other, const char* what) {
      for (const std::string& name : one.attributes)
        if (std::ranges::find(other.attributes, name) == other.attributes.end() &&
            !defaults.contains(name))
          changed(place, "attribute '" + name + "': " + what);
    };
    only_in(a, b, "is gone");
    only_in(b, a, "is new");
    opsets(a.opsets, b.opsets, place);
    KeyedGraph keyed_a(shared_.keys), keyed_b(shared_.keys);
    if (keyed_a.graph_key(*a.body) == keyed_b.graph_key(*b.body)) return;
    const size_t before = shared_.out.size();
    GraphComparison(*a.body, *b.body, keyed_a, keyed_b, GraphComparison::Face::kPlaces,
                    place + ": ", shared_)
        .run();
    // No difference goes by unsaid.
    if (shared_.out.size() == before && face_of(*a.body) == face_of(*b.body))
      changed(place, "its body differs");
  }

  const Model &a_, &b_;
  SharedDifferences shared_;
  KeyedGraph keyed_a_, keyed_b_;
  GraphComparison main_;
};

}  // namespace

std::vector<Difference> model_differences(const Model& a, const Model& b) {
  return Comparison(a, b).run();
}

}  // namespace onnxtool
