// Attributes of the nodes that quantization writes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libopt/ir/attribute.h"

namespace onnxtool {

/// As Rewriter::add_node takes them.
template <class T>
std::vector<Attribute> one_attribute(std::string name, T value) {
  std::vector<Attribute> out;
  out.push_back(Attribute::of(std::move(name), std::move(value)));
  return out;
}

/// A copy of an attribute that holds numbers or a text; nullopt for tensors, graphs and the like.
inline std::optional<Attribute> copy_of(const Attribute& a) {
  if (const auto* v = a.get<int64_t>()) return Attribute::of(a.name, *v);
  if (const auto* v = a.get<float>()) return Attribute::of(a.name, *v);
  if (const auto* v = a.get<std::string>()) return Attribute::of(a.name, *v);
  if (const auto* v = a.get<std::vector<int64_t>>()) return Attribute::of(a.name, *v);
  if (const auto* v = a.get<std::vector<float>>()) return Attribute::of(a.name, *v);
  return std::nullopt;
}

}  // namespace onnxtool
