// Tables of the format that stand for one type or tensor; for the writer only.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libopt/ir/attribute.h"
#include "libopt/ort/fusion_records.h"
#include "libopt/ort/ort_format_generated.h"
#include "libopt/support/status.h"

namespace onnxtool::ort_writing {

namespace fb = ort_format;
template <class T>
using Offset = flatbuffers::Offset<T>;

/// Onnxruntime uses payloads over this size in place.
inline constexpr size_t kMaxInlinePayload = 127;
inline constexpr uint64_t kPayloadAlignment = 32;

/// FlatBuffers' builder, which knows no limits, and what readers count.
class Builder {
 public:
  flatbuffers::FlatBufferBuilder fbb;

  /// Whether so much more can be held; false from then on.
  bool reserve(uint64_t bytes);
  bool full() const { return full_; }
  int tables() const { return tables_; }
  int depth() const { return depth_; }
  /// Tables counted, the deepest one at `depth` of nested tables.
  void count(int tables, int depth);

  Offset<flatbuffers::String> string(std::string_view s);
  Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> strings(
      const std::vector<std::string>& list);
  template <class T>
  Offset<flatbuffers::Vector<T>> numbers(const std::vector<T>& list) {
    return reserve(list.size() * sizeof(T)) ? fbb.CreateVector(list)
                                            : Offset<flatbuffers::Vector<T>>();
  }

  /// Tensors whose payload stands behind the tables, each with its table's offset.
  struct Deferred {
    Offset<fb::Tensor> table;
    const Tensor* tensor;
  };
  std::vector<Deferred> deferred;

 private:
  bool full_ = false;
  int tables_ = 0, depth_ = 0;
};

/// `at`: who asks, for messages. `depth`: of the table that holds it.
Result<Offset<fb::TypeInfo>> write_type(Builder& b, const ValueType& type, bool with_shape,
                                        int depth, const std::string& at);
Result<Offset<fb::Tensor>> write_tensor(Builder& b, std::string_view name, const Tensor& tensor,
                                        int depth, const std::string& at);

/// The buffer after Finish(), in which offsets of payloads are set: the first stands `size` bytes
/// or a little more behind the start. Gives where each payload's length stands, and the end of the
/// file.
struct PlacedPayload {
  uint64_t at;
  const Tensor* tensor;
};
std::vector<PlacedPayload> place_payloads(Builder& b, uint64_t& size);

using Indices = std::unordered_map<const Node*, uint32_t>;

/// The records of `all` whose nodes are of `graph`; a null offset where there are none.
Offset<fb::RuntimeOptimizations> write_fusions(Builder& b, const Graph& graph,
                                               std::span<const OrtFusionRecord> all, int depth,
                                               const Indices& indices);

}  // namespace onnxtool::ort_writing
