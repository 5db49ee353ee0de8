// Tensors as files that other programs read: .npy, safetensors, test_data_set.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/attribute.h"
#include "libopt/ir/datum.h"
#include "libopt/ir/types.h"
#include "libopt/support/atomic_directory.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// The bytes of a .npy file. NumPy has no bfloat16 and no 8-bit floats, which become float32, and
/// no 2- and 4-bit integers, which become 8-bit ones; strings become fixed-width bytes. Errors
/// (kUnsupported): strings that end with a zero byte, which NumPy would drop.
Result<std::string> npy_bytes(const Tensor& tensor);

/// The bytes of a safetensors file with these tensors in order. Errors (kUnsupported): a type that
/// the format lacks (strings, complex128, below 8 bits).
Result<std::string> safetensors_bytes(const std::vector<NamedTensor>& tensors);

enum class TensorFileFormat : uint8_t { kNpy, kSafetensors, kPb };

/// A part of a path made of a name that comes from a model or from data: letters, digits, `.`, `_`
/// and
/// `-` stay, all else becomes `_`; never empty, hidden or long.
std::string safe_file_name(std::string_view name);

struct NamedType {
  std::string name;
  ValueType type;
};

/// Puts samples into a directory, one call a sample, from any thread.
///   npy          <tensor>/<sample>.npy
///   safetensors  <sample>.safetensors; of sequences and maps each tensor under its path (leaves.h)
///   pb           test_data_set_<index>/input_I.pb and output_I.pb
class SampleWriter {
 public:
  /// The outputs in order; `samples` in all, which decides the width of numbers.
  SampleWriter(const AtomicDirectory& directory, TensorFileFormat format,
               std::vector<NamedType> outputs, int64_t samples);
  /// `inputs` are for pb only. Errors (kUnsupported): a value that the format cannot hold.
  Status write(int64_t index, const std::string& sample_id, const std::vector<NamedTensor>& inputs,
               const std::vector<Datum>& outputs) const;
  /// `<index>-<stem of the id>`: unique, and in the order of samples.
  std::string sample_name(int64_t index, const std::string& sample_id) const;
  /// npy: the directory of each output.
  const std::vector<std::string>& directories() const { return directories_; }

 private:
  Status put(const std::string& name, const std::string& bytes) const;
  const AtomicDirectory& directory_;
  TensorFileFormat format_;
  std::vector<NamedType> outputs_;
  std::vector<std::string> directories_;
  size_t width_;
};

}  // namespace onnxtool
