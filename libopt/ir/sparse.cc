#include "libopt/ir/sparse.h"

#include <cstring>
#include <optional>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

Error bad(const SparseTensor& sparse, const std::string& what) {
  return {ErrorCode::kBadModel, "sparse tensor '" + sparse.values.name + "' " + what, {}};
}

// Where each value stands among the elements, in order of dims.
Result<std::vector<size_t>> positions(const SparseTensor& s, int64_t elements) {
  const Tensor& indices = s.indices.tensor;
  const int64_t stored = s.values.tensor.count();
  const auto rank = static_cast<int64_t>(s.dims.size());
  const bool linear = indices.rank() == 1;
  const bool fits =
      linear ? indices.dims()[0] == stored
             : indices.rank() == 2 && indices.dims()[0] == stored && indices.dims()[1] == rank;
  if (indices.dtype() != DataType::kInt64 || s.values.tensor.rank() != 1 || !fits)
    return bad(s, "has values " + format_dims(s.values.tensor.dims()) + " and indices " +
                      std::string(name(indices.dtype())) + format_dims(indices.dims()) +
                      ", expected int64 [n] or [n, " + std::to_string(rank) + "] for n values");
  const std::vector<int64_t> given = indices.values<int64_t>();
  std::vector<size_t> out;
  out.reserve(static_cast<size_t>(stored));
  for (int64_t i = 0; i < stored; ++i) {
    int64_t at = linear ? given[static_cast<size_t>(i)] : 0;
    bool inside = true;
    for (int64_t d = 0; d < (linear ? 0 : rank); ++d) {
      const int64_t index = given[static_cast<size_t>(i * rank + d)],
                    extent = s.dims[static_cast<size_t>(d)];
      inside &= index >= 0 && index < extent;
      at = inside ? at * extent + index : 0;
    }
    if (!inside || at < 0 || at >= elements)
      return bad(s, "has an index outside of its dims " + format_dims(s.dims));
    out.push_back(static_cast<size_t>(at));
  }
  return out;
}

}  // namespace

Result<Tensor> densify(const SparseTensor& sparse) {
  const Tensor& values = sparse.values.tensor;
  const auto elements = checked_product(sparse.dims);
  if (!elements) return bad(sparse, "has the impossible dims " + format_dims(sparse.dims));
  ONNXTOOL_ASSIGN(const std::vector<size_t> at, positions(sparse, *elements));
  if (values.dtype() == DataType::kString) {
    std::vector<std::string> out(static_cast<size_t>(*elements));
    for (size_t i = 0; i < at.size(); ++i) out[at[i]] = values.strings()[i];
    return Tensor::from_strings(sparse.dims, std::move(out));
  }
  if (bits_of(values.dtype()) < 8)
    return bad(sparse,
               "has elements of type " + std::string(name(values.dtype())) + ", which share bytes");
  const auto size = static_cast<size_t>(bits_of(values.dtype()) / 8);
  const auto bytes = checked_mul(*elements, static_cast<int64_t>(size));
  if (!bytes) return bad(sparse, "has the impossible dims " + format_dims(sparse.dims));
  std::vector<std::byte> out(static_cast<size_t>(*bytes));
  for (size_t i = 0; i < at.size(); ++i)
    std::memcpy(out.data() + at[i] * size, values.bytes().data() + i * size, size);
  return Tensor::from_bytes(values.dtype(), sparse.dims, std::move(out));
}

}  // namespace onnxtool
