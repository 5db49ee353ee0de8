#include "quant/nbits_products.h"

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "libopt/ir/code_type.h"
#include "libopt/rewrite/rewriter.h"
#include "libopt/target/nbits_products.h"

namespace onnxtool {
namespace {

// onnxruntime's session.qdq_matmulnbits_accuracy_level, as it is without a word.
constexpr int64_t kAccuracyLevel = 4;

// Codes of a matrix with rows of their own length, low bits first, each row from a byte on.
class PackedRows {
 public:
  PackedRows(int64_t rows, int64_t row, int bits)
      : bits_(bits),
        row_bytes_((row * bits + 7) / 8),
        bytes_(static_cast<size_t>(rows * row_bytes_)) {}
  void set(int64_t row, int64_t i, unsigned code) {
    const int64_t bit = i * bits_;
    bytes_[static_cast<size_t>(row * row_bytes_ + bit / 8)] |=
        static_cast<std::byte>(code << (bit % 8));
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  int64_t bits_, row_bytes_;
  std::vector<std::byte> bytes_;
};

// Codes as MatMulNBits has them: unsigned ones, those with a sign moved up by half the range.
class UnsignedCodes {
 public:
  explicit UnsignedCodes(const Tensor& codes)
      : bits_(static_cast<unsigned>(bits_of(codes.dtype()))),
        middle_(1u << (bits_ - 1)),
        sign_(is_signed(codes.dtype()) ? middle_ : 0),
        bytes_(codes.bytes()) {}
  unsigned middle() const { return middle_; }
  unsigned operator[](int64_t i) const {
    const uint64_t bit = static_cast<uint64_t>(i) * bits_;
    const auto byte = std::to_integer<unsigned>(bytes_[bit / 8]);
    return ((byte >> (bit % 8)) & (2 * middle_ - 1)) ^ sign_;
  }

 private:
  unsigned bits_, middle_, sign_;
  std::span<const std::byte> bytes_;
};

void rewrite(Node& n, const PackedProduct& m) {
  const UnsignedCodes codes(*m.dequantize->input(0).constant());
  const int64_t blocks = m.blocks();
  // What stands beyond the depth meets no value.
  PackedRows packed(m.columns * blocks, m.block, m.bits);
  for (int64_t c = 0; c < m.columns; ++c)
    for (int64_t k = 0; k < m.depth; ++k)
      packed.set(c * blocks + k / m.block, k % m.block,
                 codes[m.transposed ? c * m.depth + k : k * m.columns + c]);
  const auto scale_of = m.dequantize->input(1).constant()->values<float>();
  std::optional<UnsignedCodes> zero_of;
  if (m.dequantize->has_input(2)) zero_of.emplace(*m.dequantize->input(2).constant());
  std::vector<float> block_scales;
  PackedRows zeros(m.columns, blocks, m.bits);
  bool in_the_middle = true;
  // Without zero points, 0 is the code that signs have in the middle.
  const unsigned absent =
      is_signed(m.dequantize->input(0).constant()->dtype()) ? codes.middle() : 0;
  for (int64_t c = 0; c < m.columns; ++c)
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t i = c * m.by_column + b * m.by_block;
      const unsigned zero = zero_of ? (*zero_of)[i] : absent;
      block_scales.push_back(scale_of[static_cast<size_t>(i)]);
      zeros.set(c, b, zero);
      in_the_middle = in_the_middle && zero == codes.middle();
    }
  Rewriter rw(n.graph(), &n);
  const std::string& base = n.input(1).name();
  std::vector<Value*> inputs = {
      &n.input(0),
      &rw.add_constant(Tensor::from_bytes(DataType::kUint8,
                                          {m.columns, blocks, m.block * m.bits / 8}, packed.take()),
                       base + "_codes"),
      &rw.add_constant(Tensor::from({m.columns, blocks}, block_scales), base + "_scales")};
  if (!in_the_middle)
    inputs.push_back(&rw.add_constant(
        Tensor::from_bytes(DataType::kUint8, {m.columns, (blocks * m.bits + 7) / 8}, zeros.take()),
        base + "_zero_points"));
  if (n.is("Gemm") && n.has_input(2)) {
    inputs.resize(5);
    inputs.push_back(&n.input(2));
  }
  for (const char* name : {"alpha", "beta", "transA", "transB"}) rw.remove_attribute(n, name);
  rw.set_op(n, "MatMulNBits", "com.microsoft");
  rw.set_attribute(n, Attribute::of("K", m.depth));
  rw.set_attribute(n, Attribute::of("N", m.columns));
  rw.set_attribute(n, Attribute::of("bits", int64_t{m.bits}));
  rw.set_attribute(n, Attribute::of("block_size", m.block));
  rw.set_attribute(n, Attribute::of("accuracy_level", kAccuracyLevel));
  rw.resize_inputs(n, static_cast<int>(inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) rw.set_input(n, static_cast<int>(i), inputs[i]);
  rw.sweep();
}

}  // namespace

int put_nbits_products(Graph& graph) {
  int count = 0;
  // All are found first: whether a product becomes one depends on what others read.
  std::vector<std::pair<Node*, PackedProduct>> found;
  for (Node& n : graph.nodes()) {
    n.for_each_subgraph([&](Graph& sub) { count += put_nbits_products(sub); });
    const auto m = packed_product(n);
    if (m && n.input(0).type().dtype == DataType::kFloat &&
        m->dequantize->input(1).constant()->dtype() == DataType::kFloat)
      found.emplace_back(&n, *m);
  }
  for (const auto& [n, m] : found) rewrite(*n, m);
  return count + static_cast<int>(found.size());
}

}  // namespace onnxtool
