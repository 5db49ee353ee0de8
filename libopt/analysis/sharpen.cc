// Shapes that follow from what is known of a few elements, where onnx's functions want to know all
// of them, or, at older opsets, a constant.

#include <algorithm>

#include "libopt/analysis/seam_internal.h"

namespace onnxtool::seam {
namespace {

using Elements = onnx::TensorShapeProto;

// Numbers below 1 mean something else than an extent, and are left to the caller.
Dim dim_of(const onnx::TensorShapeProto::Dimension& e) {
  if (e.has_dim_value()) return e.dim_value() >= 1 ? Dim::of(e.dim_value()) : Dim{};
  return Dim::named(e.dim_param());
}

std::optional<std::vector<Dim>> reshape(const Node& n, const ElementSource& source) {
  const Elements* target = n.has_input(1) && n.opset() >= 5 ? source(n.input(1)) : nullptr;
  if (!target) return std::nullopt;
  const auto& in = n.input(0).type().shape;
  std::vector<Dim> dims;
  for (int i = 0; i < target->dim_size(); ++i) {
    const auto& e = target->dim(i);
    const bool copies =
        e.has_dim_value() && e.dim_value() == 0 && n.attr<int64_t>("allowzero", 0) == 0;
    dims.push_back(copies && in && static_cast<size_t>(i) < in->size()
                       ? (*in)[static_cast<size_t>(i)]
                       : dim_of(e));
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

// What is not cut stays.
std::optional<std::vector<Dim>> slice(const Node& n, const ElementSource& source) {
  const auto& in = n.input(0).type().shape;
  if (!in || n.opset() < 10) return std::nullopt;
  const Elements* axes = n.has_input(3) ? source(n.input(3)) : nullptr;
  if (!axes) return std::nullopt;
  std::vector<Dim> dims = *in;
  for (const auto& e : axes->dim()) {
    if (!e.has_dim_value()) return std::nullopt;
    const int64_t axis =
        e.dim_value() < 0 ? e.dim_value() + static_cast<int64_t>(dims.size()) : e.dim_value();
    if (axis < 0 || axis >= static_cast<int64_t>(dims.size())) return std::nullopt;
    dims[static_cast<size_t>(axis)] = Dim{};
  }
  return dims;
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
  if (!node.domain().empty() || !node.has_input(0) || !node.input(0).type().is_tensor())
    return std::nullopt;
  std::optional<std::vector<Dim>> dims;
  if (node.is("Reshape"))
    dims = reshape(node, source);
  else if (node.is("ConstantOfShape"))
    dims = constant_of_shape(node, source);
  else if (node.is("Slice"))
    dims = slice(node, source);
  else if (node.is("Concat"))
    dims = concat(node);
  return dims ? std::optional(ValueType::tensor(DataType::kUndefined, std::move(dims)))
              : std::nullopt;
}

}  // namespace onnxtool::seam
