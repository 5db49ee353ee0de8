// The elements of small integer tensors through the operators with which exporters compute shapes.
//
// onnx's own functions know them from opset 13 on only, and lose everything where one element is
// arithmetic on a named extent. Elements are numbers, names, or unknown, in a list. Pads are turned
// in a matrix on their way; all else has a rank of at most 1.

#include <algorithm>
#include <functional>
#include <limits>

#include "libopt/analysis/assumptions.h"
#include "libopt/analysis/extent.h"
#include "libopt/analysis/seam_internal.h"
#include "libopt/support/checked.h"

namespace onnxtool::seam {
namespace {

using Elements = onnx::TensorShapeProto;
using Element = onnx::TensorShapeProto::Dimension;

struct Inputs {
  const Node& node;
  const ElementSource& source;
  /// Of a rank of at most 1.
  const Elements* operator[](int i) const {
    return node.has_input(i) && node.input(i).type().rank().value_or(0) <= 1 ? list(i) : nullptr;
  }
  /// Of any rank, in row-major order.
  const Elements* list(int i) const { return node.has_input(i) ? source(node.input(i)) : nullptr; }
  ExtentRanges ranges() const { return assumptions_of(node.graph().model()); }
  /// All of an input's elements, as numbers.
  std::optional<std::vector<int64_t>> numbers(int i) const {
    const Elements* e = (*this)[i];
    if (!e) return std::nullopt;
    std::vector<int64_t> out;
    for (const Element& d : e->dim()) {
      if (!d.has_dim_value()) return std::nullopt;
      out.push_back(d.dim_value());
    }
    return out;
  }
};

std::optional<Elements> shape(const Inputs& in) {
  const Node& n = in.node;
  if (!n.has_input(0) || !n.input(0).type().is_tensor() || !n.input(0).type().shape)
    return std::nullopt;
  const auto& dims = *n.input(0).type().shape;
  const auto rank = static_cast<int64_t>(dims.size());
  const auto bound = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  const int64_t start = bound(n.attr<int64_t>("start", 0)),
                end = n.attribute("end") ? bound(n.attr<int64_t>("end", rank)) : rank;
  Elements out;
  for (int64_t i = start; i < end; ++i) {
    const Dim& d = dims[static_cast<size_t>(i)];
    Element* e = out.add_dim();
    if (d.value)
      e->set_dim_value(*d.value);
    else if (!d.symbol.empty())
      e->set_dim_param(d.symbol);
  }
  return out;
}

std::optional<Elements> gather(const Inputs& in) {
  const Elements* data = in[0];
  const auto indices = in.numbers(1);
  if (!data || !indices || in.node.attr<int64_t>("axis", 0) > 0) return std::nullopt;
  Elements out;
  for (int64_t i : *indices) {
    if (i < 0) i += data->dim_size();
    if (i < 0 || i >= data->dim_size()) return std::nullopt;
    *out.add_dim() = data->dim(static_cast<int>(i));
  }
  return out;
}

std::optional<int64_t> single(const Inputs& in, int input, const char* attribute,
                              std::optional<int64_t> fallback) {
  if (in.node.opset() >= 10) {
    if (!in.node.has_input(input)) return fallback;
    const auto v = in.numbers(input);
    return v && v->size() == 1 ? std::optional((*v)[0]) : std::nullopt;
  }
  const Attribute* a = in.node.attribute(attribute);
  const auto* v = a ? a->get<std::vector<int64_t>>() : nullptr;
  if (!v) return fallback;
  return v->size() == 1 ? std::optional((*v)[0]) : std::nullopt;
}

std::optional<Elements> slice(const Inputs& in) {
  const Elements* data = in.list(0);
  const auto start = single(in, 1, "starts", std::nullopt),
             end = single(in, 2, "ends", std::nullopt);
  const auto axis = single(in, 3, "axes", 0), step = single(in, 4, "", 1);
  const auto dims = data ? in.node.input(0).type().static_dims() : std::nullopt;
  const int64_t rank = dims ? static_cast<int64_t>(dims->size()) : 1;
  if (!data || !start || !end || !axis || !step || *step == 0 || (*axis != 0 && *axis != -rank))
    return std::nullopt;
  // Rows of a matrix, elements of a vector.
  const int64_t width = rank == 2 ? (*dims)[1] : 1;
  if (width < 1) return std::nullopt;
  const int64_t n = data->dim_size() / width;
  // Slice-13: negative counts from the end, then clamped to [0, n], or to [-1, n - 1] backwards.
  const int64_t low = *step > 0 ? 0 : -1, high = *step > 0 ? n : n - 1;
  const auto bound = [&](int64_t v, bool is_start) {
    return std::clamp<int64_t>(v < 0 ? v + n : v, is_start ? std::max<int64_t>(low, 0) : low, high);
  };
  const int64_t from = n == 0 ? 0 : bound(*start, true), to = n == 0 ? 0 : bound(*end, false);
  Elements out;
  const auto take = [&](int64_t row) {
    for (int64_t k = 0; k < width; ++k)
      *out.add_dim() = data->dim(static_cast<int>(row * width + k));
  };
  if (*step > 0) {
    for (int64_t i = from; i < to; i += std::min(*step, n)) take(i);
  } else {
    for (int64_t i = from; i > to; i += std::max(*step, -n)) take(i);
  }
  return out;
}

std::optional<Elements> transpose(const Inputs& in) {
  const Elements* data = in.list(0);
  const auto dims = data ? in.node.input(0).type().static_dims() : std::nullopt;
  const Attribute* a = in.node.attribute("perm");
  const auto* perm = a ? a->get<std::vector<int64_t>>() : nullptr;
  if (!dims || (a && !perm)) return std::nullopt;  // the caller of a function gives it
  if (dims->size() < 2 || (perm && *perm == std::vector<int64_t>{0, 1})) return *data;
  if (perm && *perm != std::vector<int64_t>{1, 0}) return std::nullopt;
  if (dims->size() > 2 || checked_product(*dims) != data->dim_size()) return std::nullopt;
  if (data->dim_size() == 0) return *data;  // where one extent is 0, the other may be any
  const int rows = static_cast<int>((*dims)[0]), columns = static_cast<int>((*dims)[1]);
  Elements out;
  for (int c = 0; c < columns; ++c)
    for (int r = 0; r < rows; ++r) *out.add_dim() = data->dim(r * columns + c);
  return out;
}

std::optional<Elements> constant_of_shape(const Inputs& in) {
  constexpr int64_t kMost = 1024;  // longer ones are data
  const auto dims = in.numbers(0);
  const Attribute* a = in.node.attribute("value");
  const auto* named = a ? a->get<NamedTensor>() : nullptr;
  if (!dims || !named || named->tensor.count() != 1) return std::nullopt;
  const DataType type = named->tensor.dtype();
  if (type != DataType::kInt64 && type != DataType::kInt32 && type != DataType::kBool)
    return std::nullopt;
  const auto count = checked_product(*dims);
  if (!count || *count < 0 || *count > kMost) return std::nullopt;
  const std::vector<int64_t> number = named->tensor.to_ints();
  Elements out;
  for (int64_t i = 0; i < *count; ++i) out.add_dim()->set_dim_value(number[0]);
  return out;
}

std::optional<Elements> concat(const Inputs& in) {
  Elements out;
  for (int i = 0; i < in.node.num_inputs(); ++i) {
    const Elements* e = in[i];
    if (!e) return std::nullopt;
    out.mutable_dim()->MergeFrom(e->dim());
  }
  return out;
}

std::optional<Elements> same(const Inputs& in) {
  const Elements* e = in.list(0);
  return e ? std::optional(*e) : std::nullopt;
}

std::optional<Elements> cast(const Inputs& in) {
  std::optional<Elements> out = same(in);
  if (!out || in.node.output(0).type().dtype != DataType::kBool) return out;
  // Of what is no bool, true is anything but 0.
  for (Element& e : *out->mutable_dim()) {
    const bool known = e.has_dim_value(), truth = e.dim_value() != 0;
    e.Clear();
    if (known) e.set_dim_value(truth);
  }
  return out;
}

std::optional<int64_t> compute(std::string_view op, int64_t a, int64_t b) {
  if (op == "Add") return checked_add(a, b);
  if (op == "Sub")
    return b == std::numeric_limits<int64_t>::min() ? std::nullopt : checked_add(a, -b);
  if (op == "Mul") return checked_mul(a, b);
  if (op == "Max") return std::max(a, b);
  if (op == "Min") return std::min(a, b);
  // Divisors below 1 are no extents; Div truncates towards zero, and so agrees with what all
  // runtimes do.
  if (op == "Div" && b > 0) return a / b;
  if (op == "Mod" && a >= 0 && b > 0) return a % b;
  return std::nullopt;
}

Dim dim_of(const Element& e) {
  return e.has_dim_value() ? Dim::of(e.dim_value()) : Dim::named(e.dim_param());
}

// What two operands make where not both are numbers. Nothing that may be negative has a name: it
// would mean something else in a shape.
Element combine(std::string_view op, const Element& a, const Element& b,
                const ExtentRanges& ranges) {
  Element out;
  if (a.has_dim_value() && b.has_dim_value()) {
    if (const auto v = compute(op, a.dim_value(), b.dim_value())) out.set_dim_value(*v);
    return out;
  }
  const auto x = Extent::of(dim_of(a)), y = Extent::of(dim_of(b));
  if (!x || !y) return out;
  const auto made = op == "Add"   ? Extent::sum(*x, *y)
                    : op == "Sub" ? Extent::difference(*x, *y, ranges)
                    : op == "Mul" ? Extent::product(*x, *y)
                    : op == "Div" ? Extent::quotient(*x, *y, ranges)
                    : op == "Min" ? Extent::smaller(*x, *y, ranges)
                    : op == "Max" ? Extent::larger(*x, *y, ranges)
                                  : std::nullopt;
  const auto dim = made ? made->dim() : std::nullopt;
  if (dim && dim->value)
    out.set_dim_value(*dim->value);
  else if (dim && made->low(ranges).value_or(-1) >= 0)
    out.set_dim_param(dim->symbol);
  return out;
}

std::optional<Elements> binary(const Inputs& in) {
  if (in.node.num_inputs() != 2) return std::nullopt;
  const Elements *a = in[0], *b = in[1];
  if (!a || !b || (a->dim_size() != b->dim_size() && a->dim_size() != 1 && b->dim_size() != 1))
    return std::nullopt;
  const ExtentRanges ranges = in.ranges();
  Elements out;
  for (int i = 0; i < (a->dim_size() == 1 ? b->dim_size() : a->dim_size()); ++i)
    *out.add_dim() = combine(in.node.op_type(), a->dim(a->dim_size() == 1 ? 0 : i),
                             b->dim(b->dim_size() == 1 ? 0 : i), ranges);
  return out;
}

// 1 where the two are equal in every run, 0 where they are in none.
std::optional<Elements> equal(const Inputs& in) {
  const Elements *a = in[0], *b = in[1];
  if (!a || !b || a->dim_size() != b->dim_size()) return std::nullopt;
  const ExtentRanges ranges = in.ranges();
  Elements out;
  for (int i = 0; i < a->dim_size(); ++i) {
    const auto x = Extent::of(dim_of(a->dim(i))), y = Extent::of(dim_of(b->dim(i)));
    Element* e = out.add_dim();
    if (!x || !y) continue;
    if (*x == *y) {
      e->set_dim_value(1);
      continue;
    }
    const auto apart = [&](const Extent& low, const Extent& high) {
      const auto gap = Extent::difference(high, low, ranges);
      return gap && gap->low(ranges).value_or(0) > 0;
    };
    if (apart(*x, *y) || apart(*y, *x)) e->set_dim_value(0);
  }
  return out;
}

std::optional<Elements> negated(const Inputs& in) {
  std::optional<Elements> out = same(in);
  if (!out) return out;
  for (Element& e : *out->mutable_dim())
    if (e.has_dim_value()) e.set_dim_value(e.dim_value() == 0);
  return out;
}

std::optional<Elements> where(const Inputs& in) {
  const Elements *which = in[0], *a = in[1], *b = in[2];
  if (!which || !a || !b || a->dim_size() != which->dim_size() ||
      b->dim_size() != which->dim_size())
    return std::nullopt;
  Elements out;
  for (int i = 0; i < which->dim_size(); ++i) {
    Element* e = out.add_dim();
    if (which->dim(i).has_dim_value()) *e = which->dim(i).dim_value() ? a->dim(i) : b->dim(i);
  }
  return out;
}

std::optional<Elements> reduce_product(const Inputs& in) {
  const Elements* e = in[0];
  if (!e || e->dim_size() == 0) return std::nullopt;
  const ExtentRanges ranges = in.ranges();
  Element product = e->dim(0);
  for (int i = 1; i < e->dim_size(); ++i) product = combine("Mul", product, e->dim(i), ranges);
  Elements out;
  *out.add_dim() = product;
  return out;
}

struct Rule {
  std::string_view op;
  std::optional<Elements> (*run)(const Inputs&);
};
constexpr Rule kRules[] = {{"Shape", shape},
                           {"Gather", gather},
                           {"Slice", slice},
                           {"Concat", concat},
                           {"Identity", same},
                           {"Cast", cast},
                           {"Squeeze", same},
                           {"Unsqueeze", same},
                           {"Reshape", same},
                           {"Flatten", same},
                           {"Add", binary},
                           {"Sub", binary},
                           {"Mul", binary},
                           {"Div", binary},
                           {"Mod", binary},
                           {"Max", binary},
                           {"Min", binary},
                           {"ReduceProd", reduce_product},
                           {"Equal", equal},
                           {"Not", negated},
                           {"Where", where},
                           {"Transpose", transpose},
                           {"ConstantOfShape", constant_of_shape}};

}  // namespace

namespace {

Dim combined(std::string_view op, const Dim& a, const Dim& b) {
  const auto element = [](const Dim& d) {
    Element e;
    if (d.value)
      e.set_dim_value(*d.value);
    else
      e.set_dim_param(d.symbol);
    return e;
  };
  const Element made = combine(op, element(a), element(b), {});
  return made.has_dim_value() ? Dim::of(made.dim_value()) : Dim::named(made.dim_param());
}

}  // namespace

Dim sum_of(const Dim& a, const Dim& b) { return combined("Add", a, b); }
Dim smaller_of(const Dim& a, const Dim& b) { return combined("Min", a, b); }

bool is_bounded(const Dim& a, const Dim& b) {
  const auto x = Extent::of(a), y = Extent::of(b);
  return x && y && x->limit_on(*y).value_or(0) > 0;
}

bool computes_elements(const Node& node) {
  return node.domain().empty() &&
         std::ranges::any_of(kRules, [&](const Rule& r) { return r.op == node.op_type(); });
}

std::optional<onnx::TensorShapeProto> elements_of(const Node& node, const ElementSource& source) {
  for (const Rule& r : kRules)
    if (r.op == node.op_type()) return r.run({node, source});
  return std::nullopt;
}

}  // namespace onnxtool::seam
