// ConvTranspose-1, 11, 22 in float32, channels last:
//   y[n, m, i * stride - pad + k * dilation] += x[n, c, i] * w[c, m, k]    over c in group(m), on
//   top of b[m]
// Each pixel of x is multiplied by all taps at once, a 1x1 convolution with [taps, M] outputs, and
// every row of y gathers the taps that fall on it. A task owns a band of rows, so the order of its
// sums is fixed; bands are small enough for their products to stay in the cache.

#include <algorithm>

#include "calib/kernels/dnnl/conv_node.h"
#include "calib/kernels/dnnl/convolution.h"
#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/multiversion.h"
#include "calib/kernels/dnnl/pieces.h"
#include "calib/kernels/dnnl/shape_cache.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

// Products of one band, in floats: half of a usual second-level cache.
constexpr int64_t kBandFloats = 128 * 1024;

// Two spatial axes; the first has extent 1 for 1-D.
struct Geometry {
  int64_t group = 1, in_channels = 0, out_channels = 0;
  int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1}, begin[2] = {0, 0},
          end[2] = {0, 0}, extra[2] = {0, 0};

  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t out(int axis, int64_t in) const {
    return (in - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 + extra[axis] -
           begin[axis] - end[axis];
  }
};

// Rows [out_begin, out_end) of y come from rows [in_begin, in_end) of x.
struct Band {
  int64_t image, out_begin, out_end, in_begin, in_end;
  size_t primitive;
};

struct Primitive {
  Executable code;
  std::shared_ptr<const PackedWeights> packed;
};

struct Plan {
  std::vector<Primitive> primitives;
  std::vector<Band> bands;
  int64_t most_rows = 0;
  size_t scratch_bytes = 0;
};

struct State final : KernelState {
  Geometry geometry;
  size_t rank = 0;
  std::vector<float> bias;
  mutable WeightStore weights;
  mutable ShapeCache<Plan> plans;
};

ONNXTOOL_MULTIVERSION void add_to(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

std::optional<Geometry> geometry_of(const NodeView& node) {
  const ConstView* w = node.has_input(1) ? node.constant(1) : nullptr;
  const auto a = window_attributes(node);
  if (!w || w->dtype != DataType::kFloat || w->count == 0 || (w->rank() != 3 && w->rank() != 4) ||
      !a || a->auto_pad != AutoPad::kNotSet || node.has_attribute("output_shape"))
    return std::nullopt;
  if (node.has_input(2)) {
    const ConstView* b = node.constant(2);
    if (!b || b->dtype != DataType::kFloat || b->rank() != 1) return std::nullopt;
  }
  Geometry g;
  g.group = node.attr_int("group", 1);
  if (g.group < 1 || w->dims[0] % g.group != 0) return std::nullopt;
  g.in_channels = w->dims[0];
  g.out_channels = w->dims[1] * g.group;
  if (node.has_input(2) && node.constant(2)->count != g.out_channels) return std::nullopt;
  const size_t rank = w->dims.size() - 2;
  const std::span<const int64_t> extra = node.attr_ints("output_padding");
  const auto fits = [&](std::span<const int64_t> v, size_t n) {
    return v.empty() || v.size() == n;
  };
  if (!fits(a->strides, rank) || !fits(a->dilations, rank) || !fits(a->pads, 2 * rank) ||
      !fits(extra, rank) || !fits(a->kernel, rank))
    return std::nullopt;
  for (size_t i = 0; i < rank; ++i) {
    const size_t to = i + 2 - rank;
    g.kernel[to] = w->dims[i + 2];
    if (!a->kernel.empty() && a->kernel[i] != g.kernel[to]) return std::nullopt;
    if (!a->strides.empty()) g.stride[to] = a->strides[i];
    if (!a->dilations.empty()) g.dilation[to] = a->dilations[i];
    if (!a->pads.empty()) g.begin[to] = a->pads[i], g.end[to] = a->pads[rank + i];
    if (!extra.empty()) g.extra[to] = extra[i];
    if (g.extra[to] < 0 || g.kernel[to] > 4096 || g.dilation[to] > 4096 || g.stride[to] > 4096)
      return std::nullopt;
  }
  return g;
}

ConvolutionProblem product_of(const Geometry& g, int64_t pixels) {
  return {.images = 1,
          .in_channels = g.in_channels,
          .out_channels = g.taps() * g.out_channels,
          .groups = g.group,
          .in = {1, pixels},
          .out = {1, pixels},
          .kernel = {1, 1},
          .strides = {1, 1},
          .dilations = {1, 1},
          .pads_begin = {0, 0},
          .pads_end = {0, 0}};
}

// Narrow groups make lines too short to add efficiently.
constexpr int64_t kLeastLine = 8;

bool accepts(const NodeView& node) {
  const auto g = geometry_of(node);
  return g && node.input_dtype(0) == DataType::kFloat && !has_nothing_to_multiply(node) &&
         (g->group == 1 || g->out_channels / g->group >= kLeastLine) &&
         has_fast_convolution(product_of(*g, 256));
}

Result<Plan> make_plan(const Geometry& g, std::span<const int64_t> in, WeightStore& weights,
                       int64_t images) {
  Plan plan;
  hold_to_one_thread();
  const int64_t out_rows = g.out(0, in[0]), line = in[1] * g.taps() * g.out_channels;
  const int64_t reach = (g.kernel[0] - 1) * g.dilation[0];
  // Rows of x that a band of y rows shares with its neighbours are multiplied twice: not too few
  // rows.
  const int64_t rows = std::max(kBandFloats / line, 4 * (reach / g.stride[0]) + 1);
  const int64_t bands = std::max<int64_t>((in[0] + rows - 1) / rows, 1);
  std::vector<int64_t> known;  // rows of each primitive
  for (int64_t i = 0; i < images * bands; ++i) {
    Band b{.image = i / bands,
           .out_begin = out_rows * (i % bands) / bands,
           .out_end = out_rows * (i % bands + 1) / bands,
           .in_begin = 0,
           .in_end = 0,
           .primitive = 0};
    // The first x row whose last tap reaches the band, to the last one whose first tap does.
    const int64_t from = b.out_begin + g.begin[0] - reach;
    b.in_begin =
        std::clamp<int64_t>(from <= 0 ? 0 : (from + g.stride[0] - 1) / g.stride[0], 0, in[0]);
    b.in_end =
        std::clamp<int64_t>((b.out_end - 1 + g.begin[0]) / g.stride[0] + 1, b.in_begin, in[0]);
    if (b.in_end > b.in_begin) {
      const int64_t size = b.in_end - b.in_begin;
      const auto found = std::find(known.begin(), known.end(), size);
      b.primitive = static_cast<size_t>(found - known.begin());
      if (found == known.end()) {
        const auto d = describe_product(product_of(g, size * in[1]));
        known.push_back(size);
        auto packed = weights.in_order(d.desc.weights_desc());
        if (!packed)
          return kernel_error(ErrorCode::kOutOfMemory, "out of memory while reordering weights");
        const size_t scratch = d.desc.scratchpad_desc().get_size();
        Executable code(dnnl::convolution_forward(d.desc),
                        {{DNNL_ARG_SRC, d.desc.src_desc()},
                         {DNNL_ARG_WEIGHTS, d.desc.weights_desc(), packed->data.get()},
                         {DNNL_ARG_DST, d.desc.dst_desc()},
                         {DNNL_ARG_SCRATCHPAD, scratch_desc(scratch)}});
        plan.primitives.push_back({std::move(code), std::move(packed)});
        plan.scratch_bytes = std::max(plan.scratch_bytes, scratch);
        plan.most_rows = std::max(plan.most_rows, size);
      }
    }
    plan.bands.push_back(b);
  }
  plan.scratch_bytes = (plan.scratch_bytes + 63) / 64 * 64;
  return plan;
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<State>();
  const Geometry g = state->geometry = *geometry_of(node);
  const ConstView& w = *node.constant(1);
  state->rank = w.dims.size();
  state->bias.assign(static_cast<size_t>(g.out_channels), 0.0f);
  if (node.has_input(2)) {
    const auto b = node.constant(2)->as<float>();
    std::copy(b.begin(), b.end(), state->bias.begin());
    node.drop_constant(2);
  }
  // [C, M / group, taps] to [group, taps, M / group, C / group].
  const int64_t c_group = g.in_channels / g.group, m_group = g.out_channels / g.group,
                taps = g.taps();
  const auto from = w.as<float>();
  std::vector<float> ordered(from.size());
  for (int64_t c = 0; c < g.in_channels; ++c)
    for (int64_t m = 0; m < m_group; ++m)
      for (int64_t t = 0; t < taps; ++t)
        ordered[static_cast<size_t>(((c / c_group * taps + t) * m_group + m) * c_group +
                                    c % c_group)] =
            from[static_cast<size_t>((c * m_group + m) * taps + t)];
  state->weights.set_original(plain_desc(product_of(g, 1).weight_dims()), ordered.data());
  const std::span<const int64_t> x = node.input_dims(0);
  const bool known = x.size() == state->rank;
  const int64_t height = state->rank == 3    ? 1
                         : known && x[2] > 0 ? x[2]
                                             : 28,
                width = known && x.back() > 0 ? x.back() : 28;
  // Unless the input is all padding, in which case running says so.
  if (g.out(0, height) > 0) {
    ONNXTOOL_ASSIGN(const auto made, state->plans.get({1, height, width}, [&] {
      const int64_t in[] = {height, width};
      return catching([&] { return make_plan(g, in, state->weights, 1); });
    }));
  } else {
    const Status packed = catching([&]() -> Status {
      hold_to_one_thread();
      if (state->weights.in_order(describe_product(product_of(g, 256)).desc.weights_desc()))
        return {};
      return kernel_error(ErrorCode::kOutOfMemory, "out of memory while reordering weights");
    });
    if (!packed.ok()) return packed.error();
  }
  state->weights.forget_original();
  node.drop_constant(1);
  return {std::move(state)};
}

// Row `oh` of y from the products of rows [in_begin, in_end) of x, [rows, width, group, taps, M /
// group].
void gather_row(const Geometry& g, const Band& band, const float* products, int64_t width,
                const std::vector<float>& bias, int64_t oh, int64_t out_width, float* y) {
  const int64_t m_group = g.out_channels / g.group, pixel = g.taps() * g.out_channels;
  for (int64_t ow = 0; ow < out_width; ++ow)
    std::copy(bias.begin(), bias.end(), y + ow * g.out_channels);
  for (int64_t kh = 0; kh < g.kernel[0]; ++kh) {
    const int64_t at = oh + g.begin[0] - kh * g.dilation[0];
    if (at < 0 || at % g.stride[0] != 0 || at / g.stride[0] >= band.in_end) continue;
    const float* row = products + (at / g.stride[0] - band.in_begin) * width * pixel;
    for (int64_t iw = 0; iw < width; ++iw) {
      const int64_t start = iw * g.stride[1] - g.begin[1];
      const float* from = row + iw * pixel + kh * g.kernel[1] * m_group;
      if (g.group == 1 && g.dilation[1] == 1) {
        // Neighbouring taps are neighbours in y too.
        const int64_t first = std::clamp<int64_t>(-start, 0, g.kernel[1]),
                      last = std::clamp<int64_t>(out_width - start, first, g.kernel[1]);
        add_to(from + first * m_group, (last - first) * m_group, y + (start + first) * m_group);
        continue;
      }
      for (int64_t kw = 0; kw < g.kernel[1]; ++kw) {
        const int64_t ow = start + kw * g.dilation[1];
        if (ow < 0 || ow >= out_width) continue;
        for (int64_t i = 0; i < g.group; ++i)
          add_to(from + i * g.taps() * m_group + kw * m_group, m_group,
                 y + ow * g.out_channels + i * m_group);
      }
    }
  }
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const State&>(*ctx.state());
  const Geometry& g = state.geometry;
  const ConstView& x = ctx.input(0);
  if (x.dims.size() != state.rank || x.dims[1] != g.in_channels)
    return kernel_error(ErrorCode::kMismatch, "input has dims " + dims_text(x.dims) +
                                                  ", expected " + std::to_string(g.in_channels) +
                                                  " channels and " +
                                                  std::to_string(state.rank - 2) + " spatial axes");
  const int64_t in[] = {state.rank == 3 ? 1 : x.dims[2], x.dims.back()};
  const int64_t out[] = {g.out(0, in[0]), g.out(1, in[1])};
  if (in[0] < 1 || in[1] < 1 || out[0] < 1 || out[1] < 1)
    return kernel_error(ErrorCode::kMismatch,
                        "an input of dims " + dims_text(x.dims) + " leaves no output");
  std::vector<int64_t> dims{x.dims[0], g.out_channels};
  dims.insert(dims.end(), state.rank == 3 ? out + 1 : out, out + 2);
  const Layout layout = is_same_in_both_layouts(dims) ? Layout::kPlain : Layout::kChannelsLast;
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, dims, layout));
  if (y.count == 0) return {};
  ONNXTOOL_ASSIGN(const float* source, channels_last_input<float>(ctx, 0));
  ONNXTOOL_ASSIGN(const auto plan, state.plans.get({x.dims[0], in[0], in[1]}, [&] {
    return catching([&] { return make_plan(g, in, state.weights, x.dims[0]); });
  }));
  const size_t product_bytes =
      static_cast<size_t>(plan->most_rows * in[1] * g.taps() * g.out_channels) * sizeof(float);
  return run_all_pieces(
      ctx, plan->bands.size(), plan->scratch_bytes + product_bytes,
      [&](size_t i, void* scratch) -> Status {
        const Band& band = plan->bands[i];
        const auto* products =
            reinterpret_cast<const float*>(static_cast<std::byte*>(scratch) + plan->scratch_bytes);
        if (band.in_end > band.in_begin) {
          const Primitive& p = plan->primitives[band.primitive];
          p.code.execute({source + (band.image * in[0] + band.in_begin) * in[1] * g.in_channels,
                          nullptr, products, scratch});
        }
        for (int64_t oh = band.out_begin; oh < band.out_end; ++oh)
          gather_row(
              g, band, products, in[1], state.bias, oh, out[1],
              static_cast<float*>(y.data) + (band.image * out[0] + oh) * out[1] * g.out_channels);
        return {};
      });
}

}  // namespace

constinit const KernelInfo kConvTranspose{.op = "ConvTranspose",
                                          .types = {DataType::kFloat},
                                          .prepare = prepare,
                                          .run = run,
                                          .accepts = accepts,
                                          .takes_layout = [](int input, Layout layout) {
                                            return input == 0 && layout == Layout::kChannelsLast;
                                          }};

}  // namespace onnxtool
