// What the inputs of a layer look like together: the sum of x x^T over all that it reads.
//
// A layer y = W x whose weights become W + E errs by |E x|^2 = tr(E M E^T) in all, M the sum: the
// algorithms that choose codes by what they do to outputs need no sample more than once.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "calib/data/source.h"
#include "calib/ranges/collect.h"
#include "libopt/ir/graph.h"

namespace onnxtool {

/// A value, as one kind of layer reads it.
struct LayerInput {
  const Value* value = nullptr;  // of the main graph
  /// MatMul or Gemm: a row of the value is an x, with transA a column. Conv: a window of one group
  /// is, some hundred of them a sample.
  const Node* layer = nullptr;
  int64_t depth = 0;   // elements of x
  int64_t groups = 1;  // of a Conv
};

struct InputMoments {
  int64_t depth = 0, rows = 0;  // rows: how many x there were
  std::vector<float> sums;      // [groups, depth, depth], symmetric
  size_t size_bytes() const { return sums.size() * sizeof(float); }
  /// Of the same depth.
  void add(const InputMoments& other);
  float at(int64_t i) const { return sums[static_cast<size_t>(i * depth + i)]; }
};

/// One for each input, the same bits for any thread count. Errors: NaN or infinities in a value
/// (kNotFinite), a value whose rows have another length.
Result<std::vector<InputMoments>> collect_moments(const Graph& graph,
                                                  std::span<const LayerInput> inputs,
                                                  const SampleSource& source,
                                                  const RunOptions& run);

}  // namespace onnxtool
