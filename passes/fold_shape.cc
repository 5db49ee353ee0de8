// Replaces integer tensors that follow from known dims by constants: Shape and Size of values with
// static dims, and what is gathered, sliced, joined and computed from them even where other dims of
// the same shape are dynamic.
//
//   n = Gather(Shape(x: float[batch, 3, 32, 32]), 1)
//     =>
//   n = 3
//
// Does not fire: some element depends on a dynamic dim; the constant would make the file grow.
// Dims are trusted as declared and inferred, as runtimes trust them.
// Source: the data propagation of ONNX's operator schemas, and Div's truncation towards zero.

#include "libopt/analysis/seam.h"
#include "libopt/io/encode.h"
#include "passes/growth.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Value& value;
  Tensor tensor;
};

MatchOr<Match> match(const Node& node, const PassContext& context) {
  if (!node.domain().empty() || node.num_outputs() != 1 || !node.has_output(0)) return no_match();
  const Value& value = node.output(0);
  const ValueType& type = value.type();
  const bool is_integer = type.dtype == DataType::kInt64 || type.dtype == DataType::kInt32;
  if (!type.is_tensor() || !is_integer || type.rank().value_or(2) > 1) return no_match();
  const auto elements = known_elements(value);
  if (!elements) return no_match("depends on a dynamic dim");
  std::vector<int64_t> dims;
  if (type.rank() == 1) dims.push_back(static_cast<int64_t>(elements->size()));
  Tensor tensor;
  if (type.dtype == DataType::kInt64) {
    tensor = Tensor::from(std::move(dims), *elements);
  } else {
    tensor =
        Tensor::from(std::move(dims), std::vector<int32_t>(elements->begin(), elements->end()));
  }
  if (!may_grow(context, static_cast<int64_t>(encode_tensor(value.name(), tensor).size()),
                bytes_freed_with(node)))
    return no_match("the constant would make the file grow");
  return Match{value, std::move(tensor)};
}

void rewrite(const Match& m, Rewriter& rw) { rw.make_constant(m.value, m.tensor); }

}  // namespace

constinit const PassInfo kFoldShape{
    .name = "fold-shape",
    .summary = "replace integer tensors that follow from known dims by constants",
    .roots = {"Shape", "Size", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Cast", "Add",
              "Sub", "Mul", "Div"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
