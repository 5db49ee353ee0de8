// From bytes to the IR. Payloads stay where they are: tensors refer to the given storage.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "libopt/io/mapped_file.h"
#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// What decoding needs to know about where bytes come from.
struct DecodeSource {
  std::span<const std::byte> bytes;
  std::shared_ptr<const Storage> owner;           // keeps `bytes` alive
  std::shared_ptr<DataDirectory> data_directory;  // nullptr: external data is refused
};

/// Decodes a ModelProto. Checked here: the wire format, tensor sizes against dims and type,
/// external data ranges, names (every input defined, no value defined twice), nesting depth. Nodes
/// come out in topological order (a stable sort where the file's order was none).
Result<std::unique_ptr<Model>> decode_model(const DecodeSource& source);

/// Decodes one TensorProto, as in test_data_set_N/input_I.pb.
Result<NamedTensor> decode_tensor(const DecodeSource& source);

/// Decodes one AttributeProto or TypeProto (the onnx seam's way back).
Result<Attribute> decode_attribute(const std::string& bytes);
Result<ValueType> decode_type(const std::string& bytes);

}  // namespace onnxtool
