// Constants whose data was not read: it lies in another file, which is not there or was not asked
// for.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "libopt/ir/tensor.h"

namespace onnxtool {

/// Stands for the bytes of such a tensor.
class UnreadData final : public Storage {
 public:
  UnreadData(std::string at, uint64_t from) : location(std::move(at)), offset(from) {}
  const std::string location;  // as the model has it
  const uint64_t offset;       // in bytes
};

/// Type, dims and size are known. There are no bytes behind bytes(): Value::constant() does not
/// give such a tensor, so that only who asks for initializers and attributes meets it.
inline Tensor unread_tensor(DataType dtype, std::vector<int64_t> dims, uint64_t size_bytes,
                            std::string location, uint64_t offset) {
  return Tensor(dtype, std::move(dims), {static_cast<const std::byte*>(nullptr), size_bytes},
                std::make_shared<UnreadData>(std::move(location), offset));
}

/// Where the bytes are that were not read; nullptr: all are here.
inline const UnreadData* unread_data(const Tensor& t) {
  if (t.bytes().data() || t.bytes().empty()) return nullptr;
  return dynamic_cast<const UnreadData*>(t.owner().get());
}

class Model;
class Value;

/// As Value::constant(), and unread ones.
const Tensor* stored_constant(const Value& value);

/// What of a model was not read.
struct UnreadTensors {
  int64_t count = 0;
  std::vector<std::string> locations;  // sorted, each once
};

/// Of initializers and attributes, in subgraphs and functions too.
UnreadTensors unread_tensors(const Model& model);

/// `external data 'w.data' is not there`.
std::string not_there(const UnreadTensors& unread);

}  // namespace onnxtool
