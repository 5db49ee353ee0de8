// Shapes that follow from what is known of a few elements, where onnx's functions want to know all
// of them, or, at older opsets, a constant.

#include <algorithm>
#include <cstdlib>

#include "libopt/analysis/assumptions.h"
#include "libopt/analysis/extent.h"
#include "libopt/analysis/seam_internal.h"
#include "libopt/analysis/window_extents.h"
#include "libopt/support/checked.h"

namespace onnxtool::seam {
namespace {

using Elements = onnx::TensorShapeProto;

// Numbers below 1 mean something else than an extent, and are left to the caller.
Dim dim_of(const onnx::TensorShapeProto::Dimension& e) {
  if (e.has_dim_value()) return e.dim_value() >= 1 ? Dim::of(e.dim_value()) : Dim{};
  return Dim::named(e.dim_param());
}

// What is left of `whole` for one extent beside `others`; nothing where that does not come out
// even.
Dim rest_of(const std::vector<Dim>& whole, const std::vector<Dim>& others,
            const ExtentRanges& ranges) {
  const auto product = [](const std::vector<Dim>& dims) {
    std::optional<Extent> out = Extent::number(1);
    for (const Dim& d : dims) {
      const auto factor = Extent::of(d);
      out = out && factor ? Extent::product(*out, *factor) : std::nullopt;
    }
    return out;
  };
  const auto all = product(whole), taken = product(others);
  const auto rest = all && taken ? Extent::quotient(*all, *taken, ranges) : std::nullopt;
  const bool is_even = rest && Extent::product(*rest, *taken) == all;
  return is_even ? rest->dim().value_or(Dim{}) : Dim{};
}

std::optional<std::vector<Dim>> reshape(const Node& n, const ElementSource& source) {
  const Elements* target = n.has_input(1) && n.opset() >= 5 ? source(n.input(1)) : nullptr;
  if (!target) return std::nullopt;
  const auto& in = n.input(0).type().shape;
  std::vector<Dim> dims;
  std::optional<size_t> open;  // the place of -1
  for (int i = 0; i < target->dim_size(); ++i) {
    const auto& e = target->dim(i);
    const bool copies =
        e.has_dim_value() && e.dim_value() == 0 && n.attr<int64_t>("allowzero", 0) == 0;
    dims.push_back(copies && in && static_cast<size_t>(i) < in->size()
                       ? (*in)[static_cast<size_t>(i)]
                       : dim_of(e));
    if (e.has_dim_value() && e.dim_value() == -1) {
      if (open) return std::nullopt;
      open = dims.size() - 1;
    }
  }
  if (open && in) {
    std::vector<Dim> others = dims;
    others.erase(others.begin() + static_cast<ptrdiff_t>(*open));
    dims[*open] = rest_of(*in, others, assumptions_of(n.graph().model()));
  }
  return dims;
}

std::optional<std::vector<Dim>> constant_of_shape(const Node& n, const ElementSource& source) {
  const Elements* shape = source(n.input(0));
  if (!shape) return std::nullopt;
  std::vector<Dim> dims;
  for (const auto& e : shape->dim()) dims.push_back(dim_of(e));
  return dims;
}

// How many of `n` elements Slice-13 takes: negative places count from the end, then all are
// clamped.
int64_t taken(int64_t n, int64_t start, int64_t end, int64_t step) {
  const bool back = step < 0;
  const auto bound = [&](int64_t v, int64_t low) {
    return std::clamp<int64_t>(v < 0 ? v + n : v, low, back ? n - 1 : n);
  };
  if (n == 0) return 0;
  const int64_t from = bound(start, 0), to = bound(end, back ? -1 : 0);
  const int64_t distance = back ? from - to : to - from;
  const int64_t stride = back ? -std::max(step, -n) : std::min(step, n);
  return distance <= 0 ? 0 : (distance - 1) / stride + 1;
}

// The extent of an axis that is cut: by numbers, or from its beginning on to a named end.
Dim cut(const Dim& whole, const Elements* starts, const Elements* ends, int64_t step, int i) {
  if (!starts || !ends || i >= starts->dim_size() || i >= ends->dim_size()) return {};
  const auto &start = starts->dim(i), &end = ends->dim(i);
  if (whole.value && start.has_dim_value() && end.has_dim_value())
    return Dim::of(taken(*whole.value, start.dim_value(), end.dim_value(), step));
  if (step != 1 || !start.has_dim_value() || start.dim_value() != 0 || end.dim_param().empty())
    return {};
  const Dim wanted = Dim::named(end.dim_param());
  return whole.symbol == wanted.symbol ? whole : smaller_of(wanted, whole);
}

// What is not cut stays.
std::optional<std::vector<Dim>> slice(const Node& n, const ElementSource& source) {
  const auto& in = n.input(0).type().shape;
  if (!in || n.opset() < 10) return std::nullopt;
  const auto elements = [&](int i) { return n.has_input(i) ? source(n.input(i)) : nullptr; };
  const Elements* axes = elements(3);
  if (!axes) return std::nullopt;
  const Elements* steps = elements(4);
  std::vector<Dim> dims = *in;
  for (int i = 0; i < axes->dim_size(); ++i) {
    const auto& e = axes->dim(i);
    if (!e.has_dim_value()) return std::nullopt;
    const int64_t axis =
        e.dim_value() < 0 ? e.dim_value() + static_cast<int64_t>(dims.size()) : e.dim_value();
    if (axis < 0 || axis >= static_cast<int64_t>(dims.size())) return std::nullopt;
    const int64_t step = !n.has_input(4)                  ? 1
                         : steps && i < steps->dim_size() ? steps->dim(i).dim_value()
                                                          : 0;
    Dim& d = dims[static_cast<size_t>(axis)];
    d = step != 0 ? cut(d, elements(1), elements(2), step, i) : Dim{};
  }
  return dims;
}

std::optional<std::vector<Dim>> pad(const Node& n, const ElementSource& source) {
  const auto& in = n.input(0).type().shape;
  const Elements* pads = n.opset() >= 11 && n.has_input(1) ? source(n.input(1)) : nullptr;
  if (!in || !pads || n.has_input(3) || pads->dim_size() != 2 * static_cast<int>(in->size()))
    return std::nullopt;
  std::vector<Dim> dims;
  const int rank = static_cast<int>(in->size());
  for (int i = 0; i < rank; ++i) {
    const Dim& d = (*in)[static_cast<size_t>(i)];
    const auto &before = pads->dim(i), &behind = pads->dim(rank + i);
    if (!before.has_dim_value() || !behind.has_dim_value()) {
      dims.emplace_back();
    } else if (before.dim_value() == 0 && behind.dim_value() == 0) {
      dims.push_back(d);
    } else {
      const auto added = checked_add(before.dim_value(), behind.dim_value());
      const auto sum = d.value && added ? checked_add(*d.value, *added) : std::nullopt;
      dims.push_back(sum && *sum >= 0 ? Dim::of(*sum) : Dim{});
    }
  }
  return dims;
}

// Range of three numbers; nullopt: they are not all known.
std::optional<int64_t> range_length(const Node& n, const ElementSource& source) {
  constexpr int64_t kLargest = int64_t{1} << 40;  // so that no difference overflows
  int64_t v[3];
  for (int i = 0; i < 3; ++i) {
    const Elements* e = n.has_input(i) ? source(n.input(i)) : nullptr;
    if (!e || e->dim_size() != 1 || !e->dim(0).has_dim_value()) return std::nullopt;
    v[i] = e->dim(0).dim_value();
    if (v[i] < -kLargest || v[i] > kLargest) return std::nullopt;
  }
  const int64_t distance = v[2] < 0 ? v[0] - v[1] : v[1] - v[0], step = std::abs(v[2]);
  if (step == 0) return std::nullopt;
  return distance <= 0 ? 0 : (distance + step - 1) / step;
}

// Range(x, x + c, 1) has c elements, and Range(0, extent, 1) as many as the extent.
std::optional<std::vector<Dim>> range(const Node& n, const ElementSource& source) {
  if (n.num_inputs() != 3 || !n.has_input(1) || !n.has_input(2)) return std::nullopt;
  if (const auto length = range_length(n, source)) return std::vector{Dim::of(*length)};
  const Tensor *start = n.input(0).constant(), *step = n.input(2).constant();
  if (!step || step->count() != 1 || step->to_doubles()[0] != 1) return std::nullopt;
  if (start && start->count() == 1 && start->to_doubles()[0] == 0) {
    const Elements* limit = source(n.input(1));
    return limit && limit->dim_size() == 1 && !limit->dim(0).dim_param().empty()
               ? std::optional(std::vector{dim_of(limit->dim(0))})
               : std::nullopt;
  }
  const Node* add = n.input(1).producer();
  if (!add || !add->is("Add") || add->num_inputs() != 2) return std::nullopt;
  for (int i = 0; i < 2; ++i) {
    const Tensor* c = add->has_input(1 - i) ? add->input(1 - i).constant() : nullptr;
    if (c && add->has_input(i) && &add->input(i) == &n.input(0) && c->count() == 1 &&
        (c->dtype() == DataType::kInt64 || c->dtype() == DataType::kInt32) && c->to_ints()[0] > 0)
      return std::vector{Dim::of(c->to_ints()[0])};
  }
  return std::nullopt;
}

// Of extents along one axis; nullopt: none of them is other than 1.
std::optional<Dim> broadcast(const std::vector<Dim>& extents) {
  std::optional<Dim> result;
  for (const Dim& d : extents) {
    if (d.value == 1) continue;
    if (!result || (result->symbol.size() && is_bounded(*result, d)))
      result = d;
    else if (*result != d && !is_bounded(d, *result))
      return Dim{};
  }
  return result;
}

// Sequences that are cut out of a table of the longest one meet the sequence itself.
std::optional<std::vector<Dim>> broadcast(const std::vector<std::vector<Dim>>& shapes) {
  size_t rank = 0;
  for (const auto& s : shapes) rank = std::max(rank, s.size());
  std::vector<Dim> dims;
  for (size_t back = rank; back > 0; --back) {
    std::vector<Dim> extents;
    for (const auto& s : shapes)
      if (s.size() >= back) extents.push_back(s[s.size() - back]);
    dims.push_back(broadcast(extents).value_or(Dim::of(1)));
  }
  return dims;
}

std::optional<std::vector<Dim>> elementwise(const Node& n) {
  std::vector<std::vector<Dim>> shapes;
  for (int i = 0; i < n.num_inputs(); ++i) {
    if (!n.has_input(i) || !n.input(i).type().shape) return std::nullopt;
    shapes.push_back(*n.input(i).type().shape);
  }
  return broadcast(shapes);
}

std::optional<std::vector<Dim>> expand(const Node& n, const ElementSource& source) {
  const Elements* target = n.has_input(1) ? source(n.input(1)) : nullptr;
  if (!target || !n.input(0).type().shape) return std::nullopt;
  std::vector<Dim> wanted;
  for (const auto& e : target->dim()) wanted.push_back(dim_of(e));
  return broadcast({*n.input(0).type().shape, std::move(wanted)});
}

// Extents along the axis add up, by name where they have no number; onnx's function tells the
// others.
std::optional<std::vector<Dim>> concat(const Node& n) {
  const auto& first = n.input(0).type().shape;
  if (!first || !n.attribute("axis")) return std::nullopt;
  const int64_t given = n.attr<int64_t>("axis", 0), rank = static_cast<int64_t>(first->size()),
                axis = given < 0 ? given + rank : given;
  if (axis < 0 || axis >= rank) return std::nullopt;
  Dim sum = (*first)[static_cast<size_t>(axis)];
  for (int i = 1; i < n.num_inputs(); ++i) {
    const auto* shape =
        n.has_input(i) && n.input(i).type().shape ? &*n.input(i).type().shape : nullptr;
    if (!shape || static_cast<int64_t>(shape->size()) != rank) return std::nullopt;
    sum = sum_of(sum, (*shape)[static_cast<size_t>(axis)]);
  }
  std::vector<Dim> dims(first->size());
  dims[static_cast<size_t>(axis)] = sum;
  return dims;
}

}  // namespace

std::optional<ValueType> sharper_type(const Node& node, const ElementSource& source) {
  const bool known = node.domain().empty() || node.is("FusedConv", "com.microsoft");
  if (!known || !node.has_input(0) || !node.input(0).type().is_tensor()) return std::nullopt;
  std::optional<std::vector<Dim>> dims;
  if (node.is("Reshape"))
    dims = reshape(node, source);
  else if (node.is("ConstantOfShape"))
    dims = constant_of_shape(node, source);
  else if (node.is("Slice"))
    dims = slice(node, source);
  else if (node.is("Pad"))
    dims = pad(node, source);
  else if (node.is("Concat"))
    dims = concat(node);
  else if (node.is("Range"))
    dims = range(node, source);
  else if (node.is("Expand"))
    dims = expand(node, source);
  else if (node.is("Add") || node.is("Sub") || node.is("Mul") || node.is("Div") || node.is("And") ||
           node.is("Or") || node.is("Equal") || node.is("Where"))
    dims = elementwise(node);
  else
    dims = window_extents(node);
  return dims ? std::optional(ValueType::tensor(DataType::kUndefined, std::move(dims)))
              : std::nullopt;
}

}  // namespace onnxtool::seam
