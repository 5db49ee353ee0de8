#include "libopt/target/pair_sums.h"

#include <functional>
#include <numeric>

namespace onnxtool {
namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";

int64_t product(std::span<const int64_t> dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
}

std::optional<PairOrder> order_of_conv(const Node& conv, std::span<const int64_t> dims) {
  const int64_t group = conv.attr<int64_t>("group", 1);
  if (dims.size() < 3 || group < 1 || is_summed_depthwise(dims[1], dims[0] / group)) return {};
  return PairOrder{
      .outer = dims[0], .channels = dims[1], .taps = product(dims.subspan(2)), .inner = 1};
}

// [..., depth, columns]
std::optional<PairOrder> order_of_matrix(std::span<const int64_t> dims) {
  if (dims.empty()) return {};
  if (dims.size() == 1) return PairOrder{.channels = dims[0]};
  return PairOrder{.outer = product(dims.first(dims.size() - 2)),
                   .channels = dims[dims.size() - 2],
                   .inner = dims.back()};
}

}  // namespace

std::optional<PairOrder> pair_order(const Node& layer, std::span<const int64_t> dims) {
  if (layer.is("Conv") || layer.is("QLinearConv") || layer.is("QLinearConv", kMicrosoft))
    return order_of_conv(layer, dims);
  if ((layer.is("Gemm") || layer.is("QGemm", kMicrosoft)) && layer.attr<int64_t>("transB", 0)) {
    if (dims.size() != 2) return {};
    return PairOrder{.outer = dims[0], .channels = dims[1]};
  }
  for (const std::string_view op : {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"})
    if (layer.is(op)) return order_of_matrix(dims);
  for (const std::string_view op :
       {"QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
    if (layer.is(op, kMicrosoft)) return order_of_matrix(dims);
  return {};
}

int64_t count_saturating_pairs(const PairOrder& order, std::span<const int8_t> codes) {
  int64_t pairs = 0;
  for_each_pair(order, [&](size_t a, size_t b) { pairs += pair_saturates(codes[a], codes[b]); });
  return pairs;
}

}  // namespace onnxtool
