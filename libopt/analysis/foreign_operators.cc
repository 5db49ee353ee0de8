// Types of operators that no schema of the standard describes: the com.microsoft ones that
// onnxruntime's optimizer and quantizer leave in files, and experimental ones that the standard
// dropped. Only what shapes need; an operator that is not here leaves its outputs as declared.
// Source: onnxruntime 1.31, docs/ContribOperators.md; onnx's experimental operators: 1.2,
// Operators.md.

#include <algorithm>
#include <climits>
#include <cstdint>
#include <vector>

#include "libopt/analysis/seam_internal.h"

namespace onnxtool::seam {
namespace {

using onnx::InferenceContext;
using onnx::TensorShapeProto;
using onnx::TypeProto;

constexpr std::string_view kMicrosoft = "com.microsoft";

const TensorShapeProto* shape_of(const InferenceContext& ctx, size_t i) {
  return onnx::hasInputShape(ctx, i) ? &ctx.getInputType(i)->tensor_type().shape() : nullptr;
}

int elem_type_of(const InferenceContext& ctx, size_t i) {
  const TypeProto* t = i < ctx.getNumInputs() ? ctx.getInputType(i) : nullptr;
  return t && t->has_tensor_type() ? t->tensor_type().elem_type() : 0;
}

void set_output(InferenceContext& ctx, int elem_type, const TensorShapeProto* shape,
                size_t output = 0) {
  if (!elem_type && !shape) return;  // nothing known must stay nothing, not a tensor of no type
  auto* tensor = ctx.getOutputType(output)->mutable_tensor_type();
  if (elem_type) tensor->set_elem_type(elem_type);
  if (shape) *tensor->mutable_shape() = *shape;
}

void like_first(InferenceContext& ctx) { set_output(ctx, elem_type_of(ctx, 0), shape_of(ctx, 0)); }

// Applies the standard's own inference: what came on top does not change the type.
void as_standard(InferenceContext& ctx, const char* op_type, int opset) {
  standard_schema(op_type, "", opset)->GetTypeAndShapeInferenceFunction()(ctx);
}
void like_conv(InferenceContext& ctx) { as_standard(ctx, "Conv", 11); }
void like_lstm(InferenceContext& ctx) { as_standard(ctx, "LSTM", 7); }
void like_gemm(InferenceContext& ctx) { as_standard(ctx, "Gemm", 13); }

void broadcast(InferenceContext& ctx, std::initializer_list<size_t> inputs, int elem_type) {
  std::vector<const TensorShapeProto*> shapes;
  for (const size_t i : inputs) shapes.push_back(shape_of(ctx, i));
  set_output(ctx, elem_type, nullptr);
  for (const auto* s : shapes)
    if (!s) return;
  onnx::multidirectionalBroadcastShapeInference(
      shapes, *ctx.getOutputType(0)->mutable_tensor_type()->mutable_shape());
}

// QLinearAdd, QLinearMul: (A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale,
// C_zero_point).
void qlinear_binary(InferenceContext& ctx) { broadcast(ctx, {0, 3}, elem_type_of(ctx, 0)); }
// (condition, X, x_scale, x_zero_point, Y, ...).
void qlinear_where(InferenceContext& ctx) { broadcast(ctx, {0, 1, 4}, elem_type_of(ctx, 1)); }

// A [..., M, K] times B [..., K, N], either one transposed in its last two axes. Only ranks of two
// and more, and batch axes of A (B's broadcast into them in every file seen).
void matmul_shape(InferenceContext& ctx, size_t a_index, size_t b_index, bool trans_a, bool trans_b,
                  int elem_type) {
  set_output(ctx, elem_type, nullptr);
  const TensorShapeProto* a = shape_of(ctx, a_index);
  const TensorShapeProto* b = shape_of(ctx, b_index);
  if (!a || !b || a->dim_size() < 2 || b->dim_size() < 2 || b->dim_size() > a->dim_size()) return;
  const int ra = a->dim_size(), rb = b->dim_size();
  auto* out = ctx.getOutputType(0)->mutable_tensor_type()->mutable_shape();
  for (int i = 0; i < ra - 2; ++i) {
    const int j = i - (ra - rb);
    const bool b_decides = j >= 0 && a->dim(i).has_dim_value() && a->dim(i).dim_value() == 1;
    *out->add_dim() = b_decides ? b->dim(j) : a->dim(i);
  }
  *out->add_dim() = a->dim(trans_a ? ra - 1 : ra - 2);
  *out->add_dim() = b->dim(trans_b ? rb - 2 : rb - 1);
}

void fused_matmul(InferenceContext& ctx) {
  if (onnx::getAttribute(ctx, "transBatchA", 0) || onnx::getAttribute(ctx, "transBatchB", 0))
    return set_output(ctx, elem_type_of(ctx, 0), nullptr);
  matmul_shape(ctx, 0, 1, onnx::getAttribute(ctx, "transA", 0) != 0,
               onnx::getAttribute(ctx, "transB", 0) != 0, elem_type_of(ctx, 0));
}

// MatMulIntegerToFloat (A, B, a_scale, ...), DynamicQuantizeMatMul (A, B, b_scale, ...).
void matmul_to_float(InferenceContext& ctx) {
  matmul_shape(ctx, 0, 1, false, false, elem_type_of(ctx, 2));
}

// (A, a_scale, a_zero_point, B, b_scale, b_zero_point, C, y_scale, y_zero_point); float without y.
void qgemm(InferenceContext& ctx) {
  const int elem =
      ctx.hasInput(8) ? elem_type_of(ctx, 8) : static_cast<int>(onnx::TensorProto::FLOAT);
  matmul_shape(ctx, 0, 3, onnx::getAttribute(ctx, "transA", 0) != 0,
               onnx::getAttribute(ctx, "transB", 0) != 0, elem);
}

// A [..., K] times a packed B that stands for [K, N].
void matmul_nbits(InferenceContext& ctx) {
  set_output(ctx, elem_type_of(ctx, 0), shape_of(ctx, 0));
  const TensorShapeProto* a = shape_of(ctx, 0);
  if (!a || a->dim_size() == 0) return;
  auto* last =
      ctx.getOutputType(0)->mutable_tensor_type()->mutable_shape()->mutable_dim(a->dim_size() - 1);
  last->clear_value();
  if (const int64_t n = onnx::getAttribute(ctx, "N", 0)) last->set_dim_value(n);
}

// (Y_scale, Y_zero_point, X1, X1_scale, X1_zero_point, X2, ...).
void qlinear_concat(InferenceContext& ctx) {
  set_output(ctx, elem_type_of(ctx, 1), nullptr);
  const TensorShapeProto* first = shape_of(ctx, 2);
  if (!first) return;
  const int rank = first->dim_size();
  int64_t axis = onnx::getAttribute(ctx, "axis", 0);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) fail_shape_inference("axis is out of range");
  TensorShapeProto out = *first;
  auto& joined = *out.mutable_dim(static_cast<int>(axis));
  for (size_t i = 5; i < ctx.getNumInputs(); i += 3) {
    const TensorShapeProto* s = shape_of(ctx, i);
    if (!s || s->dim_size() != rank) return;
    const auto& d = s->dim(static_cast<int>(axis));
    if (joined.has_dim_value() && d.has_dim_value())
      joined = joined + d.dim_value();
    else
      joined.Clear();
  }
  set_output(ctx, 0, &out);
}

void qlinear_average_pool(InferenceContext& ctx) {
  if (onnx::getAttribute(ctx, "channels_last", 0))
    return set_output(ctx, elem_type_of(ctx, 0), nullptr);
  as_standard(ctx, "AveragePool", 11);
}

void qlinear_global_average_pool(InferenceContext& ctx) {
  set_output(ctx, elem_type_of(ctx, 0), shape_of(ctx, 0));
  const TensorShapeProto* x = shape_of(ctx, 0);
  if (!x || x->dim_size() < 3) return;
  auto* out = ctx.getOutputType(0)->mutable_tensor_type()->mutable_shape();
  const bool last = onnx::getAttribute(ctx, "channels_last", 0) != 0;
  for (int i = last ? 1 : 2; i < x->dim_size() - (last ? 1 : 0); ++i)
    out->mutable_dim(i)->set_dim_value(1);
}

// (x, scale, zero_point): the zero point's type, uint8 without one.
void quantize_linear(InferenceContext& ctx) {
  set_output(ctx,
             ctx.hasInput(2) ? elem_type_of(ctx, 2) : static_cast<int>(onnx::TensorProto::UINT8),
             shape_of(ctx, 0));
}
void dequantize_linear(InferenceContext& ctx) {
  set_output(ctx, elem_type_of(ctx, 1), shape_of(ctx, 0));
}

// (input, skip, ...): the normalized sum, two statistics that inference does not fill, and the sum.
void skip_normalization(InferenceContext& ctx) {
  like_first(ctx);
  if (ctx.hasOutput(3)) set_output(ctx, elem_type_of(ctx, 0), shape_of(ctx, 0), 3);
}

// (input [B, S, D], weights, bias [3 H]): [B, S, H].
void attention(InferenceContext& ctx) {
  set_output(ctx, elem_type_of(ctx, 0), nullptr);
  const TensorShapeProto* x = shape_of(ctx, 0);
  const TensorShapeProto* bias = shape_of(ctx, 2);
  if (!x || !bias || x->dim_size() != 3 || bias->dim_size() != 1 ||
      ctx.getAttribute("qkv_hidden_sizes"))
    return;
  TensorShapeProto out = *x;
  *out.mutable_dim(2) = bias->dim(0) / 3;
  set_output(ctx, 0, &out);
}

// (input_ids [B, S], segment_ids, word_embedding [V, H], ...): [B, S, H] of the embedding's type,
// mask [B].
void embed_layer_normalization(InferenceContext& ctx) {
  const TensorShapeProto* ids = shape_of(ctx, 0);
  const TensorShapeProto* words = shape_of(ctx, 2);
  set_output(ctx, elem_type_of(ctx, 2), nullptr);
  if (!ids || !words || ids->dim_size() != 2 || words->dim_size() != 2) return;
  TensorShapeProto out = *ids;
  *out.add_dim() = words->dim(1);
  set_output(ctx, 0, &out);
  if (!ctx.hasOutput(1)) return;
  TensorShapeProto mask;
  *mask.add_dim() = ids->dim(0);
  set_output(ctx, onnx::TensorProto::INT32, &mask, 1);
}

// (query [B, S, D], key, value [B, L, Dv], ...): [B, S, Dv]; other forms of the inputs leave the
// shape open.
void multi_head_attention(InferenceContext& ctx) {
  for (size_t i = 0; i < ctx.getNumOutputs(); ++i)
    if (ctx.hasOutput(i)) set_output(ctx, elem_type_of(ctx, 0), nullptr, i);
  const TensorShapeProto* query = shape_of(ctx, 0);
  const TensorShapeProto* value = shape_of(ctx, 2);
  if (!query || !value || query->dim_size() != 3 || value->dim_size() != 3) return;
  TensorShapeProto out = *query;
  *out.mutable_dim(2) = value->dim(2);
  set_output(ctx, 0, &out);
}

// (query [B, S, D], key, ...): like query, unless that holds key and value too.
void group_query_attention(InferenceContext& ctx) {
  for (size_t i = 0; i < ctx.getNumOutputs(); ++i)
    if (ctx.hasOutput(i)) set_output(ctx, elem_type_of(ctx, 0), nullptr, i);
  if (ctx.hasInput(1)) set_output(ctx, 0, shape_of(ctx, 0));
}

// (data, indices, scales, ...): as Gather, of the scales' type; uint8 data packs 8 / bits elements.
void gather_block_quantized(InferenceContext& ctx) {
  set_output(ctx, elem_type_of(ctx, 2), nullptr);
  const TensorShapeProto* data = shape_of(ctx, 0);
  const TensorShapeProto* indices = shape_of(ctx, 1);
  const int64_t axis = onnx::getAttribute(ctx, "gather_axis", 0),
                bits = onnx::getAttribute(ctx, "bits", 4);
  if (!data || !indices || axis < 0 || axis >= data->dim_size() || bits < 1 || bits > 8) return;
  TensorShapeProto out;
  for (int i = 0; i < data->dim_size(); ++i) {
    if (i == axis)
      for (const auto& d : indices->dim()) *out.add_dim() = d;
    else
      *out.add_dim() = data->dim(i);
  }
  if (elem_type_of(ctx, 0) == onnx::TensorProto::UINT8 && axis != data->dim_size() - 1)
    *out.mutable_dim(out.dim_size() - 1) = out.dim(out.dim_size() - 1) * (8 / bits);
  set_output(ctx, 0, &out);
}

// border = [left, top, right, bottom] of [N, C, H, W] goes; scale = [height, width] is what stays
// behind left and top.
void crop(InferenceContext& ctx) {
  set_output(ctx, elem_type_of(ctx, 0), nullptr);
  const TensorShapeProto* x = shape_of(ctx, 0);
  std::vector<int64_t> border, scale;
  if (!x || x->dim_size() != 4 || !onnx::getRepeatedAttribute(ctx, "border", border) ||
      border.size() != 4)
    return;
  const bool scaled = onnx::getRepeatedAttribute(ctx, "scale", scale) && scale.size() == 2;
  TensorShapeProto out = *x;
  for (const int axis : {2, 3}) {
    auto& dim = *out.mutable_dim(axis);
    const auto at = static_cast<size_t>(axis - 2);
    const int64_t before = border[1 - at], after = border[3 - at];
    if (scaled)
      dim.set_dim_value(scale[at]);
    else if (dim.has_dim_value())
      dim.set_dim_value(std::max<int64_t>(0, dim.dim_value() - before - after));
    else
      dim.Clear();
  }
  set_output(ctx, 0, &out);
}

constexpr ForeignOperator kOperators[] = {
    {"Affine", "", 1, 1, 1, 1, like_first},
    {"Crop", "", 1, 1, 1, 1, crop},
    {"ImageScaler", "", 1, 1, 1, 1, like_first},
    {"LayerNormalization", "", 2, 3, 1, 3,
     like_first},  // onnxruntime's own, before opset 17 made it standard
    {"ParametricSoftplus", "", 1, 1, 1, 1, like_first},
    {"ScaledTanh", "", 1, 1, 1, 1, like_first},
    {"SimplifiedLayerNormalization", "", 2, 2, 1, 2, like_first},
    {"Attention", kMicrosoft, 2, 7, 1, 2, attention},
    {"BiasAdd", kMicrosoft, 3, 3, 1, 1, like_first},
    {"BiasGelu", kMicrosoft, 2, 2, 1, 1, like_first},
    {"BiasSoftmax", kMicrosoft, 2, 2, 1, 1, like_first},
    {"DequantizeLinear", kMicrosoft, 2, 3, 1, 1, dequantize_linear},
    {"DynamicQuantizeLSTM", kMicrosoft, 12, 12, 0, 3, like_lstm},
    {"DynamicQuantizeMatMul", kMicrosoft, 3, 5, 1, 1, matmul_to_float},
    {"EmbedLayerNormalization", kMicrosoft, 7, 9, 1, 3, embed_layer_normalization},
    {"FastGelu", kMicrosoft, 1, 2, 1, 1, like_first},
    {"FusedConv", kMicrosoft, 2, 4, 1, 1, like_conv},
    {"FusedGemm", kMicrosoft, 2, 3, 1, 1, like_gemm},
    {"FusedMatMul", kMicrosoft, 2, 2, 1, 1, fused_matmul},
    {"Gelu", kMicrosoft, 1, 1, 1, 1, like_first},
    {"GatherBlockQuantized", kMicrosoft, 3, 4, 1, 1, gather_block_quantized},
    {"GroupNorm", kMicrosoft, 3, 3, 1, 1, like_first},
    {"GroupQueryAttention", kMicrosoft, 7, 14, 1, 4, group_query_attention},
    {"MatMulIntegerToFloat", kMicrosoft, 4, 7, 1, 1, matmul_to_float},
    {"MatMulNBits", kMicrosoft, 3, 6, 1, 1, matmul_nbits},
    {"MultiHeadAttention", kMicrosoft, 1, 10, 1, 4, multi_head_attention},
    {"QGemm", kMicrosoft, 6, 9, 1, 1, qgemm},
    {"QLinearAdd", kMicrosoft, 7, 8, 1, 1, qlinear_binary},
    {"QLinearAveragePool", kMicrosoft, 4, 5, 1, 1, qlinear_average_pool},
    {"QLinearConcat", kMicrosoft, 3, INT_MAX, 1, 1, qlinear_concat},
    {"QLinearGlobalAveragePool", kMicrosoft, 5, 5, 1, 1, qlinear_global_average_pool},
    {"QLinearLeakyRelu", kMicrosoft, 4, 5, 1, 1, like_first},
    {"QLinearMul", kMicrosoft, 7, 8, 1, 1, qlinear_binary},
    {"QLinearSigmoid", kMicrosoft, 4, 5, 1, 1, like_first},
    {"QLinearSoftmax", kMicrosoft, 5, 5, 1, 1, like_first},
    {"QLinearWhere", kMicrosoft, 9, 9, 1, 1, qlinear_where},
    {"QuantizeLinear", kMicrosoft, 2, 3, 1, 1, quantize_linear},
    {"QuickGelu", kMicrosoft, 1, 1, 1, 1, like_first},
    {"RotaryEmbedding", kMicrosoft, 4, 4, 1, 1, like_first},
    {"SkipLayerNormalization", kMicrosoft, 3, 5, 1, 4, skip_normalization},
    {"SkipSimplifiedLayerNormalization", kMicrosoft, 3, 4, 1, 4, skip_normalization},
};

}  // namespace

const ForeignOperator* find_foreign(std::string_view op_type, std::string_view domain) {
  for (const ForeignOperator& f : kOperators)
    if (f.op_type == op_type && f.domain == domain) return &f;
  return nullptr;
}

}  // namespace onnxtool::seam
