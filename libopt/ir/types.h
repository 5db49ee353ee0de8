// Static types of values: element type and symbolic shape, or a container of such.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libopt/ir/dtype.h"

namespace onnxtool {

/// One extent of a shape: a number, a named symbol (equal names are equal extents), or unknown.
struct Dim {
  std::optional<int64_t> value;
  std::string symbol;      // only where value is absent; empty: unknown
  std::string denotation;  // kept for round trips, never interpreted

  static Dim of(int64_t v) { return {v, {}, {}}; }
  static Dim named(std::string s) { return {std::nullopt, std::move(s), {}}; }
  bool operator==(const Dim&) const = default;
};

/// A TypeProto. Tensor types are what nearly all values have.
struct ValueType {
  enum class Kind : uint8_t {
    kUnknown,
    kTensor,
    kSparseTensor,
    kSequence,
    kMap,
    kOptional,
    kOpaque
  };
  Kind kind = Kind::kUnknown;
  DataType dtype = DataType::kUndefined;     // element type; a map's key type
  std::optional<std::vector<Dim>> shape;     // absent: rank unknown
  std::shared_ptr<const ValueType> element;  // of a sequence, map or optional
  std::string opaque_domain, opaque_name, denotation;

  static ValueType tensor(DataType dtype, std::optional<std::vector<Dim>> shape = std::nullopt) {
    ValueType t;
    t.kind = Kind::kTensor;
    t.dtype = dtype;
    t.shape = std::move(shape);
    return t;
  }
  static ValueType tensor(DataType dtype, const std::vector<int64_t>& dims) {
    std::vector<Dim> shape;
    for (int64_t d : dims) shape.push_back(Dim::of(d));
    return tensor(dtype, std::move(shape));
  }
  bool is_tensor() const { return kind == Kind::kTensor; }
  /// Extents when every one is a number.
  std::optional<std::vector<int64_t>> static_dims() const;
  std::optional<int64_t> rank() const {
    return shape ? std::optional<int64_t>(static_cast<int64_t>(shape->size())) : std::nullopt;
  }
};

/// `float[batch, 3, 32, 32]`, for messages.
std::string format_type(const ValueType& type);

}  // namespace onnxtool
