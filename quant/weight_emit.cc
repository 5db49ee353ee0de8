#include "quant/weight_emit.h"

#include <algorithm>
#include <cmath>

#include "libopt/rewrite/rewriter.h"
#include "libopt/support/half.h"
#include "quant/attributes.h"
#include "quant/gemm_parts.h"

namespace onnxtool {
namespace {

constexpr const char* kMicrosoft = "com.microsoft";

// Smaller ones are not worth a place on disk.
constexpr size_t kMinScratchBytes = 1 << 16;

Tensor as_type(const std::vector<float>& values, DataType type, std::vector<int64_t> dims) {
  if (type == DataType::kFloat) return Tensor::from(std::move(dims), values);
  std::vector<Half> halves;
  halves.reserve(values.size());
  for (const float v : values) halves.emplace_back(v);
  return Tensor::from(std::move(dims), halves);
}

// NaN where nothing was measured.
double decibels(double signal, double noise) { return 10 * std::log10(signal / noise); }

// Unsigned codes as signed ones, the middle becoming 0.
void make_signed(std::vector<std::byte>& codes, int bits) {
  const auto flip = static_cast<std::byte>(bits == 8 ? 0x80 : 0x88);
  for (std::byte& b : codes) b ^= flip;
}

DataType code_type(int bits, bool is_signed) {
  if (bits == 8) return is_signed ? DataType::kInt8 : DataType::kUint8;
  return is_signed ? DataType::kInt4 : DataType::kUint4;
}

// The node whose subgraph holds `node`.
Node* around(const Node& node) {
  for (Node& n : node.graph().parent()->nodes()) {
    bool holds = false;
    n.for_each_subgraph([&](Graph& g) { holds = holds || &g == &node.graph(); });
    if (holds) return &n;
  }
  ONNXTOOL_CHECK(false);
  return nullptr;
}

// A Gemm's C as MatMulNBits takes it: a constant row of float or float16, times beta.
std::optional<Tensor> bias_row(const Node& gemm, int64_t rows) {
  const Tensor* c = gemm.input(2).constant();
  if (!c || (c->dtype() != DataType::kFloat && c->dtype() != DataType::kFloat16)) return {};
  const bool row = c->count() == rows && (c->rank() == 1 || (c->rank() == 2 && c->dims()[0] == 1));
  if (!row && c->count() != 1) return {};
  const float beta = gemm.attr<float>("beta", 1);
  const std::vector<double> values = c->to_doubles();
  std::vector<float> out(static_cast<size_t>(rows));
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(beta * values[row ? i : 0]);
  return as_type(out, c->dtype(), {rows});
}

}  // namespace

WeightEmitter::WeightEmitter(Model& model, const WeightOnlyOptions& options,
                             const WeightSites& sites)
    : model_(model), options_(options) {
  for (const WeightSite& s : sites.sites)
    if (s.gathers()) gathered_[s.weight] = block_of(s, options);
  if (options.operators && !sites.sites.empty() && model.opset(kMicrosoft) == 0)
    model.set_opset(kMicrosoft, 1);
}

Status WeightEmitter::emit(const WeightSite& site) {
  if (options_.operators) return site.gathers() ? emit_gather_block(site) : emit_nbits(site);
  return site.gathers() ? emit_gather_scaled(site) : emit_dequantize(site);
}

Result<Tensor> WeightEmitter::keep(DataType type, std::vector<int64_t> dims,
                                   std::vector<std::byte> bytes) {
  if (options_.scratch && bytes.size() >= kMinScratchBytes)
    return options_.scratch->store(type, std::move(dims), bytes);
  return Tensor::from_bytes(type, std::move(dims), std::move(bytes));
}

// Beside the float weight, where every reader of that sees it.
Result<Value*> WeightEmitter::add(const WeightSite& site, Tensor tensor, const char* suffix) {
  Rewriter rw(site.weight->graph());
  return &rw.add_constant(std::move(tensor), site.weight->name() + suffix);
}

Result<const WeightEmitter::Stored*> WeightEmitter::stored(const WeightSite& site, float factor) {
  const Key key{site.weight, site.across, factor};
  auto it = done_.find(key);
  if (it == done_.end()) {
    auto made = quantize(site, factor);
    if (!made.ok()) return std::move(made).error().at("weight '" + site.weight->name() + "'");
    it = done_.emplace(key, *made).first;
  }
  return &it->second;
}

Result<WeightEmitter::Stored> WeightEmitter::quantize(const WeightSite& site, float factor) {
  const WeightMatrix w = site.matrix();
  const auto table = gathered_.find(site.weight);
  const bool is_table = table != gathered_.end();
  Stored s;
  s.block = is_table ? table->second : block_of(site, options_);
  const BlockFormat format = format_of(options_, is_table);
  s.bits = format.bits;
  const bool is_signed = !options_.operators && (options_.is_signed || is_table);
  const BlockLayout layout = block_layout(options_, s.block);
  ONNXTOOL_ASSIGN(WeightBlocks q, quantize_matrix(w, s.block, format, layout));
  OutputNoise noise;
  if (const auto f = factors_.find(site.weight); f != factors_.end())
    noise = choose_codes(w, *f->second, s.block, format, layout, q);
  weights_.push_back(
      {site.weight->name(), s.bits, s.block, static_cast<int64_t>(w.tensor.size_bytes()),
       quantized_bytes(site, s.bits, s.block, format.symmetric), decibels(q.signal, q.noise),
       q.lost, decibels(noise.signal, noise.nearest), decibels(noise.signal, noise.chosen)});
  if (factor != 1)
    for (float& scale : q.scales) scale *= factor;
  const int64_t bytes_of_block = s.block * s.bits / 8;
  std::vector<int64_t> dims = w.tensor.dims(), scale_dims, zero_dims;
  if (options_.operators) {
    dims = is_table ? std::vector<int64_t>{w.rows, q.blocks * bytes_of_block}
                    : std::vector<int64_t>{w.rows, q.blocks, bytes_of_block};
    scale_dims = {w.rows, q.blocks};
    zero_dims = {w.rows, (q.blocks * s.bits + 7) / 8};
  } else if (s.block) {
    scale_dims = dims;
    scale_dims[dims.size() - (w.across ? 2 : 1)] = q.blocks;
    zero_dims = scale_dims;
  } else {
    scale_dims = zero_dims = {w.rows};
  }
  const DataType type = options_.operators ? DataType::kUint8 : code_type(s.bits, is_signed);
  if (is_signed) {
    make_signed(q.codes, s.bits);
    make_signed(q.zero_points, s.bits);
  }
  // Unsigned codes of QDQ form say where their middle is; signed ones have it at 0.
  if (format.symmetric && !options_.operators && !is_signed)
    q.zero_points.assign(s.bits == 8 ? q.scales.size() : (q.scales.size() + 1) / 2,
                         static_cast<std::byte>(s.bits == 8 ? 0x80 : 0x88));
  const DataType scale_type = w.tensor.dtype();
  ONNXTOOL_ASSIGN(Tensor codes, keep(type, std::move(dims), std::move(q.codes)));
  ONNXTOOL_ASSIGN(s.codes, add(site, std::move(codes),
                               options_.operators ? (s.bits == 4 ? "_Q4" : "_Q8") : "_quantized"));
  const Tensor scales = as_type(q.scales, scale_type, std::move(scale_dims));
  ONNXTOOL_ASSIGN(Tensor kept,
                  keep(scale_type, scales.dims(), {scales.bytes().begin(), scales.bytes().end()}));
  ONNXTOOL_ASSIGN(s.scales, add(site, std::move(kept), options_.operators ? "_scales" : "_scale"));
  if (!q.zero_points.empty()) {
    ONNXTOOL_ASSIGN(Tensor zero, keep(type, std::move(zero_dims), std::move(q.zero_points)));
    ONNXTOOL_ASSIGN(s.zero_points, add(site, std::move(zero),
                                       options_.operators ? "_zero_points" : "_zero_point"));
  }
  return s;
}

//   y = Gemm(x, W, c)   =>   y = MatMulNBits(x, codes, scales, zero points, , c * beta)
//
// A bias that is no constant row is added behind.
Status WeightEmitter::emit_nbits(const WeightSite& site) {
  Node& node = *site.node;
  const bool gemm = node.is("Gemm");
  ONNXTOOL_ASSIGN(const Stored* w, stored(site, gemm ? node.attr<float>("alpha", 1) : 1));
  Rewriter rw(node.graph(), &node);
  Value& x = product_data(rw, node);
  Value* codes = w->codes;
  if (gathered_.contains(site.weight)) {
    // One copy of the codes for the table and the product: the shape is all that differs.
    const int64_t bytes = w->block * w->bits / 8;
    Value& shape = rw.add_constant(Tensor::vector(std::vector<int64_t>{site.rows, -1, bytes}),
                                   codes->name() + "_shape");
    codes = &rw.add_node("Reshape", {codes, &shape}, {}, 1, codes->name() + "_blocks").output(0);
  }
  std::vector<Value*> inputs = {&x, codes, w->scales};
  if (w->zero_points) inputs.push_back(w->zero_points);
  Value* addend = nullptr;
  if (gemm && node.has_input(2)) {
    if (auto row = bias_row(node, site.rows)) {
      inputs.resize(5);
      const bool as_is =
          node.attr<float>("beta", 1) == 1 && node.input(2).constant()->dims() == row->dims();
      inputs.push_back(as_is ? &node.input(2)
                             : &rw.add_constant(*std::move(row), node.input(2).name() + "_row"));
    } else {
      addend = product_addend(rw, node);
    }
  }
  std::vector<Attribute> attributes;
  const auto put = [&](const char* name, int64_t value) {
    attributes.push_back(Attribute::of(name, value));
  };
  put("K", site.depth);
  put("N", site.rows);
  put("bits", w->bits);
  put("block_size", w->block);
  put("accuracy_level", options_.accuracy_level);
  if (addend) {
    Value& product = rw.add_node("MatMulNBits", inputs, std::move(attributes), 1,
                                 node.output(0).name() + "_product", kMicrosoft)
                         .output(0);
    inputs = {&product, addend};
    attributes.clear();
  }
  for (const char* name : {"alpha", "beta", "transA", "transB"}) rw.remove_attribute(node, name);
  for (Attribute& a : attributes) rw.set_attribute(node, std::move(a));
  rw.set_op(node, addend ? "Add" : "MatMulNBits", addend ? "" : kMicrosoft);
  rw.resize_inputs(node, static_cast<int>(inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) rw.set_input(node, static_cast<int>(i), inputs[i]);
  rw.sweep();
  return {};
}

Status WeightEmitter::emit_gather_block(const WeightSite& site) {
  Node& node = *site.node;
  ONNXTOOL_ASSIGN(const Stored* w, stored(site, 1));
  Rewriter rw(node.graph(), &node);
  Value* indices = &node.input(1);
  rw.remove_attribute(node, "axis");
  rw.set_attribute(node, Attribute::of("gather_axis", int64_t{0}));
  rw.set_attribute(node, Attribute::of("quantize_axis", int64_t{1}));
  rw.set_attribute(node, Attribute::of("block_size", w->block));
  rw.set_attribute(node, Attribute::of("bits", static_cast<int64_t>(w->bits)));
  rw.set_op(node, "GatherBlockQuantized", kMicrosoft);
  const std::vector<Value*> inputs = {w->codes, indices, w->scales, w->zero_points};
  const int count = w->zero_points ? 4 : 3;
  rw.resize_inputs(node, count);
  for (int i = 0; i < count; ++i) rw.set_input(node, i, inputs[static_cast<size_t>(i)]);
  rw.sweep();
  return {};
}

// A DequantizeLinear of its own for every reader: runtimes fuse the two. It stands where the weight
// is: onnxruntime does not look for a weight outside of the body that has the DequantizeLinear
// (1.31: "Missing required weight").
Status WeightEmitter::emit_dequantize(const WeightSite& site) {
  ONNXTOOL_ASSIGN(const Stored* w, stored(site, 1));
  Node& reader = site.transpose ? *site.transpose : *site.node;
  Node* before = &reader;
  while (&before->graph() != &site.weight->graph()) before = around(*before);
  Rewriter rw(before->graph(), before);
  std::vector<Value*> inputs = {w->codes, w->scales};
  if (w->zero_points) inputs.push_back(w->zero_points);
  const int64_t last = site.weight->constant()->rank() - 1;
  std::vector<Attribute> attributes;
  // Blocks run along the depth, channels along the rows.
  const bool along_last = site.across != (w->block > 0);
  attributes.push_back(Attribute::of("axis", along_last ? last : last - 1));
  if (w->block) attributes.push_back(Attribute::of("block_size", w->block));
  Node& dq = rw.add_node("DequantizeLinear", inputs, std::move(attributes), 1,
                         site.weight->name() + "_DequantizeLinear_Output");
  dq.output(0).set_type(site.weight->type());
  Rewriter inside(reader.graph(), &reader);
  inside.set_input(reader, site.transpose ? 0 : 1, &dq.output(0));
  inside.sweep();
  return {};
}

//   y = Gather(W, i)   =>   y = Mul(Cast(Gather(codes, i)), Gather(scales, i))
//
// Dequantizing the whole table for a few of its rows would be slow.
Status WeightEmitter::emit_gather_scaled(const WeightSite& site) {
  Node& node = *site.node;
  ONNXTOOL_ASSIGN(const Stored* w, stored(site, 1));
  Rewriter rw(node.graph(), &node);
  Value& indices = node.input(1);
  const std::string& name = node.output(0).name();
  Value& codes = rw.add_node("Gather", {w->codes, &indices}, {}, 1, name + "_quantized").output(0);
  Rewriter beside(site.weight->graph());
  Value& column = beside.add_constant(w->scales->constant()->reshaped({site.rows, 1}),
                                      w->scales->name() + "_column");
  Value& scales = rw.add_node("Gather", {&column, &indices}, {}, 1, name + "_scale").output(0);
  const auto type = static_cast<int64_t>(site.weight->constant()->dtype());
  Value& floats =
      rw.add_node("Cast", {&codes}, one_attribute("to", type), 1, name + "_integers").output(0);
  rw.remove_attribute(node, "axis");
  rw.set_op(node, "Mul");
  rw.set_input(node, 0, &floats);
  rw.set_input(node, 1, &scales);
  rw.sweep();
  return {};
}

}  // namespace onnxtool
