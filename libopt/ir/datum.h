// What a value of a graph can be while it runs: a tensor, or one of ONNX's containers.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "libopt/ir/tensor.h"

namespace onnxtool {

/// Copies share tensors and elements. An optional that holds something is what it holds.
class Datum {
 public:
  enum class Kind : uint8_t { kTensor, kSequence, kMap, kNone };

  /// An optional that holds nothing.
  Datum() = default;
  Datum(Tensor tensor) : kind_(Kind::kTensor), tensor_(std::move(tensor)) {}  // NOLINT: implicit
  static Datum sequence(std::vector<Datum> items) {
    Datum d;
    d.kind_ = Kind::kSequence;
    d.items_ = std::make_shared<std::vector<Datum>>(std::move(items));
    return d;
  }
  /// Key i, of `keys` [n] (integers or strings), has value i of `values` [n].
  static Datum map(Tensor keys, Tensor values) {
    Datum d;
    d.kind_ = Kind::kMap;
    d.keys_ = std::move(keys);
    d.tensor_ = std::move(values);
    return d;
  }

  Kind kind() const { return kind_; }
  bool is_tensor() const { return kind_ == Kind::kTensor; }
  bool is_sequence() const { return kind_ == Kind::kSequence; }
  bool is_map() const { return kind_ == Kind::kMap; }
  bool is_none() const { return kind_ == Kind::kNone; }
  /// For messages.
  const char* kind_name() const {
    constexpr const char* kNames[] = {"tensor", "sequence", "map", "optional without a value"};
    return kNames[static_cast<size_t>(kind_)];
  }

  /// Of a tensor.
  const Tensor& tensor() const { return tensor_; }
  /// Of a map.
  const Tensor& keys() const { return keys_; }
  const Tensor& values() const { return tensor_; }
  /// Of a sequence.
  const std::vector<Datum>& items() const { return *items_; }
  /// Of a sequence, for changing: copied first when others share it.
  std::vector<Datum>& own_items() {
    if (items_.use_count() != 1) items_ = std::make_shared<std::vector<Datum>>(*items_);
    return *items_;
  }

 private:
  Kind kind_ = Kind::kNone;
  Tensor tensor_, keys_;
  std::shared_ptr<std::vector<Datum>> items_;
};

}  // namespace onnxtool
