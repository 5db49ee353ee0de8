#include "quant/dynamic_emit.h"

#include <algorithm>

#include "libopt/io/pages.h"
#include "libopt/rewrite/rewriter.h"
#include "quant/attributes.h"
#include "quant/gemm_parts.h"
#include "quant/weight_blocks.h"

namespace onnxtool {
namespace {

// [rows, depth] as [depth, rows].
std::vector<std::byte> transposed(const std::vector<std::byte>& codes, int64_t rows,
                                  int64_t depth) {
  std::vector<std::byte> out(codes.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < depth; ++k)
      out[static_cast<size_t>(k * rows + r)] = codes[static_cast<size_t>(r * depth + k)];
  return out;
}

// Codes of u8 in the middle of their range as s8, and back.
void flip_signs(std::vector<std::byte>& codes) {
  for (std::byte& b : codes) b ^= std::byte{0x80};
}

// One scale for all: a matrix of one row.
void as_one_row(WeightMatrix& w) {
  w.depth *= w.rows;
  w.rows = 1;
  w.across = false;
}

Result<WeightBlocks> coded_rows(const WeightMatrix& w, bool is_signed, bool symmetric) {
  ONNXTOOL_ASSIGN(WeightBlocks q, quantize_by_row(w, {.bits = 8, .symmetric = symmetric}));
  if (is_signed) flip_signs(q.codes);
  return q;
}

}  // namespace

Status DynamicEmitter::emit(Node& node) {
  if (node.is("LSTM")) return emit_lstm(node);
  return node.is("Conv") ? emit_conv(node) : emit_product(node);
}

// One for all readers in a graph; before the first of them.
DynamicEmitter::Activation DynamicEmitter::quantized(Value& x, const Node& reader) {
  const auto key = std::make_pair(&x, &reader.graph());
  if (const auto it = activations_.find(key); it != activations_.end()) return it->second;
  Rewriter rw(reader.graph(), &reader);
  Node& q = rw.add_node("DynamicQuantizeLinear", {&x}, {}, 3, x.name() + "_QuantizeLinear");
  Graph& g = reader.graph();
  g.rename(q.output(0), g.fresh_name(x.name() + "_quantized"));
  g.rename(q.output(1), g.fresh_name(x.name() + "_scale"));
  g.rename(q.output(2), g.fresh_name(x.name() + "_zero_point"));
  return activations_[key] = {&q.output(0), &q.output(1), &q.output(2)};
}

Result<WeightBlocks> DynamicEmitter::pair_codes(const WeightMatrix& w, bool by_row) {
  WeightBlocks out;
  WeightOptions options;
  options.pairs = w.across ? PairOrder{.channels = w.depth, .inner = w.rows}
                           : PairOrder{.outer = w.rows, .channels = w.depth};
  const int64_t dims[] = {w.across ? w.depth : w.rows, w.across ? w.rows : w.depth};
  std::optional<int64_t> axis;
  if (by_row) axis = w.across ? 1 : 0;
  ONNXTOOL_ASSIGN(const QuantizedWeights q,
                  quantize_weights(w.tensor.values<float>(), dims, axis, options));
  release_pages(w.tensor);
  pairs_.add(q);
  const auto codes = std::as_bytes(std::span(q.bytes));
  out.codes.assign(codes.begin(), codes.end());
  out.scales = q.scales;
  return out;
}

Result<DynamicEmitter::Weight> DynamicEmitter::quantized_weight(const Value& weight,
                                                                const Layout& layout) {
  const std::tuple key{&weight, layout.transpose, layout.factor};
  if (const auto it = weights_.find(key); it != weights_.end()) return it->second;
  WeightMatrix w{*weight.constant(), layout.rows, layout.depth, layout.across};
  if (!layout.adds_pairs && !options_.per_channel) as_one_row(w);
  // What rows share is the middle of their codes.
  const bool in_middle = options_.per_channel && layout.shared_zero_point;
  auto q = layout.adds_pairs ? pair_codes(w, options_.per_channel)
                             : coded_rows(w, options_.is_signed, options_.is_signed || in_middle);
  if (!q.ok()) return std::move(q).error().at("weight '" + weight.name() + "'");
  if (in_middle) q->zero_points = {std::byte{0x80}};
  if (layout.transpose) q->codes = transposed(q->codes, layout.rows, layout.depth);
  for (float& s : q->scales) s *= layout.factor;
  const std::vector<int64_t> scale_dims =
      options_.per_channel ? layout.scale_dims : std::vector<int64_t>{};
  const DataType type = options_.is_signed ? DataType::kInt8 : DataType::kUint8;
  Rewriter rw(weight.graph());
  Weight out{};
  out.codes = &rw.add_constant(Tensor::from_bytes(type, layout.dims, q->codes),
                               weight.name() + "_quantized");
  out.scales = &rw.add_constant(Tensor::from(scale_dims, q->scales), weight.name() + "_scale");
  if (!options_.is_signed) {
    const std::vector<int64_t> dims = options_.per_channel && !in_middle
                                          ? std::vector<int64_t>{layout.rows}
                                          : std::vector<int64_t>{};
    out.zero_points = &rw.add_constant(Tensor::from_bytes(type, dims, q->zero_points),
                                       weight.name() + "_zero_point");
  }
  return weights_[key] = out;
}

void DynamicEmitter::scale_back(Node& node, Value& integers, const Activation& x, const Weight& w,
                                const Value* addend) {
  Rewriter rw(node.graph(), &node);
  const std::string name = node.output(0).name();
  Value& floats =
      rw.add_node("Cast", {&integers}, one_attribute("to", static_cast<int64_t>(DataType::kFloat)),
                  1, name + "_output_quantized_cast")
          .output(0);
  Value& scale =
      rw.add_node("Mul", {x.scale, w.scales}, {}, 1, name + "_quant_scales_mul").output(0);
  const Value* first = &floats;
  const Value* second = &scale;
  if (addend) {
    first =
        &rw.add_node("Mul", {&floats, &scale}, {}, 1, name + "_quant_output_scale_mul").output(0);
    second = addend;
  }
  while (!node.attributes().empty())
    rw.remove_attribute(node, std::string(node.attributes()[0].name));
  rw.set_op(node, addend ? "Add" : "Mul");
  rw.resize_inputs(node, 2);
  rw.set_input(node, 0, first);
  rw.set_input(node, 1, second);
  rw.sweep();
}

Status DynamicEmitter::emit_product(Node& node) {
  const bool gemm = node.is("Gemm");
  const Value& weight = node.input(1);
  const std::vector<int64_t>& dims = weight.constant()->dims();
  const bool rows_first = gemm && node.attr<int64_t>("transB", 0);
  Layout layout;
  layout.rows = dims[rows_first ? 0 : 1];
  layout.depth = dims[rows_first ? 1 : 0];
  layout.across = !rows_first;
  layout.transpose = rows_first;
  layout.dims = {layout.depth, layout.rows};
  layout.scale_dims = {layout.rows};
  layout.factor = gemm ? node.attr<float>("alpha", 1) : 1;
  layout.adds_pairs = options_.is_signed && options_.target->adds_pairs;
  ONNXTOOL_ASSIGN(const Weight w, quantized_weight(weight, layout));
  Rewriter rw(node.graph(), &node);
  Value& x = product_data(rw, node);
  const Activation q = quantized(x, node);
  std::vector<Value*> inputs = {q.codes, w.codes, q.zero_point};
  if (w.zero_points) inputs.push_back(w.zero_points);
  Value& integers =
      rw.add_node("MatMulInteger", inputs, {}, 1, node.output(0).name() + "_output_quantized")
          .output(0);
  scale_back(node, integers, q, w, product_addend(rw, node));
  return {};
}

Status DynamicEmitter::emit_conv(Node& node) {
  const Value& weight = node.input(1);
  const Tensor& t = *weight.constant();
  Layout layout;
  layout.rows = t.dims()[0];
  layout.depth = t.count() / layout.rows;
  layout.dims = t.dims();
  // Scales and the bias lie along the channels of [N, C, ...].
  std::vector<int64_t> column(static_cast<size_t>(t.rank() - 1), 1);
  column[0] = layout.rows;
  layout.scale_dims = column;
  layout.shared_zero_point = true;  // onnxruntime's ConvInteger takes no other
  ONNXTOOL_ASSIGN(const Weight w, quantized_weight(weight, layout));
  Rewriter rw(node.graph(), &node);
  const Activation q = quantized(node.input(0), node);
  std::vector<Value*> inputs = {q.codes, w.codes, q.zero_point};
  if (w.zero_points) inputs.push_back(w.zero_points);
  Node& conv =
      rw.add_node("ConvInteger", inputs, {}, 1, node.output(0).name() + "_output_quantized");
  for (const Attribute& a : node.attributes())
    if (auto copy = copy_of(a)) rw.set_attribute(conv, *std::move(copy));
  Value* bias = node.has_input(2) ? &node.input(2) : nullptr;
  if (bias) {
    Value& shape = rw.add_constant(Tensor::vector(column), bias->name() + "_column_shape");
    const Tensor* constant = bias->constant();
    bias = constant && constant->count() == layout.rows
               ? &rw.add_constant(constant->reshaped(column), bias->name() + "_column")
               : &rw.add_node("Reshape", {bias, &shape}, {}, 1, bias->name() + "_column").output(0);
  }
  scale_back(node, conv.output(0), q, w, bias);
  return {};
}

// W [directions, 4 * hidden, input] and R as [directions, input, 4 * hidden], with a scale for each
// gate's row.
Status DynamicEmitter::emit_lstm(Node& node) {
  std::vector<Value*> stored;
  for (const int i : {1, 2}) {
    const Value& weight = node.input(i);
    const std::vector<int64_t>& d = weight.constant()->dims();
    const int64_t rows = d[1], depth = d[2], size = rows * depth;
    std::vector<std::byte> codes;
    std::vector<float> scales;
    for (int64_t direction = 0; direction < d[0]; ++direction) {
      const auto part = weight.constant()->bytes().subspan(
          static_cast<size_t>(direction * size) * 4, static_cast<size_t>(size) * 4);
      const WeightMatrix w{
          Tensor(DataType::kFloat, {rows, depth}, part, weight.constant()->owner()), rows, depth,
          false};
      auto q = options_.target->adds_pairs ? pair_codes(w, /*by_row=*/true)
                                           : coded_rows(w, /*is_signed=*/true, /*symmetric=*/true);
      if (!q.ok()) return std::move(q).error().at("weight '" + weight.name() + "'");
      const std::vector<std::byte> turned = transposed(q->codes, rows, depth);
      codes.insert(codes.end(), turned.begin(), turned.end());
      scales.insert(scales.end(), q->scales.begin(), q->scales.end());
    }
    Rewriter rw(weight.graph());
    const std::vector<int64_t> scale_dims = {d[0], rows};
    stored.push_back(
        &rw.add_constant(Tensor::from_bytes(DataType::kInt8, {d[0], depth, rows}, codes),
                         weight.name() + "_quantized"));
    stored.push_back(&rw.add_constant(Tensor::from(scale_dims, scales), weight.name() + "_scale"));
    stored.push_back(&rw.add_constant(Tensor::from(scale_dims, std::vector<int8_t>(scales.size())),
                                      weight.name() + "_zero_point"));
  }
  if (model_.opset("com.microsoft") == 0) model_.set_opset("com.microsoft", 1);
  Rewriter rw(node.graph(), &node);
  rw.remove_attribute(node, "layout");
  rw.set_op(node, "DynamicQuantizeLSTM", "com.microsoft");
  rw.resize_inputs(node, 12);
  constexpr int kPlaces[] = {1, 8, 9, 2, 10, 11};
  for (size_t i = 0; i < stored.size(); ++i) rw.set_input(node, kPlaces[i], stored[i]);
  rw.sweep();
  return {};
}

}  // namespace onnxtool
