// Einsum-12. Operands are contracted from left to right, two at a time: axes that only one operand
// has and that are not needed later are summed first, then both become [batch, rows, depth] and
// [batch, depth, columns] and are multiplied. Floats go through the blocked products (half types as
// float, rounded once); integers wrap.

#include "calib/kernels/cpu/einsum_equation.h"

#include <functional>

#include "calib/kernels/cpu/cells.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/walk.h"
#if !defined(ONNXTOOL_DEVICE_KERNELS)
#include "calib/kernels/cpu/plain_sink.h"
#endif

namespace onnxtool {
namespace {

#if !defined(ONNXTOOL_DEVICE_KERNELS)  // a device has products of its own
// y[batch, m, n] = a[batch, m, k] * b[batch, k, n]
template <class T>
Status multiply_matrices(KernelContext& ctx, const GemmIsa& isa, int64_t batch, int64_t m,
                         int64_t n, int64_t k, const T* a, const T* b, T* y) {
  if constexpr (std::is_floating_point_v<T>) {
    return for_each_product<T>(
        ctx, isa, batch, m, n, k, [&](int64_t i) { return MatrixPanels<T>(a + i * m * k, 1, k); },
        [&](int64_t i) {
          return MatrixPanels<T>(b + i * k * n, n, 1, ceil_div(m, tile_rows_of<T>(isa)));
        },
        PlainSink<T>(y, m, n));
  } else {
    ctx.parallel(batch * m, grain_of(n * k), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        std::fill_n(y + row * n, n, T{});
        for (int64_t i = 0; i < k; ++i)
          for (int64_t j = 0; j < n; ++j)
            y[row * n + j] += a[row * k + i] * b[(row / m * k + i) * n + j];
      }
    });
    return {};
  }
}

bool accepts(const NodeView&) { return true; }
#endif

// An operand by labelled axes, each label once.
struct Term {
  AxisLabels labels;
  Dims extents, strides;
  const void* data = nullptr;

  bool has(int label) const { return std::ranges::find(labels, label) != labels.end(); }
  size_t axis(int label) const {
    return static_cast<size_t>(std::ranges::find(labels, label) - labels.begin());
  }
  int64_t extent(int label) const { return has(label) ? extents[axis(label)] : 1; }
};

// Repeated labels walk the diagonal.
Result<Term> make_term(const ConstView& view, const AxisLabels& labels) {
  const Dims strides = contiguous_strides(view.dims);
  Term term;
  term.data = view.data;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (!term.has(labels[i])) {
      term.labels.push_back(labels[i]);
      term.extents.push_back(view.dims[i]);
      term.strides.push_back(strides[i]);
      continue;
    }
    const size_t axis = term.axis(labels[i]);
    if (term.extents[axis] != view.dims[i])
      return mismatch("an axis that is named twice has extents " +
                      std::to_string(term.extents[axis]) + " and " + std::to_string(view.dims[i]));
    term.strides[axis] += strides[i];
  }
  return term;
}

template <class T>
struct SumRows {
  const T* x;
  T* y;
  int64_t length;
  ONNXTOOL_HD void operator()(int64_t row) const {
    T sum{};
    for (int64_t i = 0; i < length; ++i) sum += x[row * length + i];
    y[row] = sum;
  }
};

template <class T>
class Contraction {
 public:
  Contraction(KernelContext& ctx, const GemmIsa& isa) : ctx_(ctx), isa_(isa) {}

  Status run(const EinsumEquation& equation, std::span<const ConstView> inputs, T* out,
             std::span<const int64_t> out_dims);

 private:
  // The labels of the later operands and of the output.
  static std::vector<bool> needed_after(const EinsumEquation& equation, size_t operand);
  Result<T*> buffer(std::span<const int64_t> dims);
  // The term's elements in the order of `labels`, repeated where it has extent 1 or no such axis.
  Result<const T*> arrange(const Term& term, const AxisLabels& labels, const Dims& extents);
  Result<Term> sum_out(const Term& term, const std::function<bool(int)>& keep);
  Result<Term> multiply(const Term& a, const Term& b, const std::vector<bool>& needed);

  KernelContext& ctx_;
  const GemmIsa& isa_;
};

constexpr size_t kLabels = kFirstEllipsisLabel + 64;

template <class T>
std::vector<bool> Contraction<T>::needed_after(const EinsumEquation& equation, size_t operand) {
  std::vector<bool> needed(kLabels);
  for (size_t i = operand + 1; i < equation.inputs.size(); ++i)
    for (const int label : equation.inputs[i]) needed[static_cast<size_t>(label)] = true;
  for (const int label : equation.output) needed[static_cast<size_t>(label)] = true;
  return needed;
}

template <class T>
Result<T*> Contraction<T>::buffer(std::span<const int64_t> dims) {
  const auto count = checked_product(dims);
  const auto bytes = count ? checked_mul(*count, sizeof(T)) : std::nullopt;
  if (!bytes)
    return kernel_error(ErrorCode::kLimit,
                        "an intermediate of shape " + format_dims(dims) + " is too large");
  ONNXTOOL_ASSIGN(void* data, ctx_.scratch(static_cast<size_t>(*bytes)));
  return static_cast<T*>(data);
}

template <class T>
Result<const T*> Contraction<T>::arrange(const Term& term, const AxisLabels& labels,
                                         const Dims& extents) {
  Walk<1> walk{extents, {Dims(labels.size(), 0)}};
  for (size_t i = 0; i < labels.size(); ++i)
    if (term.extent(labels[i]) != 1) walk.strides[0][i] = term.strides[term.axis(labels[i])];
  const Dims plain = contiguous_strides(extents);
  bool as_it_is = true;
  for (size_t i = 0; i < extents.size(); ++i)
    as_it_is = as_it_is && (extents[i] == 1 || walk.strides[0][i] == plain[i]);
  if (as_it_is) return static_cast<const T*>(term.data);
  ONNXTOOL_ASSIGN(T * copy, buffer(extents));
  if (checked_product(extents) != 0) copy_strided(ctx_, dtype_of<T>, term.data, walk, copy);
  return static_cast<const T*>(copy);
}

template <class T>
Result<Term> Contraction<T>::sum_out(const Term& term, const std::function<bool(int)>& keep) {
  Term kept;
  AxisLabels order;
  Dims extents;
  for (const bool wanted : {true, false})
    for (size_t i = 0; i < term.labels.size(); ++i) {
      if (keep(term.labels[i]) != wanted) continue;
      order.push_back(term.labels[i]);
      extents.push_back(term.extents[i]);
      if (wanted) kept.labels.push_back(term.labels[i]);
    }
  if (order.size() == kept.labels.size()) return term;
  kept.extents.assign(extents.begin(), extents.begin() + static_cast<int64_t>(kept.labels.size()));
  kept.strides = contiguous_strides(kept.extents);
  ONNXTOOL_ASSIGN(const T* from, arrange(term, order, extents));
  ONNXTOOL_ASSIGN(T * to, buffer(kept.extents));
  kept.data = to;
  const int64_t rows = product(kept.extents);
  const int64_t length = product(extents, kept.extents.size(), extents.size());
  for_each_row(ctx_, rows, length, SumRows<T>{from, to, length});
  return kept;
}

template <class T>
Result<Term> Contraction<T>::multiply(const Term& a, const Term& b,
                                      const std::vector<bool>& needed) {
  const auto is_needed = [&](int label) { return needed[static_cast<size_t>(label)]; };
  ONNXTOOL_ASSIGN(const Term left, sum_out(a, [&](int l) { return is_needed(l) || b.has(l); }));
  ONNXTOOL_ASSIGN(const Term right, sum_out(b, [&](int l) { return is_needed(l) || a.has(l); }));
  AxisLabels batch, rows, depth, columns;
  for (const int label : left.labels)
    (!right.has(label) ? rows : is_needed(label) ? batch : depth).push_back(label);
  for (const int label : right.labels)
    if (!left.has(label)) columns.push_back(label);
  const auto joined = [](std::initializer_list<const AxisLabels*> parts) {
    AxisLabels all;
    for (const AxisLabels* part : parts) all.insert(all.end(), part->begin(), part->end());
    return all;
  };
  const auto extents_of = [&](const AxisLabels& labels) {
    Dims extents;
    for (const int label : labels) {
      const int64_t x = left.extent(label), y = right.extent(label);
      extents.push_back(x == 1 ? y : x);
    }
    return extents;
  };
  const AxisLabels a_order = joined({&batch, &rows, &depth}),
                   b_order = joined({&batch, &depth, &columns});
  ONNXTOOL_ASSIGN(const T* from, arrange(left, a_order, extents_of(a_order)));
  ONNXTOOL_ASSIGN(const T* with, arrange(right, b_order, extents_of(b_order)));
  Term result;
  result.labels = joined({&batch, &rows, &columns});
  result.extents = extents_of(result.labels);
  result.strides = contiguous_strides(result.extents);
  ONNXTOOL_ASSIGN(T * to, buffer(result.extents));
  result.data = to;
  if (checked_product(result.extents) == 0) return result;
  const auto count = [&](const AxisLabels& labels) { return product(extents_of(labels)); };
  ONNXTOOL_TRY(multiply_matrices<T>(ctx_, isa_, count(batch), count(rows), count(columns),
                                    count(depth), from, with, to));
  return result;
}

template <class T>
Status Contraction<T>::run(const EinsumEquation& equation, std::span<const ConstView> inputs,
                           T* out, std::span<const int64_t> out_dims) {
  ONNXTOOL_ASSIGN(Term sum, make_term(inputs[0], equation.inputs[0]));
  for (size_t i = 1; i < inputs.size(); ++i) {
    ONNXTOOL_ASSIGN(const Term next, make_term(inputs[i], equation.inputs[i]));
    ONNXTOOL_ASSIGN(sum, multiply(sum, next, needed_after(equation, i)));
  }
  const std::vector<bool> needed = needed_after(equation, inputs.size() - 1);
  ONNXTOOL_ASSIGN(sum, sum_out(sum, [&](int l) { return needed[static_cast<size_t>(l)]; }));
  ONNXTOOL_ASSIGN(const T* result, arrange(sum, equation.output, to_dims(out_dims)));
  copy_memory(out, result, static_cast<size_t>(product(out_dims)) * sizeof(T));
  return {};
}

struct EinsumState final : KernelState {
  const GemmIsa* isa;
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  if (auto inputs = needs_every_input(node); !inputs.ok()) return inputs;
  if (!node.has_attribute("equation")) return bad_model("attribute 'equation' is missing");
  auto state = std::make_unique<EinsumState>();
  state->isa = &kIsa();
  return {std::move(state)};
}

// Extents of the output; those of one label must agree or be 1.
Result<Dims> output_dims(const EinsumEquation& equation, std::span<const ConstView> inputs) {
  std::vector<int64_t> extents(kLabels, 1);
  for (size_t i = 0; i < inputs.size(); ++i)
    for (size_t axis = 0; axis < equation.inputs[i].size(); ++axis) {
      int64_t& extent = extents[static_cast<size_t>(equation.inputs[i][axis])];
      const int64_t given = inputs[i].dims[axis];
      if (extent != 1 && given != 1 && given != extent)
        return mismatch("axis " + std::to_string(axis) + " of input " + std::to_string(i) +
                        " has extent " + std::to_string(given) +
                        ", but another axis of its name has " + std::to_string(extent));
      if (given != 1) extent = given;
    }
  Dims dims;
  for (const int label : equation.output) dims.push_back(extents[static_cast<size_t>(label)]);
  return dims;
}

Status run(KernelContext& ctx) {
  const NodeView& node = ctx.node();
  const DataType type = ctx.input(0).dtype;
  std::vector<ConstView> inputs;
  std::vector<size_t> ranks;
  for (int i = 0; i < node.num_inputs(); ++i) {
    if (ctx.input(i).dtype != type)
      return mismatch("input " + std::to_string(i) + " has element type " +
                      std::string(name(ctx.input(i).dtype)) + ", expected " +
                      std::string(name(type)));
    ONNXTOOL_ASSIGN(const ConstView wide, widened(ctx, ctx.input(i)));
    inputs.push_back(wide);
    ranks.push_back(wide.dims.size());
    if (wide.dims.size() > 60) return mismatch("input " + std::to_string(i) + " has too many axes");
  }
  ONNXTOOL_ASSIGN(const EinsumEquation equation,
                  parse_einsum(node.attr_string("equation", ""), ranks));
  ONNXTOOL_ASSIGN(const Dims dims, output_dims(equation, inputs));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  const auto compute = [&]<class T>() -> Status {
    Contraction<T> contraction(ctx, *static_cast<const EinsumState&>(*ctx.state()).isa);
    ONNXTOOL_TRY(contraction.run(equation, inputs, y.data<T>(), dims));
    y.finish(ctx);
    return {};
  };
  // Signed integers wrap as unsigned ones do.
  if (inputs[0].dtype == DataType::kInt32) return compute.template operator()<uint32_t>();
  if (inputs[0].dtype == DataType::kInt64) return compute.template operator()<uint64_t>();
  return dispatch(inputs[0].dtype, TypeList<float, double, uint64_t>{}, "input 0", compute);
}

constexpr KernelInfo info(std::initializer_list<DataType> types,
                          Result<std::unique_ptr<KernelState>> (*prepare)(const NodeView&)) {
  return {.op = "Einsum", .types = types, .prepare = prepare, .run = run, .accepts = accepts};
}

}  // namespace

constinit const KernelInfo kEinsum = info({}, prepare<gemm_isa>);
constinit const KernelInfo kEinsumPortable = info({}, prepare<gemm_isa_portable>);

}  // namespace onnxtool
