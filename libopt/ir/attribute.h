// A node's attribute: one of the kinds that AttributeProto knows.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "libopt/ir/tensor.h"
#include "libopt/ir/types.h"

namespace onnxtool {

class Graph;

/// A tensor beside the name that its TensorProto carries.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Coordinate form, as SparseTensorProto: values [NNZ], indices [NNZ] or [NNZ, rank].
struct SparseTensor {
  NamedTensor values, indices;
  std::vector<int64_t> dims;
};

/// Values equal AttributeProto.AttributeType.
enum class AttributeKind : uint8_t {
  kUndefined = 0,
  kFloat = 1,
  kInt = 2,
  kString = 3,
  kTensor = 4,
  kGraph = 5,
  kFloats = 6,
  kInts = 7,
  kStrings = 8,
  kTensors = 9,
  kGraphs = 10,
  kSparseTensor = 11,
  kSparseTensors = 12,
  kType = 13,
  kTypes = 14,
};

struct Attribute {
  using Payload =
      std::variant<std::monostate, float, int64_t, std::string, NamedTensor, std::unique_ptr<Graph>,
                   std::vector<float>, std::vector<int64_t>, std::vector<std::string>,
                   std::vector<NamedTensor>, std::vector<std::unique_ptr<Graph>>, SparseTensor,
                   std::vector<SparseTensor>, ValueType,
                   std::vector<ValueType>>;  // in the order of AttributeKind

  std::string name;
  AttributeKind kind = AttributeKind::kUndefined;  // equals value.index() unless ref is set
  Payload value;
  std::string ref;  // inside a function: the function's attribute that this one stands for
  std::string doc;
  std::string unknown_fields;

  template <class T>
  static Attribute of(std::string name, T value) {
    Attribute a;
    a.name = std::move(name);
    a.value = Payload(std::move(value));
    a.kind = static_cast<AttributeKind>(a.value.index());
    return a;
  }
  template <class T>
  const T* get() const {
    return std::get_if<T>(&value);
  }
};

}  // namespace onnxtool
