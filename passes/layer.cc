#include "passes/layer.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "passes/growth.h"

namespace onnxtool {
namespace {

bool all_finite(const std::vector<double>& values) {
  return std::ranges::all_of(values, [](double v) { return std::isfinite(v); });
}

// Rounds towards odd: what is then rounded to 16 bits comes out as if rounded only once.
float to_odd(double d) {
  const float f = static_cast<float>(d);
  if (static_cast<double>(f) == d || std::isnan(f)) return f;
  uint32_t bits = std::bit_cast<uint32_t>(f);
  if (std::abs(static_cast<double>(f)) > std::abs(d)) --bits;
  return std::bit_cast<float>(bits | 1);
}

// Output channel of weight element `i`.
int64_t channel_of(const Layer& layer, int64_t i) {
  const std::vector<int64_t>& dims = layer.weight->dims();
  switch (layer.kind) {
    case Layer::Kind::kConv:
      return i / (layer.weight->count() / layer.channels);  // [C_out, C_in / group, k...]
    case Layer::Kind::kConvTranspose: {                     // [C_in, C_out / group, k...]
      const int64_t group = layer.channels / dims[1],
                    inner = layer.weight->count() / (dims[0] * dims[1]);
      const int64_t c_in = i / (inner * dims[1]), within = i / inner % dims[1];
      return c_in / (dims[0] / group) * dims[1] + within;
    }
    case Layer::Kind::kGemm:
      if (layer.node->attr<int64_t>("transB", 0)) return i / dims[1];  // [N, K]
      return i % dims[1];                                              // [K, N]
    case Layer::Kind::kMatMul: return i % dims[1];                     // [K, N]
  }
  return 0;
}

// Gemm's C as [channels], where it is constant along axis 0.
std::vector<double> gemm_bias(const Tensor& c, int64_t channels) {
  std::vector<double> values = c.to_doubles();
  if (c.count() == 1) values.assign(static_cast<size_t>(channels), values[0]);
  const bool along_channels =
      c.count() == channels && (c.rank() == 1 || (c.rank() == 2 && c.dims()[0] == 1));
  return c.count() == 1 || along_channels ? values : std::vector<double>();
}

// Sets a constant input: in place where nobody else reads the old one, so that its name stays.
void set_constant_input(Rewriter& rw, const Node& node, int index, const Tensor& tensor,
                        std::string_view hint) {
  const Value* old = node.has_input(index) ? &node.input(index) : nullptr;
  if (old && old->initializer() && !old->is_graph_input() && old->has_one_use() &&
      &old->graph() == &node.graph()) {
    rw.set_constant(*old, tensor);
    return;
  }
  rw.set_input(node, index, &rw.add_constant(tensor, old ? std::string_view(old->name()) : hint));
}

}  // namespace

Tensor round_to(DataType dtype, std::vector<int64_t> dims, const std::vector<double>& values) {
  std::vector<std::byte> bytes(size_bytes_of(dtype, values.size()));
  const auto store = [&]<class T>(T (*convert)(double)) {
    for (size_t i = 0; i < values.size(); ++i) {
      const T v = convert(values[i]);
      std::memcpy(bytes.data() + i * sizeof(T), &v, sizeof(T));
    }
  };
  switch (dtype) {
    case DataType::kDouble: store.operator()<double>([](double d) { return d; }); break;
    case DataType::kFloat:
      store.operator()<float>([](double d) { return static_cast<float>(d); });
      break;
    case DataType::kFloat16:
      store.operator()<Half>([](double d) { return Half(to_odd(d)); });
      break;
    case DataType::kBfloat16:
      store.operator()<Bfloat16>([](double d) { return Bfloat16(to_odd(d)); });
      break;
    default: check_failed(__FILE__, __LINE__, "not a float type");
  }
  return Tensor::from_bytes(dtype, std::move(dims), std::move(bytes));
}

MatchOr<Layer> find_layer(const Value& value, const Node& reader) {
  const Node* node = value.producer();
  if (!node || !node->domain().empty())
    return no_match("input is made by no Conv, ConvTranspose, Gemm or MatMul");
  Layer layer{};
  layer.node = node;
  if (node->op_type() == "Conv")
    layer.kind = Layer::Kind::kConv;
  else if (node->op_type() == "ConvTranspose")
    layer.kind = Layer::Kind::kConvTranspose;
  else if (node->op_type() == "Gemm")
    layer.kind = Layer::Kind::kGemm;
  else if (node->op_type() == "MatMul")
    layer.kind = Layer::Kind::kMatMul;
  else
    return no_match("input is made by no Conv, ConvTranspose, Gemm or MatMul");

  if (!value.has_one_use()) return no_match("layer result has another use");
  if (&node->graph() != &reader.graph()) return no_match("layer is in another graph");
  layer.weight = node->has_input(1) ? node->input(1).constant() : nullptr;
  if (!layer.weight) return no_match("layer weight is not constant");
  const Tensor& w = *layer.weight;
  if (!is_float(w.dtype()) || w.count() == 0)
    return no_match("layer weight is not of a float type, or empty");
  const Tensor* bias = nullptr;
  if (node->has_input(2)) {
    bias = node->input(2).constant();
    if (!bias) return no_match("layer bias is not constant");
    if (!is_float(bias->dtype())) return no_match("layer bias is not of a float type");
  }

  const bool is_conv =
      layer.kind == Layer::Kind::kConv || layer.kind == Layer::Kind::kConvTranspose;
  if (is_conv) {
    if (w.rank() < 3) return no_match("layer weight has the wrong rank");
    const int64_t group = node->attr<int64_t>("group", 1);
    if (group < 1 || w.dims()[0] % group != 0)
      return no_match("group does not divide the weight's channels");
    layer.channels = layer.kind == Layer::Kind::kConv ? w.dims()[0] : w.dims()[1] * group;
    if (bias) layer.bias = bias->to_doubles();
  } else {
    if (w.rank() != 2) return no_match("layer weight has the wrong rank");
    const bool transposed =
        layer.kind == Layer::Kind::kGemm && node->attr<int64_t>("transB", 0) != 0;
    layer.channels = w.dims()[transposed ? 0 : 1];
    // Gemm broadcast its C by an attribute, and could not do without C, before opset 7.
    if (layer.kind == Layer::Kind::kGemm && node->opset() < 7)
      return no_match("opset below 7 broadcasts by attribute");
    if (layer.kind == Layer::Kind::kGemm && bias) {
      layer.bias = gemm_bias(*bias, layer.channels);
      const double beta = node->attr<float>("beta", 1.0f);
      for (double& b : layer.bias) b *= beta;
      if (layer.bias.empty()) return no_match("layer bias differs between rows");
    }
  }
  if (bias && static_cast<int64_t>(layer.bias.size()) != layer.channels)
    return no_match("layer bias has the wrong size");
  return layer;
}

double smallest_normal(DataType dtype) {
  return dtype == DataType::kFloat16 ? 0x1p-14 : dtype == DataType::kDouble ? 0x1p-1022 : 0x1p-126;
}

namespace {

// Whether a channel's numbers are so small that they have fewer bits than before: below the normal
// numbers each halving costs one.
bool loses_bits(const Layer& l, const std::vector<double>& scale, const std::vector<double>& before,
                const std::vector<double>& after) {
  const double least = smallest_normal(l.weight->dtype());
  std::vector<double> most_before(static_cast<size_t>(l.channels)), most_after = most_before;
  for (size_t i = 0; i < before.size(); ++i) {
    const auto c = static_cast<size_t>(channel_of(l, static_cast<int64_t>(i)));
    most_before[c] = std::max(most_before[c], std::abs(before[i]));
    most_after[c] = std::max(most_after[c], std::abs(after[i]));
  }
  for (size_t c = 0; c < most_before.size(); ++c)
    if (most_before[c] >= least && most_after[c] < least && scale[c] != 0) return true;
  return false;
}

}  // namespace

MatchOr<FoldedLayer> fold_affine(Layer layer, const Affine& step) {
  const auto channels = static_cast<size_t>(layer.channels);
  if (!all_finite(step.mean) || !all_finite(step.scale) || !all_finite(step.shift))
    return no_match("a parameter is not finite");
  FoldedLayer folded{std::move(layer), {}, {}, 0};
  const Layer& l = folded.layer;
  const Tensor& w = *l.weight;

  if (!step.scale.empty()) {
    const std::vector<double> before = w.to_doubles();
    if (!all_finite(before)) return no_match("layer weight is not finite");
    std::vector<double> values = before;
    for (int64_t i = 0; i < w.count(); ++i)
      values[static_cast<size_t>(i)] *= step.scale[static_cast<size_t>(channel_of(l, i))];
    folded.weight = round_to(w.dtype(), w.dims(), values);
    values = folded.weight->to_doubles();
    if (!all_finite(values)) return no_match("folded weight exceeds its type");
    if (loses_bits(l, step.scale, before, values))
      return no_match("folded weight is below the normal numbers of its type");
    if (!l.node->input(1).has_one_use()) folded.added_bytes += static_cast<int64_t>(w.size_bytes());
  }
  if (!l.bias.empty() || !step.mean.empty() || !step.shift.empty()) {
    std::vector<double> values(channels);
    for (size_t c = 0; c < channels; ++c) {
      const double b = (l.bias.empty() ? 0 : l.bias[c]) - (step.mean.empty() ? 0 : step.mean[c]);
      values[c] =
          b * (step.scale.empty() ? 1 : step.scale[c]) + (step.shift.empty() ? 0 : step.shift[c]);
    }
    folded.bias = round_to(w.dtype(), {l.channels}, values);
    if (!all_finite(folded.bias->to_doubles())) return no_match("folded bias exceeds its type");
    const bool replaces = !l.bias.empty() && l.node->has_input(2) && l.node->input(2).has_one_use();
    folded.added_bytes +=
        static_cast<int64_t>(folded.bias->size_bytes()) -
        (replaces ? static_cast<int64_t>(l.node->input(2).constant()->size_bytes()) : 0);
  }
  return folded;
}

void apply_fold(const FoldedLayer& folded, Rewriter& rw) {
  const Node& node = *folded.layer.node;
  if (folded.weight) set_constant_input(rw, node, 1, *folded.weight, "weight");
  if (!folded.bias || folded.layer.kind == Layer::Kind::kMatMul) return;
  set_constant_input(rw, node, 2, *folded.bias, "bias");
  if (node.attribute("beta"))
    rw.remove_attribute(node, "beta");  // it is in the bias by now; 1 is the default
}

std::vector<double> per_channel(const Tensor& constant, int64_t rank, int64_t channels) {
  // A constant of higher rank would raise the result's.
  if (!is_float(constant.dtype()) || constant.rank() > rank || constant.count() == 0) return {};
  std::vector<double> values = constant.to_doubles();
  if (constant.count() == 1) return std::vector<double>(static_cast<size_t>(channels), values[0]);
  // Extents align from the right: axis 1 of the result is this one of the constant.
  const int64_t axis = constant.rank() - (rank - 1);
  if (axis < 0 || constant.count() != channels ||
      constant.dims()[static_cast<size_t>(axis)] != channels)
    return {};
  return values;
}

}  // namespace onnxtool
