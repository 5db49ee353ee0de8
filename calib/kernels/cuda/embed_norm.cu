// com.microsoft.EmbedLayerNormalization on a device: cpu/embedding.h checks ids and the mask on the
// host, and row numbers go back; rows are normalized as norm.h has them.

#include "calib/kernels/cpu/embedding.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cuda/norm.h"

namespace onnxtool {
namespace {

using In = EmbedInput;
using device::Divider;

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_embed_inputs(node));
  return std::unique_ptr<KernelState>();
}

// One table's rows, which repeat.
template <class T>
struct Table {
  const T* data = nullptr;  // nullptr: none
  const int64_t* rows = nullptr;
  Divider count;
};

template <class T>
struct SumTables {
  Table<T> words, positions, segments;
  Divider size;
  T* sums;
  ONNXTOOL_HD T from(const Table<T>& t, int64_t row, int64_t column) const {
    return t.data[t.rows[t.count.remainder(row)] * size.by() + column];
  }
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t row = i;
    const int64_t column = size.split(row);
    const T sum = from(words, row, column) + from(positions, row, column);
    sums[i] = segments.data ? sum + from(segments, row, column) : sum;
  }
};

template <class T>
struct RoundSums {
  DataType type;
  const T* sums;
  void* y;
  ONNXTOOL_HD void operator()(int64_t i) const { device::store<T>(type, y, i, sums[i]); }
};

template <class T>
Result<Table<T>> table_of(KernelContext& ctx, In table, const Dims& rows) {
  Table<T> t;
  if (rows.empty()) return t;
  const DataType type = ctx.input(at(In::kWordTable)).dtype;
  ONNXTOOL_ASSIGN(t.data, float_input<T>(ctx, at(table), type, "an embedding"));
  const size_t size = rows.size() * sizeof(int64_t);
  ONNXTOOL_ASSIGN(void* there, ctx.scratch(size));
  device::upload(there, rows.data(), size);
  t.rows = static_cast<const int64_t*>(there);
  t.count = Divider(static_cast<int64_t>(rows.size()));
  return t;
}

template <class T>
Status compute(KernelContext& ctx, const EmbedRows& e) {
  const DataType type = ctx.input(at(In::kWordTable)).dtype;
  ONNXTOOL_ASSIGN(const T* gamma, float_input<T>(ctx, at(In::kGamma), type, "gamma"));
  ONNXTOOL_ASSIGN(const T* beta, float_input<T>(ctx, at(In::kBeta), type, "beta"));
  const Dims dims{e.batches, e.rows, e.size};
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, dims));
  MutableView shown;
  if (ctx.wants_output(2)) {
    ONNXTOOL_ASSIGN(shown, ctx.output(2, type, dims));
  }
  if (y.count() == 0) return {};
  SumTables<T> tables;
  ONNXTOOL_ASSIGN(tables.words, table_of<T>(ctx, In::kWordTable, e.words));
  ONNXTOOL_ASSIGN(tables.positions, table_of<T>(ctx, In::kPositionTable, e.positions));
  ONNXTOOL_ASSIGN(tables.segments, table_of<T>(ctx, In::kSegmentTable, e.segments));
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(y.count()) * sizeof(T)));
  tables.size = Divider(e.size);
  tables.sums = static_cast<T*>(buffer);
  device::for_each_index(y.count(), tables);
  const double epsilon = ctx.node().attr_float("epsilon", 1e-12f);
  ONNXTOOL_ASSIGN(
      const device::Statistics statistics,
      device::statistics_of(ctx, tables.sums, e.batches * e.rows, e.size, epsilon, true));
  device::for_each_index(y.count(), device::NormalizeElements<T>{
                                        tables.sums, gamma, beta, y.data<T>(), Divider(e.size),
                                        statistics, Divider(1), Divider(e.size)});
  y.finish(ctx);
  if (shown.data) device::for_each_index(shown.count, RoundSums<T>{type, tables.sums, shown.data});
  return {};
}

Status run(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const EmbedRows rows, embed_rows(ctx));
  if (ctx.wants_output(1)) {
    ONNXTOOL_ASSIGN(const std::vector<int32_t> counts, embed_mask_counts(ctx));
    ONNXTOOL_ASSIGN(const MutableView out,
                    ctx.output(1, DataType::kInt32, std::span(&rows.batches, 1)));
    if (out.count) device::upload(out.data, counts.data(), counts.size() * sizeof(int32_t));
  }
  return dispatch_float(ctx.input(at(In::kWordTable)).dtype,
                        [&]<class T>() -> Status { return compute<T>(ctx, rows); });
}

InputUse use(const NodeView&, int input) {
  const auto i = static_cast<In>(input);
  const bool is_looked_at =
      i == In::kIds || i == In::kSegments || i == In::kMask || i == In::kPositions;
  return is_looked_at ? InputUse::kHost : InputUse::kData;
}

}  // namespace

constinit const KernelInfo kEmbedLayerNormalization{.domain = "com.microsoft",
                                                    .op = "EmbedLayerNormalization",
                                                    .types = {DataType::kInt32, DataType::kInt64},
                                                    .prepare = prepare,
                                                    .run = run,
                                                    .use = use};

}  // namespace onnxtool
