// Times of onnxruntime's CPU provider: slopes measured with chains of equal nodes,
// onnxruntime 1.31, one thread of an x86-64 server with AVX-512 VNNI. Other machines differ by
// factors, less so the ratios.
//
// What stands out: depthwise convolutions are twice as slow on integers, average pools many times
// (QLinearAveragePool is a plain loop), a convolution of one channel with a long kernel spends its
// time gathering windows, and a small layer between floats loses to its own Q and DQ.

#include <algorithm>
#include <cmath>

#include "libopt/target/attention_products.h"
#include "libopt/target/cost.h"

namespace onnxtool {
namespace {

constexpr double kNodeNs = 500;  // a node costs this whatever it does
// Q and DQ with the transposition between the layouts of float and integer convolutions.
constexpr double kConversionNs = 1000, kConversionElementNs = 0.2;

struct Rate {
  double float_ns, integer_ns;
};

// A product: a multiplication, a weight (it comes from memory), an element of the result.
constexpr Rate kMac{0.018, 0.006}, kWeight{0.04, 0.025}, kProductElement{0, 0.1};
constexpr Rate kDepthwiseMac{0.03, 0.06};
// A convolution costs this beyond a node, however small it is.
constexpr Rate kConvolution{1900, 1400};
// Output channels come in blocks, full or not.
constexpr double kChannelBlock = 16;
// QLinearConv copies each window, tap by tap: this many ns for the channels of one.
constexpr double kWindowTapNs = 1.2;
// Few channels a group leave vectors half empty.
constexpr Rate kGroupedMac{0.02, 0.02};
constexpr Rate kPoolTap{0.02, 2.8};
// MaxPool of integers that come in the float convolutions' layout: a plain loop too.
constexpr double kPlainMaxPoolTap = 2.4;

struct ElementRate {
  std::string_view op;
  Rate per_element;  // of the result; of the input for GlobalAveragePool
};
constexpr double kPassNs = 0.12, kMoveNs = 0.25;  // of Add and Transpose in float
constexpr ElementRate kElementRates[] = {
    {"Add", {kPassNs, 0.15}},
    {"Mul", {0.21, 0.21}},
    {"Concat", {0.28, 0.28}},
    {"Sigmoid", {0.28, 0.25}},
    {"LeakyRelu", {0.14, 0.25}},
    {"MaxPool", {0.2, 0.35}},
    {"GlobalAveragePool", {0.1, 0.15}},
    {"Transpose", {kMoveNs, 0.2}},
    {"Reshape", {0.1, 0.05}},
    {"Flatten", {0.1, 0.05}},
    {"Squeeze", {0.1, 0.05}},
    {"Unsqueeze", {0.1, 0.05}},
    {"Slice", {0.3, 0.25}},
    {"Split", {0.3, 0.25}},
};

double product_of(const std::vector<int64_t>& dims, size_t from = 0) {
  double p = 1;
  for (size_t i = from; i < dims.size(); ++i) p *= static_cast<double>(dims[i]);
  return p;
}

NodeCost product(const Rate& mac, double macs, double weights, double elements) {
  const auto sum = [&](double Rate::*r) {
    return kNodeNs + macs * mac.*r + weights * kWeight.*r + elements * kProductElement.*r;
  };
  return {sum(&Rate::float_ns), sum(&Rate::integer_ns)};
}

// W: [C_out, C_in / group, k...]
NodeCost convolution(const Node& n, double out, const std::vector<int64_t>& w) {
  if (w.size() < 3) return {kNodeNs, kNodeNs};
  const double macs = out * product_of(w, 1), weights = product_of(w);
  const double channels = std::max<double>(1, static_cast<double>(w[0])), taps = product_of(w, 2);
  const bool grouped = n.attr<int64_t>("group", 1) > 1;
  const Rate& mac = !grouped ? kMac : w[1] == 1 ? kDepthwiseMac : kGroupedMac;
  const double blocks = grouped ? channels : std::ceil(channels / kChannelBlock) * kChannelBlock;
  NodeCost cost = product(mac, macs * blocks / channels, weights, out);
  cost.float_ns += kConvolution.float_ns;
  cost.integer_ns += kConvolution.integer_ns;
  if (!grouped && taps > 1) cost.integer_ns += out / channels * taps * kWindowTapNs;
  return cost;
}

double taps_of(const Node& pool) {
  const Attribute* a = pool.attribute("kernel_shape");
  const auto* k = a ? a->get<std::vector<int64_t>>() : nullptr;
  return k ? product_of(*k) : 1;
}

NodeCost cost_of(const Node& n, const ShapeOf& shape_of) {
  const double out = product_of(shape_of(n.output(0)));
  if (n.is("Conv") && n.has_input(1)) return convolution(n, out, shape_of(n.input(1)));
  if ((n.is("Gemm") || n.is("MatMul")) && n.has_input(1)) {
    const std::vector<int64_t> b = shape_of(n.input(1));
    const bool transposed = n.is("Gemm") && n.attr<int64_t>("transB", 0);
    const size_t inner = transposed ? b.size() - 1 : b.size() - 2;
    const double depth = b.size() >= 2 ? static_cast<double>(b[inner]) : 1;
    return product(kMac, out * depth, product_of(b), out);
  }
  if (n.is("AveragePool")) {
    const double taps = out * taps_of(n);
    return {kNodeNs + taps * kPoolTap.float_ns, kNodeNs + taps * kPoolTap.integer_ns};
  }
  const auto rate = std::ranges::find(kElementRates, n.op_type(), &ElementRate::op);
  if (rate == std::end(kElementRates)) return {kNodeNs, kNodeNs};
  const double elements = n.is("GlobalAveragePool") ? product_of(shape_of(n.input(0))) : out;
  return {kNodeNs + elements * rate->per_element.float_ns,
          kNodeNs + elements * rate->per_element.integer_ns};
}

double conversion_ns(const Value& v, const ShapeOf& shape_of) {
  return kConversionNs + product_of(shape_of(v)) * kConversionElementNs;
}

double quantize_ns(const Value& v, const ShapeOf& shape_of) {
  double ns = conversion_ns(v, shape_of);
  // The runtime moves a Q up past pools, whoever makes their input.
  if (const Node* p = v.producer(); p && p->is("MaxPool"))
    ns += product_of(shape_of(v)) * taps_of(*p) * kPlainMaxPoolTap;
  return ns;
}

// Fitted to chains of products of 1 to 256 rows and 16 to 768 columns: it is faster from some 128
// columns on with one row, from 64 with 64 rows.
constexpr double kDynamicNs = 750, kDynamicElementNs = 0.2;

double dynamic_ns(const Value& v, const ShapeOf& shape_of) {
  return kDynamicNs + product_of(shape_of(v)) * kDynamicElementNs;
}

}  // namespace

constinit const CostModel kOrtCpuCost{cost_of, quantize_ns, conversion_ns, dynamic_ns};

// Without the fusion each node runs by itself, and heads are moved apart and together again.
double lost_attention_ns(const AttentionProducts& a, const ShapeOf& shape_of) {
  constexpr double kNodes = 13, kMoves = 4, kPasses = 2;
  return kNodes * kNodeNs + kMoves * product_of(shape_of(a.values->output(0))) * kMoveNs +
         kPasses * product_of(shape_of(a.scores->output(0))) * kPassNs;
}

}  // namespace onnxtool
