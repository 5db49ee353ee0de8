// Convolutions against the formula, written out, and against each other.
#include <cmath>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

struct Case {
  Dims x, w;
  int64_t group = 1;
  Dims strides = {}, dilations = {}, pads = {};
  std::string auto_pad = "NOTSET";

  size_t rank() const { return x.size() - 2; }
  int64_t stride(size_t i) const { return strides.empty() ? 1 : strides[i]; }
  int64_t dilation(size_t i) const { return dilations.empty() ? 1 : dilations[i]; }
  int64_t span(size_t i) const { return (w[i + 2] - 1) * dilation(i) + 1; }
  int64_t out(size_t i) const {
    if (auto_pad.starts_with("SAME")) return (x[i + 2] + stride(i) - 1) / stride(i);
    const int64_t pad = pads.empty() ? 0 : pads[i] + pads[i + rank()];
    return (x[i + 2] + pad - span(i)) / stride(i) + 1;
  }
  int64_t pad(size_t i) const {
    if (!auto_pad.starts_with("SAME")) return pads.empty() ? 0 : pads[i];
    const int64_t total = std::max<int64_t>(0, (out(i) - 1) * stride(i) + span(i) - x[i + 2]);
    return auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
  }
  Dims output() const {
    Dims dims{x[0], w[0]};
    for (size_t i = 0; i < rank(); ++i) dims.push_back(out(i));
    return dims;
  }
  std::vector<Given> attributes() const {
    std::vector<Given> a{
        {"group", group}, {"auto_pad", auto_pad}, {"kernel_shape", Dims(w.begin() + 2, w.end())}};
    if (!strides.empty()) a.push_back({"strides", strides});
    if (!dilations.empty()) a.push_back({"dilations", dilations});
    if (!pads.empty()) a.push_back({"pads", pads});
    return a;
  }
  int64_t terms() const { return count_of(w) / w[0]; }
};

/// The next index below dims; false after the last.
bool next(Dims& index, const Dims& dims) {
  for (size_t i = dims.size(); i-- > 0;) {
    if (++index[i] < dims[i]) return true;
    index[i] = 0;
  }
  return false;
}

/// sum over c, k of (x - x_zero) * w for every output; w is given less its zero points.
std::vector<double> convolve(const Case& c, const std::vector<double>& x,
                             const std::vector<double>& w) {
  std::vector<double> y;
  const Dims dims = c.output(), kernel(c.w.begin() + 2, c.w.end());
  const int64_t channels = c.w[1], outputs = c.w[0] / c.group;
  Dims o(dims.size());
  do {
    double sum = 0;
    for (int64_t ch = 0; ch < channels; ++ch) {
      Dims k(kernel.size());
      do {
        int64_t at = o[0] * c.x[1] + o[1] / outputs * channels + ch, from = o[1] * channels + ch;
        bool inside = true;
        for (size_t i = 0; i < k.size(); ++i) {
          const int64_t p = o[i + 2] * c.stride(i) - c.pad(i) + k[i] * c.dilation(i);
          inside = inside && p >= 0 && p < c.x[i + 2];
          at = at * c.x[i + 2] + p;
          from = from * kernel[i] + k[i];
        }
        if (inside) sum += x[static_cast<size_t>(at)] * w[static_cast<size_t>(from)];
      } while (next(k, kernel));
    }
    y.push_back(sum);
  } while (next(o, dims));
  return y;
}

const std::vector<Case> kCases = {
    {.x = {1, 3, 9, 11}, .w = {5, 3, 3, 3}, .pads = {1, 1, 1, 1}},
    {.x = {2, 4, 8, 7}, .w = {17, 4, 1, 1}},      // pointwise
    {.x = {1, 300, 3, 3}, .w = {13, 300, 1, 1}},  // more than a block of k
    {.x = {1, 3, 10, 9}, .w = {4, 3, 5, 3}, .strides = {2, 2}, .pads = {2, 0, 1, 2}},
    {.x = {1, 2, 20, 7},
     .w = {3, 2, 3, 2},
     .strides = {1, 2},
     .dilations = {3, 2},
     .pads = {3, 1, 0, 2}},
    {.x = {3, 6, 7, 5}, .w = {9, 2, 3, 3}, .group = 3, .pads = {0, 1, 2, 1}},
    {.x = {2, 5, 9, 40}, .w = {5, 1, 3, 3}, .group = 5, .pads = {1, 1, 1, 1}},  // depthwise
    {.x = {1, 3, 9, 90}, .w = {6, 1, 3, 5}, .group = 3, .strides = {2, 2}, .pads = {1, 2, 1, 2}},
    {.x = {1, 2, 8, 70}, .w = {2, 1, 2, 3}, .group = 2, .strides = {3, 3}, .dilations = {1, 2}},
    {.x = {2, 3, 33}, .w = {4, 3, 4}, .strides = {3}, .pads = {2, 5}},
    {.x = {1, 2, 5, 6, 7}, .w = {3, 2, 2, 3, 3}, .strides = {1, 2, 1}, .pads = {1, 0, 1, 0, 1, 1}},
    {.x = {1, 4, 5, 6, 7}, .w = {4, 1, 2, 3, 3}, .group = 4, .pads = {1, 1, 1, 0, 1, 1}},
    {.x = {1, 2, 10, 11}, .w = {3, 2, 3, 4}, .strides = {2, 3}, .auto_pad = "SAME_UPPER"},
    {.x = {1, 2, 10, 11}, .w = {3, 2, 3, 4}, .strides = {2, 3}, .auto_pad = "SAME_LOWER"},
    {.x = {1, 2, 10, 11}, .w = {3, 2, 3, 4}, .strides = {2, 3}, .auto_pad = "VALID"},
    {.x = {1, 2, 3, 3}, .w = {3, 2, 3, 3}, .pads = {4, 4, 4, 4}},    // windows that see nothing
    {.x = {1, 2, 6, 6}, .w = {3, 2, 3, 3}, .pads = {-1, 0, 0, -1}},  // negative pads crop
};

}  // namespace

TEST_CASE("Conv follows its formula") {
  uint32_t seed = 1;
  for (const Case& c : kCases) {
    INFO("x " << format_dims(c.x) << " w " << format_dims(c.w));
    Values values(seed++);
    const Tensor x = values.normal(c.x), w = values.normal(c.w), b = values.normal({c.w[0]});
    std::vector<double> expected = convolve(c, doubles<float>(x), doubles<float>(w));
    const OneNode plain{.op = "Conv", .inputs = {x, w}, .attributes = c.attributes()};
    const std::vector<Tensor> y = run_node(plain);
    REQUIRE(y[0].dims() == c.output());
    check_sums(y[0], expected, c.terms());
    check_sums(run_node(plain, cpu_kernel_set_portable())[0], expected, c.terms());
    const auto bias = doubles<float>(b);
    const int64_t pixels = count_of(c.output()) / (c.x[0] * c.w[0]);
    for (size_t i = 0; i < expected.size(); ++i)
      expected[i] += bias[i / static_cast<size_t>(pixels) % bias.size()];
    check_sums(run_node({.op = "Conv", .inputs = {x, w, b}, .attributes = c.attributes()})[0],
               expected, c.terms());
  }
}

TEST_CASE("ConvInteger is exact") {
  uint32_t seed = 100;
  for (const Case& c : kCases) {
    INFO("x " << format_dims(c.x) << " w " << format_dims(c.w));
    Values values(seed++);
    const Tensor x = values.integers<uint8_t>(c.x), w = values.integers<int8_t>(c.w),
                 zero = values.integers<int8_t>({c.w[0]});
    std::vector<double> xs = doubles<uint8_t>(x), ws = doubles<int8_t>(w);
    const std::vector<double> zeros = doubles<int8_t>(zero);
    for (double& v : xs) v -= 77;
    for (size_t i = 0; i < ws.size(); ++i) ws[i] -= zeros[i / static_cast<size_t>(c.terms())];
    const std::vector<Tensor> y = run_node({.op = "ConvInteger",
                                            .inputs = {x, w, Tensor::scalar<uint8_t>(77), zero},
                                            .attributes = c.attributes()});
    CHECK(doubles<int32_t>(y[0]) == convolve(c, xs, ws));
  }
}

TEST_CASE("QLinearConv rounds half to even and saturates") {
  uint32_t seed = 200;
  for (const Case& c : kCases) {
    INFO("x " << format_dims(c.x) << " w " << format_dims(c.w));
    Values values(seed++);
    const Tensor x = values.integers<int8_t>(c.x), w = values.integers<int8_t>(c.w),
                 b = values.integers<int8_t>({c.w[0]});
    std::vector<int32_t> bias;
    for (const double v : doubles<int8_t>(b)) bias.push_back(static_cast<int32_t>(v) * 100);
    std::vector<double> xs = doubles<int8_t>(x);
    for (double& v : xs) v -= 3;
    // Factors of 2^-k make the product exact, so that halves really occur.
    const float y_scale = 64;
    const std::vector<Tensor> y = run_node(
        {.op = "QLinearConv",
         .inputs = {x, Tensor::scalar(0.5f), Tensor::scalar<int8_t>(3), w, Tensor::scalar(0.25f),
                    Tensor::scalar<int8_t>(0), Tensor::scalar(y_scale),
                    Tensor::scalar<uint8_t>(100), Tensor::from<int32_t>({c.w[0]}, bias)},
         .attributes = c.attributes()});
    std::vector<double> expected = convolve(c, xs, doubles<int8_t>(w));
    const int64_t pixels = count_of(c.output()) / (c.x[0] * c.w[0]);
    for (size_t i = 0; i < expected.size(); ++i) {
      const double sum = expected[i] + bias[i / static_cast<size_t>(pixels) % bias.size()];
      expected[i] = std::clamp(std::nearbyint(sum / 512) + 100, 0.0, 255.0);
    }
    CHECK(doubles<uint8_t>(y[0]) == expected);
  }
}

TEST_CASE("ConvTranspose is the transpose of Conv") {
  // <conv(x), z> = <x, transposed(z)> for every x and z; with an x of unit vectors that is the
  // formula.
  uint32_t seed = 300;
  for (const Case& c : kCases) {
    if (c.auto_pad != "NOTSET") continue;
    INFO("x " << format_dims(c.x) << " w " << format_dims(c.w));
    Values values(seed++);
    const Tensor x = values.normal(c.x), w = values.normal(c.w), z = values.normal(c.output());
    std::vector<Given> attributes = c.attributes();
    // The rows and columns that strides skip at the end of x.
    Dims padding;
    for (size_t i = 0; i < c.rank(); ++i) {
      const int64_t pad = c.pads.empty() ? 0 : c.pads[i] + c.pads[i + c.rank()];
      padding.push_back((c.x[i + 2] + pad - c.span(i)) % c.stride(i));
    }
    attributes.push_back({"output_padding", padding});
    const OneNode node{.op = "ConvTranspose", .inputs = {z, w}, .attributes = attributes};
    const std::vector<Tensor> y = run_node(node);
    REQUIRE(y[0].dims() == c.x);
    const std::vector<double> forward = convolve(c, doubles<float>(x), doubles<float>(w));
    double left = 0, right = 0, size = 0;
    const auto back = doubles<float>(y[0]), xs = doubles<float>(x), zs = doubles<float>(z);
    for (size_t i = 0; i < forward.size(); ++i) left += forward[i] * zs[i];
    for (size_t i = 0; i < back.size(); ++i)
      right += back[i] * xs[i], size += std::abs(back[i] * xs[i]);
    CHECK(std::abs(left - right) <= 1e-6 * size);
  }
}

TEST_CASE("ConvTranspose distributes the padding of output_shape and auto_pad") {
  const Tensor x = Tensor::from<float>({1, 1, 3}, std::vector<float>{1, 2, 3});
  const Tensor w = Tensor::from<float>({1, 1, 3}, std::vector<float>{1, 10, 100});
  const auto run = [&](std::vector<Given> attributes) {
    attributes.push_back({"strides", Dims{2}});
    const std::vector<Tensor> y =
        run_node({.op = "ConvTranspose", .inputs = {x, w}, .attributes = attributes});
    return doubles<float>(y[0]);
  };
  const std::vector<double> full{1, 10, 102, 20, 203, 30, 300};
  CHECK(run({}) == full);
  const auto cut = [&](std::ptrdiff_t first, std::ptrdiff_t last) {
    return std::vector<double>(full.begin() + first, full.end() - last);
  };
  // An odd total goes to the end for SAME_UPPER, to the beginning otherwise.
  CHECK(run({{"output_shape", Dims{6}}}) == cut(1, 0));
  CHECK(run({{"output_shape", Dims{6}}, {"auto_pad", std::string("SAME_UPPER")}}) == cut(0, 1));
  CHECK(run({{"auto_pad", std::string("SAME_LOWER")}}) == cut(1, 0));
  CHECK(run({{"auto_pad", std::string("VALID")}}) == full);
  CHECK(run({{"output_padding", Dims{1}}}) == std::vector<double>{1, 10, 102, 20, 203, 30, 300, 0});
  CHECK(run({{"output_shape", Dims{9}}}) ==
        std::vector<double>{1, 10, 102, 20, 203, 30, 300, 0, 0});
}

TEST_CASE("FusedConv adds, then activates") {
  const Tensor x = Tensor::from<float>({1, 1, 4}, std::vector<float>{-2, -1, 1, 2});
  const Tensor w = Tensor::from<float>({1, 1, 1}, std::vector<float>{3}),
               b = Tensor::from<float>({1}, std::vector<float>{1});
  const Tensor z = Tensor::from<float>({1, 1, 4}, std::vector<float>{1, 1, -10, 1});
  const auto run = [&](const char* activation) {
    return doubles<float>(run_node({.op = "FusedConv",
                                    .opset = 1,
                                    .inputs = {x, w, b, z},
                                    .attributes = {{"activation", std::string(activation)}},
                                    .domain = "com.microsoft"})[0]);
  };
  CHECK(run("Relu") == std::vector<double>{0, 0, 0, 8});
  CHECK(run("HardSigmoid")[3] == 1);
  CHECK(run("LeakyRelu")[2] == doctest::Approx(-0.06));
  CHECK(run("Tanh")[1] == doctest::Approx(std::tanh(-1)));
}

TEST_CASE("what does not fit a convolution is said") {
  Values values(1);
  const auto conv = [&](Dims x, Dims w, std::vector<Given> attributes = {}) {
    return error_of({.op = "Conv",
                     .inputs = {values.normal(std::move(x)), values.normal(std::move(w))},
                     .attributes = std::move(attributes)});
  };
  CHECK(mentions(conv({1, 4, 5, 5}, {2, 2, 3, 3}, {{"group", int64_t{3}}}), "group is 3"));
  CHECK(mentions(conv({1, 4, 5, 5}, {3, 2, 3, 3}, {{"group", int64_t{2}}}),
                 "not a multiple of group 2"));
  CHECK(mentions(conv({1, 2, 5, 5}, {2, 2, 3, 3}, {{"group", int64_t{0}}}), "group is 0"));
  CHECK(mentions(conv({1, 2, 5, 5}, {2, 2, 3}), "weights have shape [2, 2, 3]"));
  CHECK(mentions(conv({1, 2, 5, 5}, {2, 2, 3, 3}, {{"strides", Dims{1}}}), "strides has 1 values"));
  CHECK(mentions(conv({1, 2, 5, 5}, {2, 2, 3, 3}, {{"strides", Dims{0, 1}}}),
                 "expected values of at least 1"));
  CHECK(mentions(conv({1, 2, 5, 5}, {2, 2, 3, 3}, {{"pads", Dims{1, 1, 1}}}), "pads has 3 values"));
  CHECK(mentions(conv({1, 2, 5, 5}, {2, 2, 3, 3}, {{"kernel_shape", Dims{3, 2}}}),
                 "kernel_shape is [3, 2]"));
  CHECK(
      mentions(conv({1, 2, 5, 5}, {2, 2, 3, 3}, {{"dilations", Dims{INT64_MAX, 1}}}), "overflow"));
  CHECK(mentions(conv({1, 2, 2, 5}, {2, 2, 3, 3}), "the window extends over 3 elements"));
  CHECK(mentions(conv({1, 2, 5, 5}, {2, 2, 3, 3}, {{"auto_pad", std::string("SAME")}}),
                 "auto_pad is 'SAME'"));
}

}  // namespace onnxtool::testing
