// Times of onnxruntime's CPU provider: slopes measured with chains of equal nodes, in CPU time and
// by turns, onnxruntime 1.31, one thread of an x86-64 server with AVX-512 VNNI (AMD, 2024). Other
// machines differ by factors, less so the ratios.
//
// What stands out: depthwise convolutions are slower on integers, most where the channels do not
// fill vectors, and so are those of up to 16 channels in a group; Softmax many times; average pools
// many times (QLinearAveragePool is a plain loop); a convolution of few channels with a long kernel
// spends its time gathering windows; x * Sigmoid(x) is one node in float and two on integers; a
// Where whose condition changes from element to element some twenty times; a layer between floats
// pays for Q, DQ and changes of layout.

#include <algorithm>
#include <cmath>

#include "libopt/target/attention_products.h"
#include "libopt/target/cost.h"
#include "libopt/target/softmax_limits.h"

namespace onnxtool {
namespace {

constexpr double kNodeNs = 300;  // a node costs this whatever it does
constexpr double kConversionNs = 600, kConversionElementNs = 0.07;  // Q or DQ
// Convolutions in float read blocks of channels, those on integers pixels: what reorders and
// transposes take of an element on the way from one to the other.
constexpr double kLayoutNs = 300, kLayoutElementNs = 0.22;

struct Rate {
  double float_ns, integer_ns;
};

constexpr Rate kMac{0.0092, 0.0027};  // a multiplication of a product
// What a product costs beyond a node, for a weight (it comes from memory) and for an element of its
// result.
struct ProductRate {
  Rate base, weight, element;
};
constexpr ProductRate kConvolution{{100, 250}, {0.04, 0.025}, {0.03, 0.06}};
constexpr ProductRate kMatrix{{0, 350}, {0.06, 0.025}, {0, 0.12}};
constexpr Rate kDepthwiseMac{0.022, 0.028};
// The integer kernel: a tap of few channels, and an element where channels are left over.
constexpr double kDepthwiseTapNs = 0.45, kDepthwiseTapChannels = 32;
constexpr double kDepthwiseVector = 16, kDepthwiseRestMac = 0.3;
// Output channels come in blocks, full or not.
constexpr double kChannelBlock = 16;
// One block of them leaves the float kernel waiting for its sums.
constexpr double kOneBlockMacNs = 0.0125;
// QLinearConv copies each window, tap by tap, where vectors of input channels are not full.
constexpr double kWindowNs = 12, kWindowChannels = 8;
constexpr double kWindowTapNs = 0.5, kWindowTapChannels = 16;
// Groups are one product each, and on integers one of a few rows for each pixel. In float, blocks
// of 16 channels have a kernel of their own; other groups get their windows copied first.
constexpr Rate kGroupedMac{0.009, 0.0027};
constexpr double kGroupBlock = 16, kOneGroupBlockMac = 0.0125, kGroupCopyNs = 0.22;
constexpr double kGroupNs = 15, kGroupTapNs = 1.4;
constexpr Rate kPoolTap{0.02, 1.0};
// MaxPool of integers that come in the float convolutions' layout: a plain loop too.
constexpr double kPlainMaxPoolTap = 1.2;

struct ElementRate {
  std::string_view op;
  Rate per_element;  // of the result; of the input for GlobalAveragePool
};
constexpr double kPassNs = 0.2, kMoveNs = 0.1;  // of Add and Transpose in float
constexpr ElementRate kElementRates[] = {
    {"Add", {kPassNs, 0.24}},      {"Mul", {0.21, 0.28}},
    {"Concat", {0.12, 0.2}},       {"Sigmoid", {0.33, 0.28}},
    {"LeakyRelu", {0.16, 0.26}},   {"Softmax", {0.2, 1.77}},
    {"MaxPool", {0.1, 0.25}},      {"GlobalAveragePool", {0.07, 0.12}},
    {"Transpose", {kMoveNs, 0.1}}, {"Reshape", {0.02, 0.05}},
    {"Flatten", {0.02, 0.05}},     {"Squeeze", {0.02, 0.05}},
    {"Unsqueeze", {0.02, 0.05}},   {"Slice", {0.3, 0.25}},
    {"Split", {0.3, 0.25}},
};
// A channel shuffle that the runtime has turned to pixels first, behind a convolution on integers:
// no two elements stay neighbours, and they move one by one.
constexpr double kShuffleNs = 2.3;
constexpr Rate kSoftmaxRow{9, 5};
constexpr double kSwishNs = 0.16;  // x * Sigmoid(x), one node in float
// QLinearWhere asks for each element, which costs most where nobody can tell what comes next.
constexpr Rate kWhereElement{0.29, 0.35};
constexpr double kWherePickNs = 0.4, kWhereConditionNs = 6.5;
// In float, what runs on either layout. Relu and Clip belong to the convolution before them.
constexpr std::string_view kPointwise[] = {"Sigmoid", "HardSigmoid", "LeakyRelu",
                                           "Tanh",    "Elu",         "HardSwish"};

// [N, groups, C / groups, H, W] to [N, C / groups, groups, H, W].
bool is_channel_shuffle(const Node& n) {
  return n.is("Transpose") &&
         n.attr<std::vector<int64_t>>("perm", {}) == std::vector<int64_t>{0, 2, 1, 3, 4};
}

double product_of(const std::vector<int64_t>& dims, size_t from = 0) {
  double p = 1;
  for (size_t i = from; i < dims.size(); ++i) p *= static_cast<double>(dims[i]);
  return p;
}

NodeCost product(const Rate& mac, double macs, double weights, double elements,
                 const ProductRate& rate) {
  const auto sum = [&](double Rate::*r) {
    return kNodeNs + rate.base.*r + macs * mac.*r + weights * rate.weight.*r +
           elements * rate.element.*r;
  };
  return {sum(&Rate::float_ns), sum(&Rate::integer_ns)};
}

// [channels / group] of a convolution with `taps`, over so many pixels.
NodeCost grouped_convolution(double groups, double channels, double taps, double macs,
                             double weights, double out, double pixels) {
  NodeCost cost = product(kGroupedMac, macs, weights, out, kConvolution);
  if (std::fmod(channels, kGroupBlock) != 0)
    cost.float_ns += pixels * groups * channels * taps * kGroupCopyNs;
  else if (channels == kGroupBlock)
    cost.float_ns += macs * (kOneGroupBlockMac - kGroupedMac.float_ns);
  cost.integer_ns += pixels * groups * (kGroupNs + taps * kGroupTapNs);
  return cost;
}

// Falls with the square, from `full` channels on.
double share(double channels, double full) {
  return std::min(1.0, full * full / (channels * channels));
}

// To gather one window of an integer convolution.
double window_ns(double channels, double taps) {
  return kWindowNs * share(channels, kWindowChannels) +
         taps * kWindowTapNs * share(channels, kWindowTapChannels);
}

// W: [C_out, C_in / group, k...]
NodeCost convolution(const Node& n, double out, const std::vector<int64_t>& w) {
  if (w.size() < 3) return {kNodeNs, kNodeNs};
  const double macs = out * product_of(w, 1), weights = product_of(w);
  const double channels = std::max<double>(1, static_cast<double>(w[0])), taps = product_of(w, 2);
  const auto groups = static_cast<double>(n.attr<int64_t>("group", 1));
  const bool depthwise = groups > 1 && w[1] == 1;
  if (groups > 1 && !depthwise)
    return grouped_convolution(groups, static_cast<double>(w[1]), taps, macs, weights, out,
                               out / channels);
  Rate mac = depthwise ? kDepthwiseMac : kMac;
  if (!depthwise && channels <= kChannelBlock) mac.float_ns = kOneBlockMacNs;
  const double blocks = depthwise ? channels : std::ceil(channels / kChannelBlock) * kChannelBlock;
  NodeCost cost = product(mac, macs * blocks / channels, weights, out, kConvolution);
  if (!depthwise && taps > 1)
    cost.integer_ns += out / channels * window_ns(static_cast<double>(w[1]), taps);
  if (depthwise)
    cost.integer_ns += macs / channels *
                       (std::fmod(channels, kDepthwiseVector) * kDepthwiseRestMac +
                        kDepthwiseTapNs * share(channels, kDepthwiseTapChannels));
  return cost;
}

// The product of `sigmoid`'s input and its result, where that is all that becomes of the result.
const Node* swish_of(const Node& sigmoid) {
  const Value& y = sigmoid.output(0);
  if (!y.has_one_use() || y.is_graph_output()) return nullptr;
  const Node* user = y.uses()[0].user;
  if (!user->is("Mul") || user->num_inputs() != 2) return nullptr;
  return &user->input(1 - y.uses()[0].index) == &sigmoid.input(0) ? user : nullptr;
}

bool is_swish(const Node& mul) {
  for (const Value* v : mul.inputs())
    if (v && v->producer() && v->producer()->is("Sigmoid") && swish_of(*v->producer()) == &mul)
      return true;
  return false;
}

double taps_of(const Node& pool) {
  const Attribute* a = pool.attribute("kernel_shape");
  const auto* k = a ? a->get<std::vector<int64_t>>() : nullptr;
  return k ? product_of(*k) : 1;
}

NodeCost where(double out, const std::vector<int64_t>& condition) {
  NodeCost cost{kNodeNs + out * kWhereElement.float_ns, kNodeNs + out * kWhereElement.integer_ns};
  if (!condition.empty() && condition.back() > 1)
    cost.integer_ns += out * kWherePickNs + product_of(condition) * kWhereConditionNs;
  return cost;
}

NodeCost cost_of(const Node& n, const ShapeOf& shape_of) {
  const double out = product_of(shape_of(n.output(0)));
  if (n.is("Conv") && n.has_input(1)) return convolution(n, out, shape_of(n.input(1)));
  if ((n.is("Gemm") || n.is("MatMul")) && n.has_input(1)) {
    const std::vector<int64_t> b = shape_of(n.input(1));
    const bool transposed = n.is("Gemm") && n.attr<int64_t>("transB", 0);
    const size_t inner = transposed ? b.size() - 1 : b.size() - 2;
    const double depth = b.size() >= 2 ? static_cast<double>(b[inner]) : 1;
    return product(kMac, out * depth, product_of(b), out, kMatrix);
  }
  if (n.is("Where") && n.has_input(0)) return where(out, shape_of(n.input(0)));
  if (n.is("AveragePool")) {
    const double taps = out * taps_of(n);
    return {kNodeNs + taps * kPoolTap.float_ns, kNodeNs + taps * kPoolTap.integer_ns};
  }
  const auto rate = std::ranges::find(kElementRates, n.op_type(), &ElementRate::op);
  if (rate == std::end(kElementRates)) return {kNodeNs, kNodeNs};
  const double elements = n.is("GlobalAveragePool") ? product_of(shape_of(n.input(0))) : out;
  NodeCost cost{kNodeNs + elements * rate->per_element.float_ns,
                kNodeNs + elements * rate->per_element.integer_ns};
  if (is_channel_shuffle(n)) cost.integer_ns = kNodeNs + elements * kShuffleNs;
  if (n.is("Softmax")) {
    const double rows = elements / static_cast<double>(softmax_entries(n).value_or(1));
    cost.float_ns += rows * kSoftmaxRow.float_ns;
    cost.integer_ns += rows * kSoftmaxRow.integer_ns;
  }
  if (n.is("Sigmoid") && swish_of(n)) cost.float_ns = 0;
  if (n.is("Mul") && is_swish(n)) cost.float_ns = kNodeNs + elements * kSwishNs;
  return cost;
}

// For one side of a conversion: whether what computes in float there has a layout of its own.
bool changes_layout(const Value& v, const ShapeOf& shape_of, bool before) {
  if (shape_of(v).size() < 4) return false;
  const auto has_own = [](const Node& n) {
    return std::ranges::find(kPointwise, n.op_type()) == std::end(kPointwise);
  };
  if (before) return !v.producer() || has_own(*v.producer());
  return std::ranges::any_of(v.uses(), [&](const Use& u) { return has_own(*u.user); });
}

double conversion_ns(const Value& v, const ShapeOf& shape_of, bool before) {
  const double elements = product_of(shape_of(v));
  const double ns = kConversionNs + elements * kConversionElementNs;
  return changes_layout(v, shape_of, before) ? ns + kLayoutNs + elements * kLayoutElementNs : ns;
}

double quantize_ns(const Value& v, const ShapeOf& shape_of) {
  double ns = conversion_ns(v, shape_of, /*before=*/true);
  // The runtime moves a Q up past pools, whoever makes their input.
  if (const Node* p = v.producer(); p && p->is("MaxPool"))
    ns += product_of(shape_of(v)) * taps_of(*p) * kPlainMaxPoolTap;
  return ns;
}

double dequantize_ns(const Value& v, const ShapeOf& shape_of) {
  return conversion_ns(v, shape_of, /*before=*/false);
}

// Fitted to chains of products of 1 to 256 rows and 16 to 768 columns: it is faster from some 128
// columns on with one row, from 64 with 64 rows.
constexpr double kDynamicNs = 450, kDynamicElementNs = 0.05;

double dynamic_ns(const Value& v, const ShapeOf& shape_of) {
  return kDynamicNs + product_of(shape_of(v)) * kDynamicElementNs;
}

}  // namespace

constinit const CostModel kOrtCpuCost{cost_of, quantize_ns, dequantize_ns, dynamic_ns};

// Without the fusion each node runs by itself, and heads are moved apart and together again.
double lost_attention_ns(const AttentionProducts& a, const ShapeOf& shape_of) {
  constexpr double kNodes = 13, kMoves = 4, kPasses = 2;
  return kNodes * kNodeNs + kMoves * product_of(shape_of(a.values->output(0))) * kMoveNs +
         kPasses * product_of(shape_of(a.scores->output(0))) * kPassNs;
}

}  // namespace onnxtool
