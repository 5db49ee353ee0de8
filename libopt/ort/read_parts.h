// Tables of the format that stand for one type or tensor; for the reader only. FlatBuffers'
// verifier has seen the buffer: offsets, sizes and depth are right, whatever may be absent.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/attribute.h"
#include "libopt/ort/aligned.h"
#include "libopt/ort/ort_format_generated.h"
#include "libopt/support/status.h"

namespace onnxtool::ort_reading {

namespace fb = ort_format;

/// What copying may cost. Tables and vectors can be shared in a file of a few bytes; a model of
/// ours has its own copy of each.
class Budget {
 public:
  explicit Budget(size_t file_bytes) : left_(16 * uint64_t{file_bytes} + (uint64_t{1} << 20)) {}
  Status spend(uint64_t bytes);

 private:
  uint64_t left_;
};

struct Context {
  Budget budget;
  std::shared_ptr<const Storage> owner;
};

inline Error bad(std::string message) { return {ErrorCode::kBadModel, std::move(message), {}}; }

/// Empty where the string is absent.
inline std::string_view view(const flatbuffers::String* s) {
  return s ? s->string_view() : std::string_view();
}
Result<std::string> text(Context& context, const flatbuffers::String* s);

/// `at`: who asks, for messages.
Result<ValueType> read_type(Context& context, const fb::TypeInfo* type, const std::string& at);
/// Refers to the buffer; the payload's size is checked against dims and type.
Result<NamedTensor> read_tensor(Context& context, const fb::Tensor* tensor, const std::string& at);
/// As a dense tensor, which may have at most as many bytes as the budget still has.
Result<NamedTensor> read_sparse_tensor(Context& context, const fb::SparseTensor* tensor,
                                       const std::string& at);

/// Integers and floats; an absent vector is an error that calls it `what`.
template <class T, class V>
Result<std::vector<T>> copied(Context& context, const V* vector, const std::string& what) {
  if (!vector) return bad(what + " is absent");
  if (!has_aligned_elements(*vector)) return bad(what + " is not aligned");
  ONNXTOOL_TRY(context.budget.spend(uint64_t{vector->size()} * sizeof(T)));
  std::vector<T> out;
  out.reserve(vector->size());
  for (const auto v : *vector) out.push_back(v);
  return out;
}
Result<std::vector<std::string>> strings(
    Context& context, const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* vector,
    const std::string& what);

}  // namespace onnxtool::ort_reading
