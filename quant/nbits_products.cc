#include "quant/nbits_products.h"

#include <algorithm>
#include <optional>

#include "libopt/ir/code_type.h"
#include "libopt/rewrite/rewriter.h"

namespace onnxtool {
namespace {

// onnxruntime's session.qdq_matmulnbits_block_size and _accuracy_level, as they are without a word.
constexpr int64_t kChannelBlock = 32, kAccuracyLevel = 4;

struct Product {
  const Node& dequantize;
  bool transposed = false;  // the weight is [N, K], behind a Transpose
  int64_t depth = 0, columns = 0, block = 0;
  bool by_channel = false;
};

bool is_plain_gemm(const Node& n) {
  if (n.attr<float>("alpha", 1) != 1 || n.attr<float>("beta", 1) != 1 ||
      n.attr<int64_t>("transA", 0) || n.attr<int64_t>("transB", 0))
    return false;
  return !n.has_input(2) || (n.input(2).constant() && n.input(2).constant()->rank() == 1);
}

// onnxruntime takes no Transpose apart that does not name its axes.
bool swaps_axes(const Node& n) {
  const Attribute* a = n.is("Transpose") ? n.attribute("perm") : nullptr;
  const auto* perm = a ? a->get<std::vector<int64_t>>() : nullptr;
  return perm && *perm == std::vector<int64_t>{1, 0};
}

std::optional<Product> match(const Node& n) {
  if (!n.is("MatMul") && !(n.is("Gemm") && is_plain_gemm(n))) return std::nullopt;
  if (!n.has_input(0) || !n.has_input(1) || n.input(0).type().dtype != DataType::kFloat)
    return std::nullopt;
  const Node* p = n.input(1).producer();
  const bool transposed = p && swaps_axes(*p);
  if (transposed) p = p->input(0).producer();
  if (!p || !p->is("DequantizeLinear") || &p->graph() != &n.graph()) return std::nullopt;
  const Tensor *codes = p->input(0).constant(), *scales = p->input(1).constant();
  if (!codes || !scales || codes->rank() != 2 || scales->dtype() != DataType::kFloat ||
      (p->has_input(2) && !p->input(2).constant()))
    return std::nullopt;
  if (bits_of(codes->dtype()) != 4 && bits_of(codes->dtype()) != 8) return std::nullopt;
  const int64_t axis = p->attr<int64_t>("axis", 1);
  Product m{*p, transposed};
  m.depth = codes->dims()[transposed ? 1 : 0];
  m.columns = codes->dims()[transposed ? 0 : 1];
  m.by_channel = scales->rank() == 1;
  m.block = m.by_channel ? kChannelBlock : p->attr<int64_t>("block_size", 0);
  const int64_t along = axis < 0 ? axis + 2 : axis;
  // Channels lie along the columns, blocks along the depth.
  const int64_t expected = m.by_channel != transposed ? 1 : 0;
  if (along != expected || scales->rank() < 1 || m.block < 16 || (!m.by_channel && transposed))
    return std::nullopt;
  return m;
}

// Codes of a matrix with rows of their own length, low bits first, each row from a byte on.
std::vector<std::byte> packed(const std::vector<int64_t>& codes, int64_t row, int bits) {
  if (row == 0) return {};
  const int64_t rows = std::ssize(codes) / row, bytes = (row * bits + 7) / 8;
  std::vector<std::byte> out(static_cast<size_t>(rows * bytes));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < row; ++i) {
      const int64_t bit = i * bits;
      const auto code = static_cast<unsigned>(codes[static_cast<size_t>(r * row + i)]);
      out[static_cast<size_t>(r * bytes + bit / 8)] |= static_cast<std::byte>(code << (bit % 8));
    }
  return out;
}

void rewrite(Node& n, const Product& m) {
  const Tensor& codes = *m.dequantize.input(0).constant();
  const Tensor& scales = *m.dequantize.input(1).constant();
  const int bits = static_cast<int>(bits_of(codes.dtype()));
  const int64_t middle = int64_t{1} << (bits - 1), offset = is_signed(codes.dtype()) ? middle : 0;
  const int64_t blocks = (m.depth + m.block - 1) / m.block;
  const std::vector<int64_t> given = codes.to_ints();
  // What stands beyond the depth meets no value.
  std::vector<int64_t> unsigned_codes(static_cast<size_t>(m.columns * blocks * m.block), 0);
  for (int64_t c = 0; c < m.columns; ++c)
    for (int64_t k = 0; k < m.depth; ++k)
      unsigned_codes[static_cast<size_t>(c * blocks * m.block + k)] =
          offset + given[static_cast<size_t>(m.transposed ? c * m.depth + k : k * m.columns + c)];
  const std::vector<float> scale_of = scales.values<float>();
  std::vector<int64_t> zero_of(scale_of.size(), 0);
  if (m.dequantize.has_input(2)) zero_of = m.dequantize.input(2).constant()->to_ints();
  std::vector<float> block_scales;
  std::vector<int64_t> zeros;
  for (int64_t c = 0; c < m.columns; ++c)
    for (int64_t b = 0; b < blocks; ++b) {
      const auto i = static_cast<size_t>(m.by_channel ? c : b * m.columns + c);
      block_scales.push_back(scale_of[i]);
      zeros.push_back(zero_of[i] + offset);
    }
  Rewriter rw(n.graph(), &n);
  const std::string& base = n.input(1).name();
  std::vector<Value*> inputs = {
      &n.input(0),
      &rw.add_constant(Tensor::from_bytes(DataType::kUint8, {m.columns, blocks, m.block * bits / 8},
                                          packed(unsigned_codes, m.block, bits)),
                       base + "_codes"),
      &rw.add_constant(Tensor::from({m.columns, blocks}, block_scales), base + "_scales")};
  if (std::ranges::any_of(zeros, [&](int64_t z) { return z != middle; })) {
    inputs.push_back(
        &rw.add_constant(Tensor::from_bytes(DataType::kUint8, {m.columns, (blocks * bits + 7) / 8},
                                            packed(zeros, blocks, bits)),
                         base + "_zero_points"));
  }
  if (n.is("Gemm") && n.has_input(2)) {
    inputs.resize(5);
    inputs.push_back(&n.input(2));
  }
  for (const char* name : {"alpha", "beta", "transA", "transB"}) rw.remove_attribute(n, name);
  rw.set_op(n, "MatMulNBits", "com.microsoft");
  rw.set_attribute(n, Attribute::of("K", m.depth));
  rw.set_attribute(n, Attribute::of("N", m.columns));
  rw.set_attribute(n, Attribute::of("bits", int64_t{bits}));
  rw.set_attribute(n, Attribute::of("block_size", m.block));
  rw.set_attribute(n, Attribute::of("accuracy_level", kAccuracyLevel));
  rw.resize_inputs(n, static_cast<int>(inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) rw.set_input(n, static_cast<int>(i), inputs[i]);
  rw.sweep();
}

}  // namespace

int put_nbits_products(Graph& graph) {
  int count = 0;
  for (Node& n : graph.nodes())
    if (const auto m = match(n)) {
      rewrite(n, *m);
      ++count;
    }
  return count;
}

}  // namespace onnxtool
