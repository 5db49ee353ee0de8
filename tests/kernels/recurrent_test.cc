// RNN, GRU and LSTM against their equations, written out for one batch item at a time.
#include <cmath>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

struct Weights {
  std::vector<double> w, r, b, p;  // of one direction
  int64_t input, hidden, gates;

  /// Gate g of unit j before its activation, without the bias of R.
  double from_x(const double* x, int64_t g, int64_t j) const {
    const int64_t line = g * hidden + j;
    double sum = b[static_cast<size_t>(line)];
    for (int64_t i = 0; i < input; ++i) sum += w[static_cast<size_t>(line * input + i)] * x[i];
    return sum;
  }
  double from_h(const std::vector<double>& h, int64_t g, int64_t j) const {
    const int64_t line = g * hidden + j;
    double sum = b[static_cast<size_t>(gates * hidden + line)];
    for (int64_t i = 0; i < hidden; ++i)
      sum += r[static_cast<size_t>(line * hidden + i)] * h[static_cast<size_t>(i)];
    return sum;
  }
  double gate(const double* x, const std::vector<double>& h, int64_t g, int64_t j) const {
    return from_x(x, g, j) + from_h(h, g, j);
  }
};
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void step(const std::string& op, bool reset_last, const Weights& w, const double* x,
          std::vector<double>& h, std::vector<double>& c) {
  const std::vector<double> old = h;
  std::vector<double> reset = old;
  for (int64_t j = 0; op == "GRU" && j < w.hidden; ++j)
    reset[static_cast<size_t>(j)] *= sigmoid(w.gate(x, old, 1, j));
  for (int64_t j = 0; j < w.hidden; ++j) {
    const auto i = static_cast<size_t>(j);
    if (op == "RNN") {
      h[i] = std::tanh(w.gate(x, old, 0, j));
    } else if (op == "GRU") {
      const double z = sigmoid(w.gate(x, old, 0, j)), r = sigmoid(w.gate(x, old, 1, j));
      const double candidate = std::tanh(
          w.from_x(x, 2, j) + (reset_last ? r * w.from_h(old, 2, j) : w.from_h(reset, 2, j)));
      h[i] = (1 - z) * candidate + z * old[i];
    } else {
      const double before = c[i];
      const double in = sigmoid(w.gate(x, old, 0, j) + w.p[i] * before);
      const double forget =
          sigmoid(w.gate(x, old, 2, j) + w.p[static_cast<size_t>(2 * w.hidden) + i] * before);
      c[i] = forget * before + in * std::tanh(w.gate(x, old, 3, j));
      h[i] = sigmoid(w.gate(x, old, 1, j) + w.p[static_cast<size_t>(w.hidden) + i] * c[i]) *
             std::tanh(c[i]);
    }
  }
}

std::vector<double> part(const Tensor& t, int64_t index, int64_t of) {
  const std::vector<double> all = doubles<float>(t);
  const int64_t n = t.count() / of;
  return {all.begin() + index * n, all.begin() + (index + 1) * n};
}

}  // namespace

TEST_CASE("recurrent operators follow their equations") {
  uint32_t seed = 1;
  for (const std::string op : {"RNN", "GRU", "LSTM"})
    for (const std::string direction : {"forward", "reverse", "bidirectional"})
      for (const bool reset_last : {false, true}) {
        if (reset_last && op != "GRU") continue;
        INFO(op << " " << direction << " linear_before_reset " << reset_last);
        const int64_t seq = 4, batch = 5, input = 3, hidden = 18,
                      gates = op == "RNN"   ? 1
                              : op == "GRU" ? 3
                                            : 4;
        const int64_t directions = direction == "bidirectional" ? 2 : 1;
        Values values(seed++);
        const std::vector<int32_t> lengths{4, 1, 3, 0, 4};
        const Tensor x = values.normal({seq, batch, input}),
                     w = values.normal({directions, gates * hidden, input});
        const Tensor r = values.normal({directions, gates * hidden, hidden}),
                     b = values.normal({directions, 2 * gates * hidden});
        const Tensor h0 = values.normal({directions, batch, hidden}),
                     c0 = values.normal({directions, batch, hidden});
        const Tensor p = values.normal({directions, 3 * hidden});
        OneNode node{.op = op,
                     .inputs = {x, w, r, b, Tensor::vector<int32_t>(lengths), h0},
                     .attributes = {{"hidden_size", hidden}, {"direction", direction}},
                     .outputs = 2};
        if (op == "LSTM") {
          node.inputs.push_back(c0);
          node.inputs.push_back(p);
          node.outputs = 3;
        }
        if (reset_last) node.attributes.push_back({"linear_before_reset", int64_t{1}});
        const std::vector<Tensor> y = run_node(node);
        REQUIRE(y[0].dims() == Dims{seq, directions, batch, hidden});
        const std::vector<double> xs = doubles<float>(x);
        std::vector<double> expected(static_cast<size_t>(y[0].count())), last_h, last_c;
        for (int64_t d = 0; d < directions; ++d) {
          const Weights weights{part(w, d, directions),
                                part(r, d, directions),
                                part(b, d, directions),
                                part(p, d, directions),
                                input,
                                hidden,
                                gates};
          for (int64_t n = 0; n < batch; ++n) {
            std::vector<double> h = part(h0, d * batch + n, directions * batch),
                                c = part(c0, d * batch + n, directions * batch);
            const int64_t length = lengths[static_cast<size_t>(n)];
            for (int64_t s = 0; s < length; ++s) {
              const int64_t t = direction == "reverse" || d == 1 ? length - 1 - s : s;
              step(op, reset_last, weights, &xs[static_cast<size_t>((t * batch + n) * input)], h,
                   c);
              std::copy(h.begin(), h.end(),
                        expected.begin() + ((t * directions + d) * batch + n) * hidden);
            }
            last_h.insert(last_h.end(), h.begin(), h.end());
            last_c.insert(last_c.end(), c.begin(), c.end());
          }
        }
        // Values are of size 1; four steps amplify the rounding of some twenty terms.
        const auto close = [](const Tensor& actual, const std::vector<double>& wanted) {
          const std::vector<double> found = doubles<float>(actual);
          REQUIRE(found.size() == wanted.size());
          double worst = 0;
          for (size_t i = 0; i < found.size(); ++i)
            worst = std::max(worst, std::abs(found[i] - wanted[i]));
          CHECK(worst < 1e-4);
        };
        close(y[0], expected);
        close(y[1], last_h);
        if (op == "LSTM") close(y[2], last_c);
      }
}

TEST_CASE("clip comes before the activation") {
  // One unit, x = 1, W = 4, no state: f(clip(4)).
  const auto run = [](std::vector<Given> attributes) {
    const Tensor x = Tensor::from<float>({1, 1, 1}, std::vector<float>{1}),
                 w = Tensor::from<float>({1, 1, 1}, std::vector<float>{4});
    attributes.push_back({"hidden_size", int64_t{1}});
    return doubles<float>(
        run_node({.op = "RNN", .inputs = {x, w, w}, .attributes = attributes, .outputs = 2})[1])[0];
  };
  CHECK(run({}) == doctest::Approx(std::tanh(4)));
  CHECK(run({{"clip", 0.5f}}) == doctest::Approx(std::tanh(0.5)));
}

TEST_CASE("what does not fit a recurrent operator is said") {
  Values values(1);
  const auto said = [&](Dims x, Dims w, Dims r, std::vector<Given> attributes) {
    return error_of({.op = "RNN",
                     .inputs = {values.normal(std::move(x)), values.normal(std::move(w)),
                                values.normal(std::move(r))},
                     .attributes = std::move(attributes),
                     .outputs = 2});
  };
  CHECK(mentions(said({2, 1, 3}, {1, 4, 2}, {1, 4, 4}, {{"hidden_size", int64_t{4}}}),
                 "W has shape [1, 4, 2], expected [1, 4, 3]"));
  CHECK(mentions(said({2, 1, 3}, {1, 4, 3}, {1, 4, 4}, {{"hidden_size", int64_t{5}}}),
                 "hidden_size is 5"));
  CHECK(mentions(said({2, 1, 3}, {1, 4, 3}, {1, 4, 4}, {{"direction", std::string("up")}}),
                 "direction is 'up'"));
  CHECK(mentions(said({2, 3}, {1, 4, 3}, {1, 4, 4}, {}), "expected rank 3"));
}

}  // namespace onnxtool::testing
