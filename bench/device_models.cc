#include "bench/device_models.h"

#include <cmath>
#include <string>
#include <utility>

namespace onnxtool::bench {
namespace {

class Builder {
 public:
  Builder() : model_(std::make_unique<Model>()) {
    model_->ir_version = 10;
    model_->set_opset("", 21);
  }
  Graph& graph() { return model_->graph(); }
  std::unique_ptr<Model> take() { return std::move(model_); }

  Value& input(const char* name, DataType type, std::vector<int64_t> dims) {
    Value& v = graph().add_value(name);
    std::vector<Dim> shape = {Dim::named("N")};
    for (size_t i = 1; i < dims.size(); ++i) shape.push_back(Dim::of(dims[i]));
    v.set_type(ValueType::tensor(type, std::move(shape)));
    graph().add_input(v);
    return v;
  }
  template <class... Attributes>
  Value& op(const char* type, std::vector<Value*> inputs, Attributes... attributes) {
    Value& y = graph().add_value("", type);
    std::vector<Attribute> all;
    (all.push_back(std::move(attributes)), ...);
    graph().add_node(type, "", "", std::move(inputs), {&y}, std::move(all));
    return y;
  }
  /// Uniform, of variance 2 / fan_in, so that values keep their size through the layers.
  Value& weights(std::vector<int64_t> dims, int64_t fan_in) {
    int64_t count = 1;
    for (const int64_t d : dims) count *= d;
    const float scale = std::sqrt(6.0f / static_cast<float>(fan_in));
    std::vector<float> v(static_cast<size_t>(count));
    for (float& x : v) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      x = (static_cast<float>(state_ >> 40) / 8388608.0f - 1.0f) * scale;
    }
    return graph().add_initializer(Tensor::from<float>(std::move(dims), v), "", "w");
  }
  Value& constant(std::vector<int64_t> dims, const std::vector<float>& v) {
    return graph().add_initializer(Tensor::from<float>(std::move(dims), v), "", "c");
  }
  Value& integers(const std::vector<int64_t>& v) {
    return graph().add_initializer(Tensor::vector<int64_t>(v), "", "i");
  }

 private:
  std::unique_ptr<Model> model_;
  uint64_t state_ = 1;
};

Attribute ints(const char* name, std::vector<int64_t> v) {
  return Attribute::of(name, std::move(v));
}
Attribute integer(const char* name, int64_t v) { return Attribute::of(name, v); }

class ResNet {
 public:
  explicit ResNet(Builder& b) : b_(b) {}
  Value& conv(Value& x, int64_t in, int64_t out, int64_t kernel, int64_t stride) {
    const int64_t pad = kernel / 2;
    return b_.op("Conv",
                 {&x, &b_.weights({out, in, kernel, kernel}, in * kernel * kernel),
                  &b_.constant({out}, std::vector<float>(static_cast<size_t>(out), 0.01f))},
                 ints("kernel_shape", {kernel, kernel}), ints("strides", {stride, stride}),
                 ints("pads", {pad, pad, pad, pad}));
  }
  Value& block(Value& x, int64_t in, int64_t width, int64_t stride) {
    Value& a = b_.op("Relu", {&conv(x, in, width, 1, 1)});
    Value& b = b_.op("Relu", {&conv(a, width, width, 3, stride)});
    Value& c = conv(b, width, 4 * width, 1, 1);
    Value& skip = in == 4 * width && stride == 1 ? x : conv(x, in, 4 * width, 1, stride);
    return b_.op("Relu", {&b_.op("Add", {&c, &skip})});
  }

 private:
  Builder& b_;
};

}  // namespace

BenchModel resnet50(int64_t side, int64_t width) {
  Builder b;
  ResNet net(b);
  Value* x = &b.input("x", DataType::kFloat, {1, 3, side, side});
  x = &b.op("Relu", {&net.conv(*x, 3, width, 7, 2)});
  x = &b.op("MaxPool", {x}, ints("kernel_shape", {3, 3}), ints("strides", {2, 2}),
            ints("pads", {1, 1, 1, 1}));
  int64_t channels = width;
  const int64_t blocks[] = {3, 4, 6, 3};
  for (int64_t stage = 0; stage < 4; ++stage)
    for (int64_t i = 0; i < blocks[stage]; ++i) {
      const int64_t inner = width << stage;
      x = &net.block(*x, channels, inner, i == 0 && stage > 0 ? 2 : 1);
      channels = 4 * inner;
    }
  x = &b.op("Flatten", {&b.op("GlobalAveragePool", {x})}, integer("axis", 1));
  x = &b.op("Gemm",
            {x, &b.weights({1000, channels}, channels),
             &b.constant({1000}, std::vector<float>(1000, 0.0f))},
            integer("transB", 1));
  b.graph().add_output(*x);
  return {"ResNet-50", b.take(), {{1, 3, side, side}}, 0};
}

BenchModel bert(int64_t layers, int64_t hidden, int64_t tokens, int64_t words) {
  Builder b;
  const int64_t heads = hidden / 64;
  const auto size = static_cast<size_t>(hidden);
  const auto dense = [&](Value& x, int64_t in, int64_t out) -> Value& {
    Value& bias = b.constant({out}, std::vector<float>(static_cast<size_t>(out), 0.01f));
    return b.op("Add", {&b.op("MatMul", {&x, &b.weights({in, out}, 2 * in)}), &bias});
  };
  const auto norm = [&](Value& x) -> Value& {
    return b.op("LayerNormalization", {&x, &b.constant({hidden}, std::vector<float>(size, 1.0f)),
                                       &b.constant({hidden}, std::vector<float>(size, 0.0f))});
  };
  Value& split = b.integers({0, tokens, heads, 64});
  Value& join = b.integers({0, tokens, hidden});
  const auto in_heads = [&](Value& x, std::vector<int64_t> perm) -> Value& {
    return b.op("Transpose", {&b.op("Reshape", {&x, &split})}, ints("perm", std::move(perm)));
  };
  Value& ids = b.input("ids", DataType::kInt64, {1, tokens});
  Value& embedded = b.op("Gather", {&b.weights({words, hidden}, hidden), &ids});
  Value* x = &norm(b.op("Add", {&embedded, &b.weights({1, tokens, hidden}, hidden)}));
  for (int64_t i = 0; i < layers; ++i) {
    Value& q = in_heads(dense(*x, hidden, hidden), {0, 2, 1, 3});
    Value& k = in_heads(dense(*x, hidden, hidden), {0, 2, 3, 1});
    Value& v = in_heads(dense(*x, hidden, hidden), {0, 2, 1, 3});
    Value& scores = b.op("Mul", {&b.op("MatMul", {&q, &k}), &b.constant({}, {0.125f})});
    Value& seen = b.op("MatMul", {&b.op("Softmax", {&scores}, integer("axis", -1)), &v});
    Value& joined =
        b.op("Reshape", {&b.op("Transpose", {&seen}, ints("perm", {0, 2, 1, 3})), &join});
    x = &norm(b.op("Add", {x, &dense(joined, hidden, hidden)}));
    Value& wide = b.op("Gelu", {&dense(*x, hidden, 4 * hidden)});
    x = &norm(b.op("Add", {x, &dense(wide, 4 * hidden, hidden)}));
  }
  b.graph().add_output(*x);
  return {"BERT-base", b.take(), {{1, tokens}}, words};
}

}  // namespace onnxtool::bench
