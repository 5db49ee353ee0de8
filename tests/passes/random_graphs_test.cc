// Seeded random graphs that plant what the passes look for: each is optimized, verified by running
// before and after, and optimized again, which must change nothing. ONNXTOOL_RANDOM_GRAPHS sets how
// many, ONNXTOOL_RANDOM_SEED the first one's seed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

#include "calib/compare/verifier.h"
#include "calib/exec/folder.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/encode.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

// Text of a graph that grows node by node. Values are floats of the shape [batch, 4, 6], but for
// layers' own.
class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  std::string text() {
    std::string x = "x";
    const int steps = 2 + pick(6);
    for (int i = 0; i < steps; ++i) x = step(x);
    // A second reader now and then: what is shared must not be folded away.
    if (pick(3) == 0)
      node("z", "Neg", x);
    else
      node("z", "Neg", "x");
    node("y", "Relu", x);
    if (!present_.empty()) node("w", "Identity", present_);
    return "<ir_version: 10, opset_import: [\"\" : 17]> g (float[batch,4,6] x) => (float[a,b,c] y, "
           "float[d,e,f] z" +
           std::string(present_.empty() ? "" : ", float[g,h,i,j,k] w") + ") <" + constants_ +
           "> {" + nodes_ + "}";
  }

 private:
  int pick(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }
  std::string fresh() { return "v" + std::to_string(++names_); }

  void node(const std::string& output, const std::string& op, const std::string& inputs,
            const std::string& attributes = "") {
    nodes_ += output + " = " + op + (attributes.empty() ? "" : " <" + attributes + ">") + " (" +
              inputs + ")\n";
  }
  std::string made(const std::string& op, const std::string& inputs,
                   const std::string& attributes = "") {
    std::string name = fresh();
    node(name, op, inputs, attributes);
    return name;
  }
  std::string constant(const std::string& type, const std::string& values) {
    std::string name = fresh();
    constants_ += (constants_.empty() ? "" : ", ") + type + " " + name + " = {" + values + "}";
    return name;
  }
  std::string ints(const std::string& values) {
    const auto count = std::count(values.begin(), values.end(), ',') + 1;
    return constant("int64[" + std::to_string(count) + "]", values);
  }
  std::string floats(const std::string& dims, int count, double unit = 0.25) {
    std::string values;
    for (int i = 0; i < count; ++i)
      values += (i ? "," : "") + std::to_string((pick(17) - 8) * unit);
    return constant("float[" + dims + "]", values);
  }
  // Of layers: small, since a chain of them that enlarges what it is given makes a rounding large
  // before a later Tanh or Softmax, and then no bound tells a wrong rewrite from a right one.
  std::string weights(const std::string& dims, int count) { return floats(dims, count, 0.0625); }

  std::string step(const std::string& x) {
    switch (pick(47)) {
      case 0: return made("Identity", x);
      case 1: return made("Dropout", x);
      case 2: return made("Cast", made("Cast", x, "to = 11"), "to = 1");
      case 3: return made("Cast", x, "to = 1");
      case 4: return transposes(x);
      case 5:
        return made("Reshape", made("Reshape", x + ", " + ints("0,24")) + ", " + ints("-1,4,6"));
      case 6: return made("Reshape", made("Flatten", x) + ", " + ints("0,4,-1"));
      case 7: return made("Squeeze", made("Unsqueeze", x + ", " + ints("1")) + ", " + ints("1"));
      case 8: return made(pick(2) ? "Mul" : "Div", x + ", " + constant("float", "1"));
      case 9: return made("Sub", x + ", " + constant("float", pick(2) ? "0" : "-0.0"));
      case 10: return made("Add", x + ", " + constant("float", pick(2) ? "0" : "-0.0"));
      case 11: return twice(x);
      case 12: return from_shape(x);
      case 13:
        return made("Slice", x + ", " + ints("0") + ", " + ints("9223372036854775807") + ", " +
                                 ints(pick(2) ? "1" : "-1"));
      case 14: return slices(x);
      case 15: return made("Concat", x, "axis = 1");
      case 16: return concats(x);
      case 17: return convolution(x);
      case 18: return gemm(x);
      case 19: return choice(x);
      case 20: return recurrent(x);
      case 21:
        return made(
            "Mul",
            x + ", " +
                made("Sigmoid", pick(2) ? x : made("Mul", x + ", " + constant("float", "1.5"))));
      case 22: return normalization(pick(2) ? x : made("Add", x + ", " + made("Neg", x)));
      case 23:
        return made(
            "Add",
            made("Abs", x) + ", " +
                normalization(
                    made("Add", x + ", " + made("Add", made("Tanh", x) + ", " + floats("6", 6)))));
      case 24: return gelu(pick(2) ? x : made("Add", x + ", " + floats("6", 6)));
      case 25: return fast_gelu(pick(2) ? x : made("Add", x + ", " + floats("6", 6)));
      case 26: return scores(x);
      case 27: return pick(3) ? attention(x) : vision_attention(x);
      case 29: return between_transposes(x);
      case 30:
        return made("Slice",
                    made("Concat", x + ", " + made("ConstantOfShape", ints("3,4,6")), "axis = 0") +
                        ", " + ints("0") + ", " + ints("-3") + ", " + ints("0"));
      case 28: return made(pick(2) ? "Relu" : "Tanh", pick(2) ? gemm(x) : convolution(x));
      case 31:
        return made(pick(2) ? "Mul" : "Div",
                    made(pick(2) ? "Mul" : "Div", x + ", " + constant("float", "0.5")) + ", " +
                        constant("float", pick(2) ? "3" : "0.25"));
      case 32: return flat(x);
      case 33: return residual(x);
      case 34: return batched_transpose(x);
      // Bounded: what the mask fills in stands for minus infinity, and must be known to be below
      // every score.
      case 35: return cached_attention(pick(2) ? made("Tanh", x) : normalization(x));
      case 36: return matrices(x);
      case 37: return bounded(x);
      case 38: return reduced(x);
      case 39: return repeated(x);
      case 40: return made("Mul", x + ", " + made("Tanh", made("Softplus", x)));
      case 41: return hard_swish(x);
      case 42: return embedding(x);
      case 43: return deepened(x);
      case 44: return numbered(x);
      case 45: return scaled(x);
      default: return made("Mul", x + ", " + made("Sqrt", constant("float", "2.25")));
    }
  }

  std::string transposes(const std::string& x) {
    const std::string a = "perm = [0, 2, 1]", b = "perm = [2, 1, 0]";  // each undoes itself
    const std::string t = made("Transpose", made("Transpose", x, a), b);
    return made("Transpose", made("Transpose", pick(2) ? made("Sigmoid", t) : t, b), a);
  }

  std::string residual(const std::string& x) {
    const std::string y = made("Conv", x + ", " + weights("4,4,1", 16)), s = made("Neg", x);
    const std::string sum = made("Add", pick(2) ? y + ", " + s : s + ", " + y);
    return pick(2) ? made("Relu", sum) : sum;
  }

  std::string twice(const std::string& x) {
    const std::string a = made("Sigmoid", x), b = made("Sigmoid", x);
    return made("Sub", a + ", " + made("Mul", b + ", " + floats("6", 6)));
  }
  std::string from_shape(const std::string& x) {
    const std::string s = made("Shape", x), i = constant("int64", "0"),
                      n = made("Gather", s + ", " + i, "axis = 0");
    const std::string u = made("Unsqueeze", n + ", " + ints("0"));
    if (pick(2))
      return made("Reshape", x + ", " + made("Concat", u + ", " + ints("4,6"), "axis = 0"));
    const std::string flat =
        made("Reshape", x + ", " + made("Concat", u + ", " + ints("24"), "axis = 0"));
    return made(
        "Reshape",
        flat + ", " +
            made("Concat", u + ", " + made("Slice", s + ", " + ints("1") + ", " + ints("3")),
                 "axis = 0"));
  }
  std::string flat(const std::string& x) {
    const std::string there = made("Reshape", x + ", " + ints("0,24")),
                      twice = made("Mul", there + ", " + constant("float", "2"));
    const std::string sum = made("Add", made("Tanh", there) + ", " + (pick(2) ? twice : there));
    return made("Reshape", (pick(3) ? sum : there) + ", " + ints("0,4,6"));
  }
  std::string slices(const std::string& x) {
    const std::string a = made(
        "Slice", x + ", " + ints("0") + ", " + ints("9") + ", " + ints("1") + ", " + ints("2"));
    const std::string b = made(
        "Slice", a + ", " + ints("1") + ", " + ints("6") + ", " + ints("2") + ", " + ints("2"));
    return made("Tile", made("Reshape", b + ", " + ints("0,2,3")) + ", " + ints("1,2,2"));
  }
  std::string concats(const std::string& x) {
    const std::string half =
        made("Slice", x + ", " + ints("0") + ", " + ints("2") + ", " + ints("1"));
    const std::string one =
        made("Slice", x + ", " + ints("3") + ", " + ints("4") + ", " + ints("1"));
    return made("Concat", made("Concat", half + ", " + one, "axis = 1") + ", " + one,
                pick(2) ? "axis = 1" : "axis = -2");
  }
  std::string convolution(const std::string& x) {
    std::string t =
        made("Conv", x + ", " + weights("4,4,1", 16) + (pick(2) ? ", " + floats("4", 4) : ""));
    if (pick(2)) t = made(pick(2) ? "Add" : "Sub", t + ", " + floats("1,4,1", 4));
    if (pick(2))
      t = made("BatchNormalization", t + ", " + floats("4", 4) + ", " + floats("4", 4) + ", " +
                                         floats("4", 4) + ", " +
                                         constant("float[4]", "1,0.5,2,0.25"));
    if (pick(2)) t = made("Mul", t + ", " + floats("4,1", 4));
    if (pick(3)) return t;
    const std::string pads = ints("0,0,1,0,0,1"), padded = made("Pad", t + ", " + pads);
    return made("Conv", padded + ", " + weights("4,4,3", 48));
  }
  // Two sums of convolutions along the batch, whose extents are declared with a name each.
  std::string numbered(const std::string& x) {
    const std::string t = made("Transpose", x, "perm = [2, 1, 0]");
    const auto convolved = [&] {
      const std::string y = made("Conv", t + ", " + weights("4,4,1", 16));
      constants_ += ", float[6,4,unk__" + y + "] " + y;
      return y;
    };
    const std::string a = convolved(), b = convolved();
    return made("Transpose", made(pick(2) ? "Add" : "Sum", a + ", " + b), "perm = [2, 1, 0]");
  }
  // A layer whose columns are scaled afterwards.
  std::string scaled(const std::string& x) {
    std::string t = made("MatMul", x + ", " + weights("6,6", 36));
    if (pick(2)) t = made("Add", t + ", " + floats(pick(2) ? "6" : "1,6", 6));
    if (pick(2)) return made("Mul", t + ", " + floats("1,1,6", 6));
    return made("Div", t + ", " + constant("float[6]", "0.5,2,-1,4,0.25,1"));
  }
  std::string gemm(const std::string& x) {
    const std::string flat = made("Reshape", x + ", " + ints("-1,6")), w = weights("6,6", 36),
                      b = floats(pick(2) ? "6" : "1,6", 6);
    std::string t = pick(2) ? made("Add", made("MatMul", flat + ", " + w) + ", " + b)
                            : made("Gemm", flat + ", " + w + ", " + b);
    if (pick(3) == 0) t = made("LeakyRelu", t);
    const std::string s = made("Shape", x),
                      lead = made("Gather", s + ", " + ints("0,1"), "axis = 0");
    return made("Reshape", t + ", " + made("Concat", lead + ", " + ints("6"), "axis = 0"));
  }
  std::string choice(const std::string& x) {
    const std::string condition = made("Not", constant("bool", pick(2) ? "1" : "0")), a = fresh(),
                      b = fresh();
    return made("If", condition,
                "then_branch = t () => (float[n,4,6] " + a + ") { " + a + " = Neg (" + x +
                    ") }, else_branch = e () => (float[n,4,6] " + b + ") { " + b + " = Abs (" + x +
                    ") }");
  }
  // A Gemm that reads and makes what is transposed, and a Sum behind it.
  std::string matrices(const std::string& x) {
    const std::string flat = made("Reshape", x + ", " + ints("-1,6"));
    const std::string w = made("Transpose", floats("6,6", 36));
    const std::string t = made("Transpose", made("Gemm", w + ", " + made("Transpose", flat)));
    const std::string y = made("Gemm", made("Transpose", made("Transpose", t)) + ", " + w);
    return made("Reshape", made("Sum", y + ", " + floats("6", 6)) + ", " + ints("-1,4,6"));
  }
  std::string bounded(const std::string& x) {
    const std::string low = made(pick(2) ? "Relu" : "Abs", x);
    const std::string y = made(pick(2) ? "Min" : "Max", low + ", " + constant("float", "1.5"));
    const std::string once = made(pick(2) ? "Ceil" : "Neg", y);
    const std::string twice = made(pick(2) ? "Ceil" : "Neg", once);
    const std::string less = made("Less", twice + ", " + floats("6", 6));
    return made("Where", made("Not", less) + ", " + x + ", " + floats("4,1", 4));
  }
  std::string reduced(const std::string& x) {
    const std::string r = made("ReduceMax", x, "axes = [1], keepdims = 0");
    const std::string kept = made("Unsqueeze", r + ", " + ints("1"));  // [batch, 1, 6]
    const std::string all = made("Shape", x), none = made("Equal", all + ", " + ints("-1,-1,-1"));
    const std::string target =
        pick(2) ? ints("1,4,1") : made("Where", none + ", " + ints("1,1,1") + ", " + all);
    return made("Sub", x + ", " + made("Expand", kept + ", " + target));
  }
  std::string repeated(const std::string& x) {
    const std::string on = fresh(), v = fresh(), w = fresh(), still = fresh();
    return made("Loop", constant("int64", "1") + ", , " + x,
                "body = b (int64 turn" + on + ", bool " + on + ", float[n,4,6] " + v +
                    ") => (bool " + still + ", float[n,4,6] " + w + ") { " + still +
                    " = Identity (" + on + ")  " + w + " = Add (" + v + ", " + x + ") }");
  }
  std::string hard_swish(const std::string& x) {
    if (pick(2)) return made("Mul", made("HardSigmoid", x, "alpha = 0.16666667") + ", " + x);
    const std::string six = scalar("6"), ramp = made("Add", x + ", " + scalar("3"));
    const std::string gate = made("Clip", ramp + ", " + scalar("0") + ", " + six);
    return made("Div", made("Mul", x + ", " + gate) + ", " + six);
  }
  // Rows of tables chosen by the value's own signs.
  std::string embedding(const std::string& x) {
    const std::string sign = made("ReduceMax", made("Sign", x), "axes = [2], keepdims = 0");
    const std::string ids = made("Cast", made("Relu", sign), "to = 7");  // [batch, 4]
    const std::string places =
        pick(2) ? constant("int64[4]", "0,1,2,3") : constant("int64[1,4]", "3,1,2,0");
    const std::string sum = made("Add", made("Gather", floats("2,6", 12) + ", " + ids) + ", " +
                                            made("Gather", floats("4,6", 24) + ", " + places));
    const std::string y = fresh(), unread = fresh();
    nodes_ += y + ", " + unread + " = LayerNormalization (" + sum + ", " + floats("6", 6) + ", " +
              floats("6", 6) + ")\n";
    return made("Add", x + ", " + y);
  }
  std::string deepened(const std::string& x) {
    const std::string image =
        made("Softmax", made("Reshape", x + ", " + ints("0,4,2,3")), "axis = 1");
    const std::string blocks = made("Reshape", image + ", " + ints("0,2,2,1,2,3"));
    const std::string t = made("Transpose", blocks, "perm = [0, 3, 4, 1, 5, 2]");
    const std::string wide =
        made("Softmax", made("Reshape", t + ", " + ints("0,1,4,6")), "axis = 2");
    return made("Reshape", wide + ", " + ints("0,4,6"));
  }
  std::string recurrent(const std::string& x) {
    // [batch, 4, 6] read as 4 steps: RNN wants [steps, batch, size].
    const std::string t = made("Transpose", x, "perm = [1, 0, 2]"),
                      n = made("Slice", made("Shape", x) + ", " + ints("0") + ", " + ints("1"));
    const std::string h = made("ConstantOfShape",
                               made("Concat", ints("1") + ", " + n + ", " + ints("6"), "axis = 0"));
    const std::string y =
        made("RNN", t + ", " + weights("1,6,6", 36) + ", " + weights("1,6,6", 36) + ", , , " + h,
             "hidden_size = 6");
    return made("Transpose", made("Squeeze", y + ", " + ints("1")), "perm = [1, 0, 2]");
  }

  std::string scalar(const std::string& value) { return constant("float", value); }
  std::string normalization(const std::string& x) {
    const std::string last = "axes = [-1]";
    const bool centres = pick(2) == 0;
    const std::string d = centres ? made("Sub", x + ", " + made("ReduceMean", x, last)) : x;
    const std::string v =
        made("ReduceMean",
             pick(2) ? made("Pow", d + ", " + scalar("2")) : made("Mul", d + ", " + d), last);
    const std::string root = made("Sqrt", made("Add", v + ", " + scalar("0.0625")));
    const std::string z =
        pick(2) ? made("Div", d + ", " + root) : made("Mul", d + ", " + made("Reciprocal", root));
    const std::string y = made("Mul", z + ", " + floats("6", 6));
    return centres && pick(2) ? made("Add", y + ", " + floats("6", 6)) : y;
  }
  std::string gelu(const std::string& x) {
    const std::string e =
        made("Add", made("Erf", made("Div", x + ", " + scalar("1.41421356"))) + ", " + scalar("1"));
    return made("Mul", made("Mul", x + ", " + scalar("0.5")) + ", " + e);
  }
  std::string fast_gelu(const std::string& x) {
    const std::string sum = made(
        "Add",
        x + ", " + made("Mul", made("Pow", x + ", " + scalar("3")) + ", " + scalar("0.044715")));
    const std::string e = made(
        "Add", made("Tanh", made("Mul", sum + ", " + scalar("0.79788456"))) + ", " + scalar("1"));
    return made("Mul", made("Mul", x + ", " + e) + ", " + scalar("0.5"));
  }
  std::string between_transposes(const std::string& x) {
    const std::string there = "perm = [0, 2, 1]";
    std::string t = made("Transpose", x, there);  // [batch, 6, 4]
    for (int i = pick(4); i >= 0; --i) switch (pick(11)) {
        case 0: t = made("Relu", t); break;
        case 1: t = made("Add", t + ", " + floats("4", 4)); break;
        case 2: t = made("Mul", t + ", " + made("Transpose", made("Tanh", x), there)); break;
        case 3: t = made("Softmax", t, "axis = 1"); break;
        case 4: t = made("Sub", t + ", " + made("ReduceMean", t, "axes = [1]")); break;
        case 5:
          t = made("Concat",
                   made("Slice", t + ", " + ints("0") + ", " + ints("3") + ", " + ints("1")) +
                       ", " +
                       made("Slice", t + ", " + ints("3") + ", " + ints("6") + ", " + ints("-2")),
                   "axis = 1");
          break;
        case 6: t = made("Gather", t + ", " + ints("5,3,1,0,2,4"), "axis = 1"); break;
        case 7: t = made("CumSum", t + ", " + constant("int64", pick(2) ? "1" : "-1")); break;
        case 8: {
          const std::string best = made("ArgMax", t, "axis = 1");
          const std::string row = made("GatherElements", t + ", " + best, "axis = 1");
          t = made("Sub", t + ", " + made("Expand", row + ", " + ints("1,6,1")));
          break;
        }
        case 9: {
          const std::string most = made("ReduceMax", t, "axes = [1], keepdims = 0");
          t = made("Add", t + ", " + made("Unsqueeze", most + ", " + ints("-2")));
          break;
        }
        default: t = made("Max", t + ", " + floats("6,1", 6)); break;
      }
    return made("Transpose", t, there);
  }
  std::string batched_transpose(const std::string& x) {
    const std::string wide = made("Reshape", x + ", " + ints("0,0,2,3"));
    const std::string extents = made("Shape", wide);
    const std::string first = made("Slice", extents + ", " + ints("0") + ", " + ints("2"));
    const std::string target = made("Concat", first + ", " + ints("3,2"), "axis = 0");
    const std::string flat = made("Reshape", wide + ", " + ints("-1,2,3"));
    const std::string t = made("Transpose", flat, "perm = [0, 2, 1]");
    return made("Reshape", made("Reshape", t + ", " + target) + ", " + ints("0,0,6"));
  }
  std::string scores(const std::string& x) {
    const std::string t = made("Transpose", pick(2) ? x : made("Sigmoid", x), "perm = [0, 2, 1]");
    const std::string s = made("MatMul", made("Mul", x + ", " + scalar("0.5")) + ", " + t);
    return made("MatMul", made("Softmax", made("Div", s + ", " + scalar("4"))) + ", " + x);
  }
  // The cache is the value itself, twice, and what comes after it is another output.
  std::string cached_attention(const std::string& x) {
    const char* first = "perm = [0, 2, 1, 3]";
    const std::string rows =
        made("Add", made("MatMul", x + ", " + weights("6,18", 108)) + ", " + floats("18", 18));
    const std::string q = fresh(), k = fresh(), v = fresh();
    nodes_ +=
        q + ", " + k + ", " + v + " = Split <axis = 2> (" + rows + ", " + ints("6,6,6") + ")\n";
    const auto heads = [&](const std::string& part) {
      return made("Transpose", made("Reshape", part + ", " + ints("0,0,2,3")), first);
    };
    const std::string table = made("Unsqueeze", heads(x) + ", " + ints("0"));
    const std::string past = made("Concat", table + ", " + table, "axis = 0");
    const auto cached = [&](const std::string& now, const char* part) {
      const std::string before = made("Gather", past + ", " + constant("int64", part));
      return made("Concat", before + ", " + heads(now), "axis = 2");
    };
    const std::string keys = cached(k, "0"), values = cached(v, "1");
    present_ = made("Concat",
                    made("Unsqueeze", keys + ", " + ints("0")) + ", " +
                        made("Unsqueeze", values + ", " + ints("0")),
                    "axis = 0");
    const std::string s = made(
        "Div", made("MatMul", heads(q) + ", " + made("Transpose", keys, "perm = [0, 1, 3, 2]")) +
                   ", " + constant("float", "1.75"));
    const std::string shape = made("Shape", s),
                      end = made("Slice", shape + ", " + ints("3") + ", " + ints("4"));
    const std::string begin =
        made("Sub", end + ", " + made("Slice", shape + ", " + ints("2") + ", " + ints("3")));
    std::string triangle;
    for (int i = 0; i < 100; ++i) triangle += (i ? "," : "") + std::to_string(i / 10 >= i % 10);
    const std::string part = made("Slice", constant("bool[1,1,10,10]", triangle) + ", " + begin +
                                               ", " + end + ", " + ints("2"));
    const std::string mask = made("Slice", part + ", " + ints("0") + ", " + end + ", " + ints("3"));
    const std::string y = made(
        "MatMul", made("Softmax", made("Where", mask + ", " + s + ", " + constant("float", "-1e4")),
                       "axis = 3") +
                      ", " + values);
    return made("Reshape", made("Transpose", y, first) + ", " + ints("0,0,6"));
  }
  std::string attention(const std::string& x) {
    const auto heads = [&](const std::string& of, const char* perm) {
      const std::string p = made("MatMul", of + ", " + weights("6,6", 36));
      return made("Transpose",
                  made("Reshape", (pick(3) ? made("Add", p + ", " + floats("6", 6)) : p) + ", " +
                                      ints("0,0,2,3")),
                  perm);
    };
    const char* first = "perm = [0, 2, 1, 3]";
    const std::string other = pick(2) ? x : made("Sigmoid", x);
    const std::string q = heads(x, first), k = heads(other, "perm = [0, 2, 3, 1]"),
                      v = heads(other, first);
    std::string s = made("Div", made("MatMul", q + ", " + k) + ", " + scalar("1.75"));
    if (pick(2)) s = made("Add", s + ", " + (pick(2) ? floats("4,4", 16) : floats("1,2,4,4", 32)));
    const std::string y = made("MatMul", made("Softmax", s, "axis = 3") + ", " + v);
    return made("Reshape", made("Transpose", y, first) + ", " + ints("0,0,6"));
  }

  // One product, whose queries, keys and values are rows along an axis of their own.
  std::string vision_attention(const std::string& x) {
    std::string rows = made("MatMul", x + ", " + weights("6,18", 108));
    if (pick(2)) rows = made("Add", rows + ", " + floats("18", 18));
    const std::string parts = made("Transpose", made("Reshape", rows + ", " + ints("0,0,3,2,3")),
                                   "perm = [2, 0, 3, 1, 4]");
    const auto part = [&](const char* index) {
      return made("Gather", parts + ", " + constant("int64", index));
    };
    const std::string q = made("Mul", part("0") + ", " + scalar("0.5")), k = part("1"),
                      v = part("2");
    std::string s = made("MatMul", q + ", " + made("Transpose", k, "perm = [0, 1, 3, 2]"));
    if (pick(2)) s = made("Add", s + ", " + floats("1,2,4,4", 32));
    const std::string y = made("MatMul", made("Softmax", s, "axis = 3") + ", " + v);
    return made("Reshape", made("Transpose", y, "perm = [0, 2, 1, 3]") + ", " + ints("0,0,6"));
  }

  std::mt19937 random_;
  std::string nodes_, constants_, present_;
  int names_ = 0;
};

template <class StatusOrResult>
std::string why(const StatusOrResult& r) {
  return r.ok() ? "ok" : r.error().message;
}

// In a run of all tests; a sanitizer makes each take many times as long.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kGraphs = 300;
#else
constexpr int kGraphs = 3000;
#endif

TEST_CASE("random graphs stay what they compute, and every pass has work in them") {
  const char* wanted = std::getenv("ONNXTOOL_RANDOM_GRAPHS");
  const int count = wanted ? std::atoi(wanted) : kGraphs;
  const char* begin = std::getenv("ONNXTOOL_RANDOM_SEED");
  const int first = begin ? std::atoi(begin) : 0;
  std::map<std::string_view, int> fired;
  const auto folder = make_folder();
  for (int seed = first; seed < first + count; ++seed) {
    const std::string text = Generator(static_cast<uint32_t>(seed)).text();
    INFO("seed ", seed, "\n", text);
    auto parsed = parse_text(text);
    REQUIRE_MESSAGE(parsed.ok(), why(parsed));
    std::unique_ptr<Model> model = *std::move(parsed);
    REQUIRE(why(infer_graph(model->graph())) == "ok");
    const auto verifier = make_verifier(*model, quick_verification(1));
    PassContext context;
    context.folder = folder.get();
    context.ort_cpu = seed % 2 == 1;
    context.asked_for = seed % 4 == 1;
    if (seed % 8 == 0) context.allowed_opset = 24;
    const auto passes = optimization_pipeline(context.ort_cpu ? Level::kAll : Level::kBasic);
    const VerifiedRun run = run_verified(model, passes, context, verifier.get());
    for (const PassReport& p : run.passes) fired[p.pass] += p.fired;
    CHECK_MESSAGE(!run.breach, run.breach->pass, " at ", run.breach->node, ": ",
                  run.breach->difference);
    CHECK(run.dropped.empty());
    if (run.verification)
      CHECK_MESSAGE(run.verification->compared_anything(), run.verification->obstacle);
    const std::string bytes = encode_model(*model).flatten();
    for (const PassReport& p : run_verified(model, passes, context, nullptr).passes)
      CHECK_MESSAGE(p.fired == 0, p.pass);
    CHECK(encode_model(*model).flatten() == bytes);
  }
  if (count < 300) return;  // too few for every pass
  // These want what the generator's text cannot say: Constant nodes come in, dead code goes as it
  // appears. A QuantizeLinear behind what other passes round anew may take another step, and so may
  // integer operators.
  for (const PassInfo* p : optimization_pipeline(Level::kAll))
    if (p != &kMakeCodesUnsigned && p != &kFuseQdq && p != &kConvertConstantToInitializer &&
        p != &kEliminateDeadCode && p != &kFoldShape)
      CHECK_MESSAGE(fired[p->name] > 0, p->name);
}

}  // namespace
}  // namespace onnxtool
