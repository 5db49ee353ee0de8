// Convolutions on oneDNN, and what is fused behind them.

#include "calib/exec/folder.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"
#include "tests/kernels/dnnl_net.h"

namespace onnxtool::testing {
using namespace dnnl_nets;

TEST_CASE("dnnl: convolutions agree with the cpu kernels, whatever the number of threads") {
  if (!dnnl_kernel_set()) return;
  const std::vector<ConvCase> cases = {
      {.x = {1, 3, 64, 64}, .w = {32, 3, 7, 7}, .strides = {2, 2}, .pads = {3, 3, 3, 3}},
      {.x = {1, 64, 28, 28}, .w = {64, 64, 1, 1}},
      {.x = {3, 48, 13, 13}, .w = {40, 48, 1, 1}, .bias = false},
      {.x = {1, 64, 28, 28}, .w = {64, 64, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {5, 17, 14, 11}, .w = {33, 17, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {1, 64, 28, 28}, .w = {128, 64, 1, 1}, .strides = {2, 2}},
      {.x = {1, 32, 30, 20}, .w = {32, 32, 3, 3}, .strides = {2, 1}, .pads = {0, 1, 2, 0}},
      {.x = {1, 32, 20, 20}, .w = {32, 32, 3, 3}, .dilations = {2, 3}, .pads = {2, 3, 2, 3}},
      {.x = {2, 96, 28, 28}, .w = {96, 1, 3, 3}, .group = 96, .pads = {1, 1, 1, 1}},
      {.x = {1, 20, 40, 40},
       .w = {20, 1, 5, 5},
       .group = 20,
       .strides = {2, 2},
       .pads = {2, 2, 2, 2}},
      {.x = {1, 64, 28, 28}, .w = {64, 16, 3, 3}, .group = 4, .pads = {1, 1, 1, 1}},
      {.x = {1, 240, 14, 14}, .w = {240, 80, 1, 1}, .group = 3},
      {.x = {2, 64, 100}, .w = {48, 64, 3}, .strides = {2}, .pads = {1, 1}},
      {.x = {1, 16, 8, 12, 10}, .w = {24, 16, 3, 3, 3}, .pads = {1, 1, 1, 1, 1, 1}},
      {.x = {1, 256, 7, 7}, .w = {512, 256, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {1, 8, 3, 3}, .w = {8, 8, 3, 3}, .pads = {4, 4, 4, 4}},
      {.x = {64, 1, 28, 28}, .w = {8, 1, 5, 5}},
      {.x = {2, 24, 100, 1}, .w = {48, 24, 5, 1}, .strides = {2, 1}, .pads = {2, 0, 1, 0}},
      {.x = {1, 32, 90, 1}, .w = {32, 1, 7, 1}, .group = 32, .dilations = {3, 1}},
  };
  uint32_t seed = 1;
  for (const ConvCase& c : cases) {
    INFO("weights " << format_dims(c.w));
    Net net(seed++);
    net.output(add_conv(net, net.input(c.x), c));
    check_against_cpu(net, terms_of(c.w));
  }
}

TEST_CASE("dnnl: float16 convolutions are those of float32, rounded once") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  for (const ConvCase& c :
       {ConvCase{.x = {2, 16, 13, 11}, .w = {24, 16, 3, 3}, .pads = {1, 1, 1, 1}},
        ConvCase{.x = {1, 16, 9, 9}, .w = {32, 16, 1, 1}, .bias = false},
        ConvCase{.x = {1, 16, 12, 12}, .w = {16, 1, 3, 3}, .group = 16}}) {
    // The same values, exact in float16, computed in both types.
    Net halves(7), floats(7);
    const auto add = [&](Net& net, bool half) {
      std::vector<Value*> from;
      for (const Dims& dims : {c.x, c.w, Dims{c.w[0]}}) {
        Value& given = from.empty() ? net.input(dims) : net.constant(dims);
        Value& rounded = net.node("Cast", {&given}, {{"to", int64_t{10}}});
        from.push_back(half ? &rounded : &net.node("Cast", {&rounded}, {{"to", int64_t{1}}}));
        if (from.size() == 2 && !c.bias) break;
      }
      std::vector<Given> attributes{{"group", c.group}};
      if (!c.pads.empty()) attributes.push_back({"pads", c.pads});
      Value& y = net.node("Conv", from, attributes);
      Value& rounded = half ? y : net.node("Cast", {&y}, {{"to", int64_t{10}}});
      net.output(net.node("Cast", {&rounded}, {{"to", int64_t{1}}}));
    };
    add(halves, true);
    add(floats, false);
    for (Net* net : {&halves, &floats}) {
      const auto folder = make_folder();
      PassContext context;
      context.folder = folder.get();
      REQUIRE(infer_graph(net->graph()).ok());
      run_passes(net->model(), preparation_pipeline(), context);
    }
    const Ran a = run(halves, {dnnl, &cpu_kernel_set()}, 1),
              b = run(floats, {dnnl, &cpu_kernel_set()}, 1);
    CHECK(same_bits(a.outputs[0], b.outputs[0]));
    CHECK(same_bits(run(halves, {dnnl, &cpu_kernel_set()}, 3).outputs[0], a.outputs[0]));
  }
}

// Which implementations may be cut differently for different numbers of threads is a claim about
// oneDNN's internals (sums_alike_for_all_extents in convolution.cc): many shapes stand against it.
TEST_CASE("dnnl: convolutions give the same bits on 1 to 16 threads") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  // oneDNN 2.6 adds these in another order when it is given fewer rows.
  std::vector<ConvCase> cases = {
      {.x = {1, 512, 19, 5}, .w = {96, 512, 3, 3}, .pads = {1, 1, 2, 1}},
      {.x = {1, 1024, 14, 14}, .w = {96, 1024, 3, 3}, .pads = {0, 1, 1, 1}},
      {.x = {1, 512, 13, 7}, .w = {256, 512, 3, 3}, .strides = {2, 2}, .pads = {1, 2, 1, 1}},
      {.x = {1, 256, 56, 56}, .w = {64, 256, 3, 3}, .strides = {2, 2}, .pads = {2, 1, 1, 1}},
      {.x = {1, 160, 19, 19}, .w = {96, 160, 5, 5}, .strides = {2, 2}, .pads = {2, 2, 2, 2}},
      // More weights than pixels: cut by output channels, evenly and not.
      {.x = {1, 512, 7, 7}, .w = {512, 512, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {1, 256, 14, 14}, .w = {200, 256, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {1, 512, 7, 7}, .w = {1000, 512, 1, 1}},
      {.x = {3, 700, 1, 1}, .w = {300, 700, 1, 1}},
  };
  std::mt19937 random(7);
  const auto pick = [&](std::initializer_list<int64_t> list) {
    return *(list.begin() + random() % list.size());
  };
  while (cases.size() < 100) {
    ConvCase c;
    int64_t in = pick({3, 8, 16, 17, 24, 32, 64, 96, 128, 160, 256, 512}),
            out = pick({1, 8, 16, 24, 32, 64, 100, 128, 256});
    const int64_t kind = pick({0, 1, 2, 2, 2, 2});
    if (kind == 0) out = c.group = in;
    if (kind == 1)
      c.group = pick({2, 4}), in = c.group * pick({4, 8, 16, 32}),
      out = c.group * pick({4, 8, 16, 32});
    const int64_t k = pick({1, 1, 3, 3, 3, 5, 7}), kw = pick({0, 0, 0, 1}) ? 3 : k,
                  h = pick({4, 7, 13, 14, 19, 28, 33, 56}), w = pick({0, 0, 0, 1}) ? 5 + h : h;
    if (in / c.group * out * k * kw * h * w > 60'000'000) continue;
    c.x = {pick({1, 1, 1, 2, 5}), in, h, w};
    c.w = {out, in / c.group, k, kw};
    c.strides = Dims(2, pick({1, 1, 2}));
    c.pads = {k / 2, kw / 2, k / 2, kw / 2};
    if (pick({0, 0, 0, 1}))
      c.pads = {static_cast<int64_t>(random() % static_cast<uint32_t>(k)), 0, 0,
                static_cast<int64_t>(random() % static_cast<uint32_t>(kw))};
    if (h + c.pads[0] + c.pads[2] >= k && w + c.pads[1] + c.pads[3] >= kw) cases.push_back(c);
  }
  uint32_t seed = 0;
  for (const ConvCase& c : cases) {
    Net net(seed++);
    net.output(net.node("Relu", {&add_conv(net, net.input(c.x), c)}));
    const Ran one = run(net, {dnnl, &cpu_kernel_set()}, 1);
    for (int threads : {2, 3, 4, 7, 16}) {
      const Ran many = run(net, {dnnl, &cpu_kernel_set()}, threads);
      CHECK_MESSAGE(same_bits(one.outputs[0], many.outputs[0]),
                    "x " << format_dims(c.x) << " w " << format_dims(c.w) << " strides "
                         << format_dims(c.strides) << " pads " << format_dims(c.pads) << ", "
                         << threads << " threads");
    }
  }
}

TEST_CASE("dnnl: what follows a convolution is fused, residuals included") {
  if (!dnnl_kernel_set()) return;
  const ConvCase conv{.x = {2, 32, 14, 14}, .w = {32, 32, 3, 3}, .pads = {1, 1, 1, 1}};
  for (const std::string op :
       {"Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Clip", "Mul"}) {
    CAPTURE(op);
    for (const bool residual : {false, true}) {
      CAPTURE(residual);
      Net net(3);
      Value& x = net.input(conv.x);
      Value* y = &add_conv(net, x, conv);
      if (residual) y = &net.node("Add", {y, &x});  // x itself is still read while y is written
      std::vector<Value*> from{y};
      if (op == "Mul") from.push_back(&net.node("Sigmoid", {y}));
      if (op == "Clip") from.push_back(&net.scalar(-0.5f)), from.push_back(&net.scalar(6.0f));
      std::vector<Given> attributes;
      if (op == "LeakyRelu") attributes.push_back({"alpha", 0.3f});
      net.output(net.node(op, from, attributes));
      check_against_cpu(net, terms_of(conv.w));
      const Ran ran = run(net, {dnnl_kernel_set(), &cpu_kernel_set()}, 1);
      if (serves_all_shapes()) CHECK(ran.kernels == "dnnl: 1 step");
    }
  }
}

TEST_CASE("dnnl: a Clip with its bounds the wrong way around gives the upper one everywhere") {
  if (!dnnl_kernel_set()) return;
  const ConvCase conv{.x = {2, 32, 14, 14}, .w = {32, 32, 3, 3}, .pads = {1, 1, 1, 1}};
  Net net(3);
  Value& x = net.input(conv.x);
  net.output(net.node("Clip", {&add_conv(net, x, conv), &net.scalar(3), &net.scalar(1)}));
  check_against_cpu(net, terms_of(conv.w));
}

TEST_CASE("dnnl: NaN goes through what is fused behind a product") {
  if (!dnnl_kernel_set()) return;
  const float inf = std::numeric_limits<float>::infinity(), nan = inf - inf;
  // Of which infinities of both signs in one window become NaN.
  const auto with = [](const Tensor& t, std::initializer_list<std::pair<size_t, float>> given) {
    const auto given_values = t.values<float>();
    std::vector<float> values(given_values.begin(), given_values.end());
    for (const auto& [at, value] : given) values[at] = value;
    return Tensor::from<float>(t.dims(), values);
  };
  const auto holds_nan = [](Net& net) {
    const Ran ran = run(net, {dnnl_kernel_set(), &cpu_kernel_set()}, 2);
    const auto values = ran.outputs[0].values<float>();
    return std::ranges::any_of(values, [](float v) { return v != v; });
  };
  for (const std::string op : {"Relu", "HardSigmoid", "Clip", "Tanh"})
    for (const bool residual : {false, true})
      for (const int source : {0, 1, 2}) {  // NaN, infinities, NaN in the addend
        if (source == 2 && !residual) continue;
        CAPTURE(op);
        CAPTURE(residual);
        CAPTURE(source);
        const ConvCase conv{.x = {2, 32, 14, 14}, .w = {32, 32, 3, 3}, .pads = {1, 1, 1, 1}};
        Net net(3);
        Value* y = &add_conv(net, net.input(conv.x), conv);
        if (residual) y = &net.node("Add", {y, &net.input(conv.x)});
        std::vector<Value*> from{y};
        if (op == "Clip") from.push_back(&net.scalar(-0.5f)), from.push_back(&net.scalar(6.0f));
        net.output(net.node(op, from));
        if (source == 0) net.inputs[0] = with(net.inputs[0], {{60, nan}});
        if (source == 1) net.inputs[0] = with(net.inputs[0], {{60, inf}, {61, -inf}});
        if (source == 2) net.inputs[1] = with(net.inputs[1], {{60, nan}});
        CHECK(holds_nan(net));
        check_against_cpu(net, terms_of(conv.w));
      }
  for (const char* op : {"Relu", "HardSigmoid"}) {
    Net net(5);
    Value& product = net.node("Gemm", {&net.input({40, 64}), &net.constant({64, 48})});
    net.output(net.node(op, {&product}));
    net.inputs[0] = with(net.inputs[0], {{70, nan}});
    CHECK(holds_nan(net));
    check_against_cpu(net, 64);
  }
}

TEST_CASE("dnnl: a residual block keeps its branches apart") {
  if (!dnnl_kernel_set()) return;
  const ConvCase a{.x = {1, 32, 14, 14}, .w = {64, 32, 1, 1}},
      b{.x = a.x, .w = {64, 32, 3, 3}, .pads = {1, 1, 1, 1}};
  for (const bool kept : {false, true}) {
    CAPTURE(kept);
    Net net(5);
    Value& x = net.input(a.x);
    Value& left = add_conv(net, x, a);
    Value& right = add_conv(net, x, b);
    Value& sum = net.node("Add", {&left, &right});
    net.output(net.node("Relu", {&sum}));
    // With another reader, the buffer of `right` must survive the addition.
    if (kept) net.output(net.node("Neg", {&right}));
    check_against_cpu(net, terms_of(b.w));
  }
}

TEST_CASE("dnnl: an addition behind a node that has no bias is not taken for one") {
  if (!dnnl_kernel_set()) return;
  Net net(43);
  Value& x = net.input({1, 16, 10, 10});
  Value& y = add_conv(net, x, {.x = {}, .w = {16, 16, 1, 1}, .bias = false});
  net.output(net.node("Relu", {&net.node("Add", {&x, &y})}));
  Value& a = net.input({8, 12});
  Value& z = net.node("Gemm", {&a, &net.constant({12, 12})});
  net.output(net.node("Add", {&z, &a}));
  check_against_cpu(net, 16);
}

TEST_CASE("dnnl: FusedConv of onnxruntime") {
  if (!dnnl_kernel_set()) return;
  for (const bool residual : {false, true}) {
    CAPTURE(residual);
    Net net(47);
    Value& x = net.input({1, 16, 12, 12});
    std::vector<Value*> from{&x, &net.constant({16, 16, 3, 3}), &net.constant({16})};
    if (residual) from.push_back(&x);
    Value& y = net.node("FusedConv", from,
                        {{"pads", Dims{1, 1, 1, 1}},
                         {"activation", std::string("Clip")},
                         {"activation_params", std::vector<float>{-1, 3}}},
                        "com.microsoft");
    y.set_type(ValueType::tensor(DataType::kFloat, {1, 16, 12, 12}));
    net.output(y);
    check_against_cpu(net, 16 * 9);
  }
}

TEST_CASE("dnnl: weights that are computed while running") {
  if (!dnnl_kernel_set()) return;
  Net net(11);
  Value& x = net.input({1, 16, 20, 20});
  Value& w = net.node("Neg", {&net.input({24, 16, 3, 3})});
  net.output(net.node("Conv", {&x, &w, &net.input({24})}));
  check_against_cpu(net, 16 * 9);
}

TEST_CASE("dnnl: transposed convolutions") {
  if (!dnnl_kernel_set()) return;
  struct Case {
    Dims x, w;  // w [C, M / group, kernel...]
    Dims strides = {}, pads = {}, extra = {}, dilations = {};
    int64_t group = 1;
  };
  const std::vector<Case> cases = {
      {.x = {1, 64, 28, 28}, .w = {64, 32, 2, 2}, .strides = {2, 2}},
      {.x = {2, 48, 30, 17}, .w = {48, 20, 4, 4}, .strides = {2, 2}, .pads = {1, 1, 1, 1}},
      {.x = {1, 32, 25, 25},
       .w = {32, 16, 3, 3},
       .strides = {2, 2},
       .pads = {1, 0, 1, 2},
       .extra = {1, 1}},
      {.x = {1, 16, 9, 9},
       .w = {16, 24, 3, 5},
       .strides = {3, 1},
       .pads = {0, 2, 1, 2},
       .dilations = {2, 2}},
      {.x = {1, 32, 12, 12},
       .w = {32, 8, 3, 3},
       .strides = {2, 2},
       .pads = {1, 1, 1, 1},
       .group = 2},
      {.x = {2, 24, 50}, .w = {24, 16, 8}, .strides = {4}, .pads = {2, 2}},
      {.x = {1, 16, 6, 6}, .w = {16, 8, 2, 2}, .strides = {5, 5}},
      {.x = {1, 128, 1, 1}, .w = {128, 64, 4, 4}},
  };
  uint32_t seed = 41;
  for (const Case& c : cases) {
    INFO("x " << format_dims(c.x) << " weights " << format_dims(c.w));
    Net net(seed++);
    std::vector<Given> attributes{{"group", c.group}};
    if (!c.strides.empty()) attributes.push_back({"strides", c.strides});
    if (!c.pads.empty()) attributes.push_back({"pads", c.pads});
    if (!c.extra.empty()) attributes.push_back({"output_padding", c.extra});
    if (!c.dilations.empty()) attributes.push_back({"dilations", c.dilations});
    net.output(net.node("ConvTranspose",
                        {&net.input(c.x), &net.constant(c.w), &net.constant({c.w[1] * c.group})},
                        attributes));
    check_against_cpu(net, c.w[0] / c.group * 4);
  }
}

TEST_CASE(
    "dnnl: pooling, normalization and concatenation between convolutions stay channels last") {
  if (!dnnl_kernel_set()) return;
  const ConvCase conv{.x = {2, 16, 23, 23}, .w = {40, 16, 3, 3}, .pads = {1, 1, 1, 1}},
      last{.x = {}, .w = {16, 40, 1, 1}};
  for (int kind = 0; kind < 7; ++kind) {
    CAPTURE(kind);
    Net net(19 + static_cast<uint32_t>(kind));
    Value& y = add_conv(net, net.input(conv.x), conv);
    Value* middle = nullptr;
    ConvCase after = last;
    switch (kind) {
      case 0:
        middle = &net.node(
            "MaxPool", {&y},
            {{"kernel_shape", Dims{3, 3}}, {"strides", Dims{2, 2}}, {"pads", Dims{1, 1, 1, 1}}});
        break;
      case 1:
        middle = &net.node("MaxPool", {&y},
                           {{"kernel_shape", Dims{2, 3}},
                            {"strides", Dims{3, 2}},
                            {"dilations", Dims{2, 1}},
                            {"ceil_mode", int64_t{1}}});
        break;
      case 2:
        middle = &net.node("AveragePool", {&y},
                           {{"kernel_shape", Dims{3, 3}},
                            {"pads", Dims{1, 1, 1, 1}},
                            {"count_include_pad", int64_t{1}}});
        break;
      case 3:
        middle = &net.node("AveragePool", {&y},
                           {{"kernel_shape", Dims{4, 4}},
                            {"strides", Dims{3, 3}},
                            {"pads", Dims{1, 0, 2, 1}},
                            {"ceil_mode", int64_t{1}}});
        break;
      case 6: middle = &net.node("ReduceMean", {&y}, {{"axes", Dims{-1, 2}}}); break;
      case 4: middle = &net.node("GlobalAveragePool", {&y}); break;
      default:
        middle = &net.node("Concat", {&y, &net.node("Relu", {&net.input({2, 5, 23, 23})}), &y},
                           {{"axis", int64_t{1}}});
        after.w[1] = 85;
    }
    net.output(add_conv(net, *middle, after));
    check_against_cpu(net, terms_of(conv.w) * terms_of(after.w));
    if (serves_all_shapes())
      CHECK(run(net, {dnnl_kernel_set(), &cpu_kernel_set()}, 1).kernels.find("dnnl: 3 steps") !=
            std::string::npos);
  }
}

TEST_CASE("dnnl: images that are resized between convolutions stay channels last") {
  if (!dnnl_kernel_set()) return;
  const ConvCase conv{.x = {2, 16, 9, 7}, .w = {24, 16, 1, 1}}, last{.x = {}, .w = {16, 24, 1, 1}};
  for (const char* mode : {"nearest", "linear", "cubic"})
    for (const Dims& sizes : {Dims{2, 24, 18, 21}, Dims{2, 24, 13, 5}, Dims{3, 24, 9, 14}}) {
      CAPTURE(mode);
      CAPTURE(sizes);
      Net net(53);
      Value& y = add_conv(net, net.input(conv.x), conv);
      Value& to = net.graph().add_initializer(Tensor::from<int64_t>({4}, sizes), "");
      Value* absent = nullptr;
      Value& resized = net.node("Resize", {&y, absent, absent, &to}, {{"mode", std::string(mode)}});
      net.output(add_conv(net, resized, last));
      check_against_cpu(net, terms_of(conv.w) * terms_of(last.w));
    }
}

TEST_CASE("dnnl: images that are padded between convolutions stay channels last") {
  if (!dnnl_kernel_set()) return;
  const ConvCase conv{.x = {2, 16, 9, 7}, .w = {24, 16, 1, 1}};
  const std::vector<std::pair<std::string, Dims>> pads = {
      {"constant", {0, 0, 0, 0, 0, 8, 0, 0}},    {"constant", {1, 2, 3, 4, 0, 1, 2, 1}},
      {"constant", {0, -3, 1, -2, 0, 1, -4, 0}}, {"constant", {0, 0, 0, 0, 0, 0, 0, 0}},
      {"reflect", {0, 3, 2, 1, 1, 0, 5, 4}},     {"edge", {0, 1, 2, 0, 0, 2, 0, 3}}};
  for (const auto& [mode, amounts] : pads) {
    CAPTURE(mode);
    CAPTURE(format_dims(amounts));
    Net net(59);
    Value& y = add_conv(net, net.input(conv.x), conv);
    Value& p = net.graph().add_initializer(Tensor::from<int64_t>({8}, amounts), "");
    Value& padded = net.node("Pad", {&y, &p}, {{"mode", mode}});
    const ConvCase last{.x = {}, .w = {16, 24 + amounts[1] + amounts[5], 1, 1}};
    net.output(add_conv(net, padded, last));
    check_against_cpu(net, terms_of(conv.w) * terms_of(last.w));
  }
}

TEST_CASE("dnnl: weights cut by columns serve later shapes whole") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  for (const bool first_known : {true, false}) {
    CAPTURE(first_known);
    Net net(31);
    Value& a = net.input({3, 250});
    a.set_type(ValueType::tensor(DataType::kFloat,
                                 std::vector<Dim>{first_known ? Dim::of(3) : Dim(), Dim::of(250)}));
    net.output(net.node("MatMul", {&a, &net.constant({250, 700})}));
    REQUIRE(infer_graph(net.graph()).ok());
    const auto plan = Plan::compile(net.graph(), options_of({dnnl, &cpu_kernel_set()}, 4));
    const auto reference = Plan::compile(net.graph(), options_of({&cpu_kernel_set()}, 1));
    REQUIRE(plan.ok());
    REQUIRE(reference.ok());
    RunContext context(*plan), expected(*reference);
    for (const int64_t rows : {3, 300, 1, 40, 3}) {
      CAPTURE(rows);
      std::vector<float> values(static_cast<size_t>(rows * 250));
      for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 13) / 8 - 0.5f;
      const Tensor in = Tensor::from<float>({rows, 250}, values);
      std::vector<Tensor> x, y;
      REQUIRE(context.run(std::span(&in, 1), &x).ok());
      REQUIRE(expected.run(std::span(&in, 1), &y).ok());
      CHECK(difference(x[0], y[0], 16) < 5e-6);
    }
  }
}

TEST_CASE("dnnl: a residual is added to convolutions that are cut by output channels") {
  if (!dnnl_kernel_set()) return;
  Net net(37);
  Value& x = net.input({1, 256, 5, 5});
  Value& residual = net.input({1, 384, 5, 5});
  Value& y = add_conv(net, x, {.x = {}, .w = {384, 256, 3, 3}, .pads = {1, 1, 1, 1}});
  net.output(net.node("Relu", {&net.node("Add", {&y, &residual})}));
  check_against_cpu(net, 256 * 9);
}

}  // namespace onnxtool::testing
