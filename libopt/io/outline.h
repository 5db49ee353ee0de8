// The outline of a model file: what its messages say, payloads apart, with the place of each in the
// file.
//
// decode_model() wants a sound model and stops at the first fault. An outline is read from any
// bytes: faults are collected, what can still be read is kept, nothing is resolved. Texts and
// payloads are stretches of the given bytes, which must outlive the outline.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libopt/ir/attribute.h"

namespace onnxtool::outline {

/// A fault of the encoding. Offsets count from the start of the file.
struct Fault {
  enum class Kind : uint8_t { kTruncated, kMalformed, kTooDeep };
  Kind kind;
  uint64_t offset;
  std::string place;  // "graph.node[3].attribute[0]"
  std::string message;
};

using Entries = std::vector<std::pair<std::string_view, std::string_view>>;

/// A TensorProto. Counts are of elements in each data field; a payload itself is `raw`.
struct Tensor {
  uint64_t offset = 0;
  std::string_view name;
  std::optional<int64_t> data_type;
  std::vector<int64_t> dims;
  uint64_t floats = 0, int32s = 0, strings = 0, int64s = 0, doubles = 0, uint64s = 0;
  std::span<const std::byte> raw;
  bool external = false, segment = false;
  Entries external_data;
  std::vector<int64_t> int64_data;  // of sparse indices only
};

struct SparseTensor {
  uint64_t offset = 0;
  std::optional<Tensor> values, indices;
  std::vector<int64_t> dims;
};

/// A TypeProto: which fields are there.
struct Type {
  enum class Case : uint8_t { kNone, kTensor, kSparseTensor, kSequence, kMap, kOptional, kOpaque };
  Case kind = Case::kNone;
  bool has_element = false;  // elem_type; a map's value_type
  bool has_shape = false, has_key = false, has_name = false;
  int64_t element = 0;  // of tensors, as their extents: absent ones are symbols or unknown
  std::vector<std::optional<int64_t>> extents;
  std::shared_ptr<const Type> inner;  // of containers: what they hold
};

struct ValueInfo {
  uint64_t offset = 0;
  std::string_view name;
  std::optional<Type> type;
};

struct Graph;

struct Attribute {
  uint64_t offset = 0;
  std::string_view name, ref;
  bool has_ref = false;
  std::optional<int64_t> type;
  std::vector<AttributeKind> fields;  // value fields that are there, each once
  std::vector<Tensor> tensors;        // of `t` and `tensors`
  std::vector<SparseTensor> sparse;
  std::vector<std::unique_ptr<Graph>> graphs;
};

struct Node {
  uint64_t offset = 0;
  std::string_view name, op_type, domain, overload;
  std::vector<std::string_view> inputs, outputs;
  std::vector<Attribute> attributes;
};

struct Graph {
  uint64_t offset = 0;
  std::string_view name;
  std::vector<Node> nodes;
  std::vector<ValueInfo> inputs, outputs, value_info;
  std::vector<Tensor> initializers;
  std::vector<SparseTensor> sparse_initializers;
};

struct OpsetImport {
  std::string_view domain;
  int64_t version = 0;
};

struct Function {
  uint64_t offset = 0;
  std::string_view name, domain, overload;
  bool has_domain = false;
  std::vector<std::string_view> inputs, outputs, attributes;
  std::vector<Attribute> attribute_defaults;
  std::vector<OpsetImport> opsets;
  std::vector<Node> nodes;
};

struct Model {
  std::optional<int64_t> ir_version;
  std::vector<OpsetImport> opsets;
  Entries metadata;
  std::unique_ptr<Graph> graph;
  std::vector<Function> functions;
  std::vector<Fault> faults;
};

/// Never fails: what is wrong with the encoding stands in `faults`. At most `max_faults` of these.
Model read(std::span<const std::byte> file, size_t max_faults = 100);

}  // namespace onnxtool::outline
