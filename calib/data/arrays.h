// Arrays in files: known by name, type and shape before their payload is read, then loaded whole or
// in slices, and matched and converted to what a model wants.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calib/data/files.h"
#include "calib/data/source.h"
#include "libopt/ir/tensor.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// How strings are stored: numpy's `S` (bytes) and `U` (UTF-32), padded with zeros to a fixed
/// width.
enum class TextForm : uint8_t { kNone, kBytes, kUtf32 };

/// One array whose header has been read and checked: the payload lies within `bytes`.
struct StoredArray {
  std::string name;   // empty: the file gives none
  std::string place;  // the file, and the array within it, for messages
  DataType dtype = DataType::kUndefined;
  std::vector<int64_t> dims;
  int position = -1;  // among the model's inputs, where the format counts them

  std::shared_ptr<const ByteSource> bytes;
  uint64_t offset = 0;
  bool fortran_order = false;
  bool big_endian = false;
  TextForm text = TextForm::kNone;
  uint64_t text_width = 0;  // characters an element

  std::optional<Tensor> value;  // instead of bytes: the format was decoded on opening
};

/// Bytes that `dims` elements of the array's type take in the file; nullopt on overflow.
std::optional<uint64_t> stored_size_bytes(const StoredArray& array);

/// Part of an array along one axis; the axis stays, with `extent`.
struct Slice {
  int64_t axis = 0;
  int64_t begin = 0;
  int64_t extent = 1;
};

/// Reads the array, or a slice of it, in C order and native byte order.
Result<Tensor> load_array(const StoredArray& array, const std::optional<Slice>& slice);

/// Whether convert_tensor may succeed: both float, or both integer (bool included), or equal.
bool may_convert(DataType from, DataType to);
/// Float to float rounds to nearest even (double to 16 bits by way of float) and must keep finite
/// values finite; integer to integer must keep every value. Errors are kMismatch, without place.
Result<Tensor> convert_tensor(Tensor tensor, DataType to);

/// How one input is filled.
struct Match {
  size_t array = 0;             // index of the array
  std::optional<int64_t> axis;  // stacked: where the samples lie, counted from the front
  int64_t extent = 1;           // stacked: what one sample takes of that axis
  bool drop_axis = false;       // stacked: the axis is no part of the input
  bool add_batch = false;       // a leading dim of 1 is put in front
  bool to_scalar = false;       // [1] for an input without dims, as runtimes take it
};

/// Finds an array for every input: by name, by position where the format has one, else by unique
/// shape and type. `batch_axis`: arrays stack samples. Errors (kMismatch) list both sides.
Result<std::vector<Match>> match_arrays(std::span<const InputSpec> specs,
                                        std::span<const StoredArray> arrays,
                                        std::optional<int64_t> batch_axis,
                                        const std::string& place);

/// The array (sample `index` of it, where stacked) as the input wants it.
Result<Tensor> load_input(const InputSpec& spec, const StoredArray& array, const Match& match,
                          int64_t index);

/// For descriptions: "'data' double[1, 3] as float".
std::string describe_match(const InputSpec& spec, const StoredArray& array, const Match& match);

/// `float[2, 3]`.
std::string format_type(DataType dtype, std::span<const int64_t> dims);

}  // namespace onnxtool
