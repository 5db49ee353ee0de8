// What the parts of the .ort validator share.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "libopt/ort/ort_format_generated.h"
#include "libopt/ort/since_version.h"
#include "libopt/ort/validate.h"

namespace onnxtool::ort_validation {

namespace fb = ort_format;
using Names = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

inline std::string_view view(const flatbuffers::String* s) {
  return s ? s->string_view() : std::string_view();
}
inline std::string number(int64_t n) { return std::to_string(n); }
inline std::string quoted(std::string_view name) {
  constexpr size_t kShown = 200;  // a hostile name may be as long as the file
  return "'" + std::string(name.substr(0, kShown)) + (name.size() > kShown ? "...'" : "'");
}

/// The faults of one file, and what looking for them may cost: vectors can be shared. What is not
/// shared takes at least four bytes an entry.
class Faults {
 public:
  explicit Faults(size_t file_bytes) : work_(uint64_t{file_bytes} / 2 + (uint64_t{1} << 20)) {}
  void must(const std::string& place, std::string message) {
    add({place, std::move(message), true});
  }
  void advise(const std::string& place, std::string message) {
    add({place, std::move(message), false});
  }
  /// False, with a fault, once all is spent: the caller goes no further.
  bool spend(uint64_t work);
  bool spent() const { return work_ == 0; }
  OrtFaults take() { return std::move(found_); }

 private:
  void add(OrtFault fault);
  OrtFaults found_;
  size_t fatal_ = 0, wasteful_ = 0;  // in the list
  uint64_t work_;
};

/// What a graph is checked against.
struct FileFacts {
  Faults& faults;
  int format_version = 0;
  std::unordered_map<std::string_view, int64_t> opsets = {};
  /// op ids that nodes have or records produce
  std::set<std::string> op_ids = {};
  bool has_floats8 = false;
  size_t misaligned = 0;  // payloads, which are reported together
  std::string first_misaligned = {};
};

/// One graph's nodes, and where its values are made.
struct GraphIndex {
  struct Producer {
    size_t node;  // position
    int output;
  };
  const fb::Graph& graph;
  std::string place;
  std::vector<const fb::Node*> nodes;
  std::unordered_map<std::string_view, Producer> producers;
  std::unordered_map<uint32_t, size_t> position;  // by node index

  /// `graph: node 3 (Conv)`; by position.
  std::string place_of(size_t i) const;
};

/// `tensor(7)`, `seq(map(8,tensor(1)))`: equal where the element types are. Faults where the type
/// is broken.
std::string check_type(FileFacts& file, const fb::TypeInfo* type, const std::string& place);
/// What an initializer's values are, in the same form.
std::string check_tensor(FileFacts& file, const fb::Tensor& tensor, const std::string& place);
/// Attributes of their own, against the defaults of the schema (nullptr: a custom operator).
void check_attributes(FileFacts& file, const fb::Node& node, const OrtSchema* schema,
                      const std::string& place);
/// The main graph and everything below.
void check_graphs(FileFacts& file, const fb::Graph& graph);
/// Edges against what the names say, and whether there is an order.
void check_edges(FileFacts& file, const GraphIndex& graph);
/// Fusions that the runtime is to replay; their op ids are noted.
void check_records(FileFacts& file, const GraphIndex& graph);
/// Against the op ids that the graphs need.
void check_resolver(FileFacts& file, const fb::InferenceSession& session);
/// Whether inference agrees with the declared types, and every node has a kernel; for files without
/// fatal faults.
void check_types_and_kernels(Faults& faults, std::span<const std::byte> bytes);

}  // namespace onnxtool::ort_validation
