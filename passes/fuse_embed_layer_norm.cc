// Makes one EmbedLayerNormalization of the rows of tables that are looked up, their sum and its
// normalization.
//
//   y = LayerNormalization(word[ids] + position[positions] + segment[segments], scale, bias)
//     =>
//   y = com.microsoft.EmbedLayerNormalization(ids, segments, word, position, segment, scale, bias,
//                                             , positions)
//
// The segments may be absent, and terms come in any order; ids of 64 bits are cast to 32. Positions
// that count from 0 in every row are left out, with what makes them. A position's rows that are
// constant already are a table too. Does not fire: fewer or more terms; tables that are not known
// to be matrices; ids of another shape than [batch, rows]; the sum is used elsewhere; the
// normalization is over more than the last axis, gives out its moments or has no bias; types other
// than float. (Gather counts negative ids from the end, the operator refuses them; no tokenizer
// makes any.)
//
// onnxruntime's kernel on CPUs takes 1.2 to 1.8 times as long as the nodes (up to 1,024 rows of
// 768), so this fires only where it is asked for. Source: onnxruntime 1.31,
// docs/ContribOperators.md; optimizer/embed_layer_norm_fusion.cc.

#include <algorithm>

#include "libopt/analysis/extent.h"
#include "libopt/analysis/seam.h"
#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Term {
  const Value* table;
  const Value* ids;  // nullptr: the table's rows in order
};

struct Match {
  const Node& norm;
  Term word, position;
  Term segment;  // no table: none
};

bool is_matrix(const Value& v) {
  return v.type().dtype == DataType::kFloat && v.type().rank() == 2;
}

// Whether each row of the constant counts from 0.
bool counts(const Tensor& t) {
  if (t.rank() < 1 || (t.dtype() != DataType::kInt64 && t.dtype() != DataType::kInt32))
    return false;
  const std::vector<int64_t> values = t.to_ints();
  const int64_t columns = t.dims().back();
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i] != static_cast<int64_t>(i) % columns) return false;
  return !values.empty();
}

bool is_number(const Value& v, int64_t number) {
  const Tensor* t = v.constant();
  return t && t->count() == 1 && is_scalar(v, static_cast<double>(number));
}

// Whether there is a row of the value for each of `rows`. A table that is cut to as many, if it has
// them, is as long as what it is added to: it would be broadcast from a single row alone.
bool has_all(const ValueType& type, const Dim& rows) {
  if (!type.shape || type.shape->empty()) return false;
  if (same_dim(type.shape->back(), rows)) return true;
  const auto cut = Extent::of(type.shape->back()), whole = Extent::of(rows);
  return cut && whole && cut->limit_on(*whole).value_or(0) > 1;
}

// Whether each row of the value is 0, 1, ... up to the extent of its last axis.
bool is_counting(const Value& positions, const Dim& rows) {
  const Value* v = &positions;
  while (const Node* n = v->producer()) {
    const bool repeats = n->is("Expand") || n->is("Unsqueeze") || n->is("Cast");
    if (!repeats || !n->has_input(0)) break;
    // Expand repeats rows, not a single element along them.
    if (!has_all(n->input(0).type(), rows)) return false;
    v = &n->input(0);
  }
  if (const Tensor* t = v->constant()) return counts(*t);
  const Node* n = v->producer();
  if (!n || !has_all(v->type(), rows)) return false;
  if (n->is("Range"))
    return n->num_inputs() == 3 && n->has_input(0) && n->has_input(2) &&
           is_number(n->input(0), 0) && is_number(n->input(2), 1);
  if (!n->is("Slice") || n->opset() < 10 || !n->has_input(0) || !n->input(0).constant())
    return false;
  const auto starts = constant_ints(*n, 1), steps = constant_ints(*n, 4);
  const bool from_start =
      starts && std::ranges::all_of(*starts, [](int64_t s) { return s == 0; }) &&
      (!n->has_input(4) ||
       (steps && std::ranges::all_of(*steps, [](int64_t s) { return s == 1; })));
  return from_start && counts(*n->input(0).constant());
}

// The addends of a sum of sums that nothing else reads.
void collect(Pattern& p, const Value& value, std::vector<const Value*>& terms) {
  const Node* add = terms.size() < 4 ? p.take(value, {"Add"}) : nullptr;
  if (!add || add->num_inputs() != 2 || !add->has_input(0) || !add->has_input(1)) {
    terms.push_back(&value);
    return;
  }
  collect(p, add->input(0), terms);
  collect(p, add->input(1), terms);
}

// A Gather that something else reads too stays for that.
std::optional<Term> term_of(const Value& value, const Value& sum) {
  const auto& shape = value.type().shape;
  if (const Tensor* t = value.constant()) {
    // One row for each place, the same in all of a batch.
    const auto& full = *sum.type().shape;
    const bool rows = t->dtype() == DataType::kFloat && shape->size() >= 2 &&
                      (shape->size() == 2 || (*shape)[0].value == 1) &&
                      same_dim((*shape)[shape->size() - 2], full[1]) &&
                      same_dim(shape->back(), full[2]);
    return rows ? std::optional(Term{&value, nullptr}) : std::nullopt;
  }
  const Node* gather = value.producer();
  if (!gather || !gather->is("Gather") || !gather->has_input(0) || !gather->has_input(1) ||
      gather->attr<int64_t>("axis", 0) != 0 || !is_matrix(gather->input(0)))
    return std::nullopt;
  const DataType type = gather->input(1).type().dtype;
  if (type != DataType::kInt64 && type != DataType::kInt32) return std::nullopt;
  return Term{&gather->input(0), &gather->input(1)};
}

const char* why_not_norm(const Node& norm) {
  const Value& x = norm.input(0);
  if (x.type().dtype != DataType::kFloat || x.type().rank() != 3)
    return "sum is not known to be float of three axes";
  const int64_t axis = norm.attr<int64_t>("axis", -1);
  if (axis != -1 && axis != 2) return "normalization is over more than the last axis";
  if (norm.has_output(1) || norm.has_output(2)) return "moments are given out";
  if (!norm.has_input(2) || !is_row_of(norm.input(1), x) || !is_row_of(norm.input(2), x))
    return "scale or bias is no vector of the last extent";
  return nullptr;
}

// Puts each term in its place: the ids of words and segments have a row for each of the batch.
MatchOr<Match> arrange(const Node& norm, const std::vector<Term>& terms) {
  const auto& full = *norm.input(0).type().shape;
  const auto rank_two = [&](const Term& t) -> const std::vector<Dim>* {
    if (!t.ids || t.ids->type().rank() != 2) return nullptr;
    const auto& shape = *t.ids->type().shape;
    return same_dim(shape[1], full[1]) ? &shape : nullptr;
  };
  const auto full_ids = [&](const Term& t) {
    const auto* shape = rank_two(t);
    return shape && same_dim((*shape)[0], full[0]);
  };
  const auto counting = [&](const Term& t) { return !t.ids || is_counting(*t.ids, full[1]); };
  std::vector<Term> rest = terms;
  const auto take = [&](auto&& fits) -> std::optional<Term> {
    const auto at = std::ranges::find_if(rest, fits);
    if (at == rest.end()) return std::nullopt;
    const Term t = *at;
    rest.erase(at);
    return t;
  };
  auto position = take(counting);
  if (position) position->ids = nullptr;
  if (!position)
    position = take([&](const Term& t) {
      const auto* shape = rank_two(t);
      return shape && (*shape)[0].value == 1 && !full_ids(t);
    });
  const auto word = take(full_ids);
  if (!position) position = take(full_ids);
  const auto segment = rest.empty() ? std::nullopt : take(full_ids);
  if (!word || !position || !rest.empty()) return no_match("ids are not known to be [batch, rows]");
  return Match{norm, *word, *position, segment.value_or(Term{nullptr, nullptr})};
}

MatchOr<Match> match(const Node& norm, const PassContext& context) {
  if (!norm.has_input(0) || !norm.has_input(1) || !norm.has_output(0)) return no_match();
  Pattern p(norm);
  std::vector<const Value*> addends;
  collect(p, norm.input(0), addends);
  const auto looks_up = [](const Value* v) { return v->producer() && v->producer()->is("Gather"); };
  if (addends.size() < 2 || std::ranges::none_of(addends, looks_up)) return no_match();
  if (addends.size() > 3) return no_match("sum is of more than three terms");
  if (const char* reason = why_not_norm(norm)) return no_match(reason);
  std::vector<Term> terms;
  for (const Value* v : addends) {
    const auto term = term_of(*v, norm.input(0));
    if (!term) return no_match("a term is no row of a matrix of floats");
    terms.push_back(*term);
  }
  const auto m = arrange(norm, terms);
  if (m && !p.closed()) return no_match(Pattern::kOtherUse);
  if (m && !context.asked_for)
    return no_match("onnxruntime is slower with it; it runs where --passes names it");
  return m;
}

Value* narrowed(const Value* ids, Rewriter& rw) {
  if (!ids || ids->type().dtype == DataType::kInt32) return const_cast<Value*>(ids);
  std::vector<Attribute> to;
  to.push_back(Attribute::of("to", static_cast<int64_t>(DataType::kInt32)));
  return &rw.add_node("Cast", {const_cast<Value*>(ids)}, std::move(to), 1, ids->name()).output(0);
}

Value* as_matrix(const Value* table, Rewriter& rw) {
  const Tensor* t = table->constant();
  if (!t || t->rank() == 2) return const_cast<Value*>(table);
  const auto& dims = t->dims();
  return &rw.add_constant(t->reshaped({dims[dims.size() - 2], dims.back()}), table->name());
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<Value*> inputs = {narrowed(m.word.ids, rw),
                                narrowed(m.segment.ids, rw),
                                const_cast<Value*>(m.word.table),
                                as_matrix(m.position.table, rw),
                                const_cast<Value*>(m.segment.table),
                                &m.norm.input(1),
                                &m.norm.input(2)};
  if (m.position.ids) inputs.insert(inputs.end(), {nullptr, narrowed(m.position.ids, rw)});
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("epsilon", m.norm.attr<float>("epsilon", 1e-5f)));
  // The number of rows that a mask leaves must have a name in onnxruntime, mask or not.
  const Node& embedded = rw.add_node("EmbedLayerNormalization", inputs, std::move(attributes), 2,
                                     m.norm.output(0).name(), "com.microsoft");
  rw.replace_uses(m.norm.output(0), embedded.output(0));
  rw.remove(m.norm);
}

}  // namespace

constinit const PassInfo kFuseEmbedLayerNorm{
    .name = "fuse-embed-layer-norm",
    .summary =
        "make one EmbedLayerNormalization of rows of tables, their sum and its normalization",
    .roots = {"LayerNormalization"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
