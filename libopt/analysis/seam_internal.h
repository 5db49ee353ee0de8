// Shared by the files of the onnx seam only: between the IR and onnx's messages.
#pragma once

#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <string_view>

#include "libopt/ir/model.h"
#include "libopt/ir/symbols.h"
#include "libopt/support/status.h"
#include "onnx/defs/schema.h"
#include "onnx/onnx_pb.h"

namespace onnxtool::seam {

/// Payloads longer than this are never copied into messages; inference needs none of them.
inline constexpr size_t kMaxCopiedBytes = 1024;

void to_proto(const ValueType& type, onnx::TypeProto& proto);
/// Extents below 0, which some inference functions make, become unknown unless `negative_extents`.
ValueType from_proto(const onnx::TypeProto& proto, bool negative_extents = false);

/// Payloads over kMaxCopiedBytes are marked as external, so that nothing reads them. Empty graphs
/// stand for subgraphs.
onnx::NodeProto node_proto(const Node& node);
onnx::TensorProto tensor_proto(const Tensor& tensor);

/// nullptr where the standard has none. `domain` as in the IR.
const onnx::OpSchema* standard_schema(std::string_view op_type, std::string_view domain, int opset);

/// What we know of an operator outside of the standard: those of com.microsoft that runtimes'
/// optimizers leave in files, and experimental ones that the standard dropped.
struct ForeignOperator {
  std::string_view op_type, domain;
  int min_inputs, max_inputs, min_outputs, max_outputs;
  void (*infer)(onnx::InferenceContext&);
};
const ForeignOperator* find_foreign(std::string_view op_type, std::string_view domain);

/// What is known of a small integer tensor's elements; nullptr: nothing.
using ElementSource = std::function<const onnx::TensorShapeProto*(const Value&)>;
/// Whether elements_of() has a rule for the operator.
bool computes_elements(const Node& node);
/// The elements of the node's only output, an integer tensor of rank 0 or 1; nullopt: not even
/// their count is known.
std::optional<onnx::TensorShapeProto> elements_of(const Node& node, const ElementSource& source);

/// The extent of two that are joined: a number, a name that equal operands share, or unknown.
Dim sum_of(const Dim& a, const Dim& b);
/// The same of the smaller one.
Dim smaller_of(const Dim& a, const Dim& b);
/// Whether `a` is smaller_of() of b and a positive number: then broadcasting the two gives b.
bool is_bounded(const Dim& a, const Dim& b);

/// The shape (without element type) of the node's first output, where the elements tell more of it
/// than onnx's functions see.
std::optional<ValueType> sharper_type(const Node& node, const ElementSource& source);

/// onnx's message in our form: one line, lower-case, without its tags and final period.
std::string tidy(std::string_view message);

/// Runs f and turns what onnx throws into a bad-model error at `place`. Our own mistakes and lack
/// of memory go through.
template <class F>
Status guarded(const std::string& place, F&& f) {
  try {
    f();
    return {};
  } catch (const InternalError&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& e) {
    return Error{ErrorCode::kBadModel, place + ": " + tidy(e.what()), {}};
  }
}

}  // namespace onnxtool::seam
