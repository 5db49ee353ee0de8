// Immutable, shared tensor values: a stretch of a mapped file, or bytes owned here.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libopt/ir/dtype.h"
#include "libopt/support/half.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Who keeps a tensor's bytes alive: a mapped file (io/mapped_file.h), a vector, a kernel's buffer.
class Storage {
 public:
  virtual ~Storage() = default;
};

/// A constant with element type and dims. Copies share the bytes. Data is little-endian and packed
/// as TensorProto.raw_data; 4- and 2-bit elements share bytes, low bits first. Strings are kept
/// apart.
class Tensor {
 public:
  Tensor() = default;
  /// `bytes` must stay valid while `owner` lives, and hold exactly size_bytes_of(dtype,
  /// product(dims)).
  Tensor(DataType dtype, std::vector<int64_t> dims, std::span<const std::byte> bytes,
         std::shared_ptr<const Storage> owner);

  /// Owned, uninitialised content is never visible: the bytes are given here. Dims product must
  /// fit.
  static Tensor from_bytes(DataType dtype, std::vector<int64_t> dims, std::vector<std::byte> bytes);
  static Tensor from_strings(std::vector<int64_t> dims, std::vector<std::string> strings);
  template <class T>
  static Tensor from(std::vector<int64_t> dims, std::span<const T> values) {
    std::vector<std::byte> bytes(values.size_bytes());
    if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return from_bytes(dtype_of<T>, std::move(dims), std::move(bytes));
  }
  template <class T>
  static Tensor from(std::vector<int64_t> dims, const std::vector<T>& values) {
    return from(std::move(dims), std::span<const T>(values));
  }
  template <class T>
  static Tensor scalar(T value) {
    return from({}, std::span<const T>(&value, 1));
  }
  template <class T>
  static Tensor vector(const std::vector<T>& values) {
    return from({static_cast<int64_t>(values.size())}, std::span<const T>(values));
  }

  DataType dtype() const { return dtype_; }
  const std::vector<int64_t>& dims() const { return dims_; }
  int64_t rank() const { return static_cast<int64_t>(dims_.size()); }
  /// Number of elements.
  int64_t count() const { return count_; }
  size_t size_bytes() const { return bytes_.size(); }
  /// Raw bytes, of any alignment; empty for strings.
  std::span<const std::byte> bytes() const { return bytes_; }
  const std::vector<std::string>& strings() const { return *strings_; }
  const std::shared_ptr<const Storage>& owner() const { return owner_; }

  /// The elements as T; T must be the element type (bool is uint8_t). Always a copy: safe at any
  /// alignment. Plans align once instead (calib/exec/plan.h).
  template <class T>
  std::vector<T> values() const {
    ONNXTOOL_CHECK(sizeof(T) * static_cast<size_t>(count_) == bytes_.size());
    std::vector<T> out(static_cast<size_t>(count_));
    if (!out.empty()) std::memcpy(out.data(), bytes_.data(), bytes_.size());
    return out;
  }
  /// Elements converted to double or int64, for every numeric type including 2-, 4- and 8-bit ones.
  std::vector<double> to_doubles() const;
  std::vector<int64_t> to_ints() const;  // truncates floats; a check failure for strings

  /// The same bytes under other dims of equal count.
  Tensor reshaped(std::vector<int64_t> dims) const;
  /// Same element type, dims and bytes.
  bool same_content(const Tensor& other) const;

 private:
  DataType dtype_ = DataType::kUndefined;
  std::vector<int64_t> dims_;
  int64_t count_ = 0;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const Storage> owner_;
  std::shared_ptr<const std::vector<std::string>> strings_;
};

/// `[1, 3, 224, 224]`, for messages.
std::string format_dims(std::span<const int64_t> dims);

}  // namespace onnxtool
