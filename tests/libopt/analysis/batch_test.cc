// Which models are known to compute each sample of a batch alone.
#include "libopt/analysis/batch.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

// `signature` with what <...> declares of fixed extents and no value as inputs.
std::string with_inputs(std::string signature) {
  const size_t open = signature.find(" <");
  if (open == std::string::npos) return signature;
  const std::string declared = signature.substr(open + 2, signature.rfind('>') - open - 2);
  std::string inputs, valued, one;
  int depth = 0;
  for (const char c : declared + ",") {
    depth += (c == '[' || c == '{') - (c == ']' || c == '}');
    if (c != ',' || depth > 0) {
      one += c;
      continue;
    }
    const bool stays = one.find_first_of("=MN") != std::string::npos;
    std::string& to = stays ? valued : inputs;
    to += (stays && valued.empty() ? "" : ", ") + one;
    one.clear();
  }
  signature.resize(open);
  signature.insert(signature.find(") =>"), inputs);
  return valued.empty() ? signature : signature + " <" + valued + ">";
}

// "": it does; else why that is not known.
std::string why_mixed(const std::string& signature, const std::string& nodes,
                      const std::string& watched) {
  auto model = parse_text(R"(<ir_version: 10, opset_import: ["" : 17, "com.microsoft" : 1]> g )" +
                          with_inputs(signature) + " { " + nodes + " }");
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  // Weights, whose values do not matter: what has fixed extents, but for x and z.
  Graph& graph = (*model)->graph();
  for (Value* v : graph.inputs()) {
    const auto dims = v->type().static_dims();
    if (!dims || v->name() == "x" || v->name() == "z") continue;
    int64_t size = bits_of(v->type().dtype) / 8;
    for (const int64_t d : *dims) size *= d;
    graph.set_initializer(*v,
                          Tensor::from_bytes(v->type().dtype, *dims,
                                             std::vector<std::byte>(static_cast<size_t>(size))));
  }
  REQUIRE(infer_graph((*model)->graph()).ok());
  const Value* value = (*model)->graph().find(watched);
  REQUIRE(value);
  std::string why;
  const Value* const values[] = {value};
  const bool alone = computes_samples_alone((*model)->graph(), values, &why);
  CHECK(alone == why.empty());
  return why;
}

TEST_CASE("batch: operators that keep samples apart") {
  const char* const image = "(float[N,3,8,8] x) => (y)";
  const char* const tokens = "(float[N,S,12] x) => (y)";
  const struct {
    const char* what;
    std::string signature, nodes;
  } cases[] = {
      {"convolutions and pools", "(float[N,3,8,8] x) => (y) <float[4,3,3,3] w, float[4] b>",
       "c = Conv (x, w, b)  r = Relu (c)  p = MaxPool <kernel_shape = [2,2]> (r)  "
       "g = GlobalAveragePool (p)  y = Flatten (g)"},
      {"parameters that broadcast", "(float[N,3,8,8] x) => (y) <float[3,1,1] s, float[1,3,8,8] b>",
       "m = Mul (x, s)  y = Add (b, m)"},
      {"products with weights", "(float[N,S,12] x) => (y) <float[12,5] w, float[5] b>",
       "m = MatMul (x, w)  y = Add (m, b)"},
      {"products of samples", tokens,
       "t = Transpose <perm = [0,2,1]> (x)  m = MatMul (x, t)  y = Softmax <axis = -1> (m)"},
      {"heads", "(float[N,S,12] x) => (y) <int64[4] s = {0, 0, 4, 3}>",
       "r = Reshape (x, s)  y = Transpose <perm = [0,2,1,3]> (r)"},
      {"heads whose number of samples is computed",
       "(float[N,S,12] x) => (y) <int64 zero = {0}, int64[1] a = {0}, int64[3] rest = {-1, 4, 3}>",
       "s = Shape (x)  n = Gather (s, zero)  u = Unsqueeze (n, a)  d = Concat <axis = 0> (u, rest)"
       "  y = Reshape (x, d)"},
      {"positions of a length that is computed",
       "(int64[N,S] x) => (y) <int64 one = {1}, int64[1] a = {0}, int64[1] z = {0}, int64[1] i = "
       "{1},"
       " int64[1,512] p, float[512,12] t, float[9,12] u>",
       "s = Shape (x)  n = Gather (s, one)  e = Unsqueeze (n, a)  q = Slice (p, z, e, i)"
       "  f = Gather (t, q)  g = Gather (u, x)  y = Add (g, f)"},
      {"rows of one size", "(float[N,3,8,8] x) => (y) <int64[2] s = {-1, 192}>",
       "y = Reshape (x, s)"},
      {"a table", "(int64[N,S] x) => (y) <float[100,12] t>", "y = Gather (t, x)"},
      {"one of a sample's rows", "(float[N,S,12] x) => (y) <int64 zero = {0}>",
       "y = Gather <axis = 1> (x, zero)"},
      {"sums of a sample", "(float[N,3,8,8] x) => (y)", "y = ReduceMean <axes = [1,2,-1]> (x)"},
      {"a mask", "(float[N,S,S] x, int64[N,S] m) => (y) <int64[1] a = {1}, float big = {-10000.0}>",
       "u = Unsqueeze (m, a)  f = Cast <to = 1> (u)  b = Mul (f, big)  y = Add (x, b)"},
      {"Gemm", "(float[N,12] x) => (y) <float[5,12] w, float[5] b>",
       "y = Gemm <transB = 1> (x, w, b)"},
      {"parts side by side", image, "y = Concat <axis = 1> (x, x)"},
      {"codes", "(float[N,3,8,8] x) => (y) <float[3] s, uint8[3] o>",
       "q = QuantizeLinear <axis = 1> (x, s, o)  y = DequantizeLinear <axis = 1> (q, s, o)"},
      {"twice as large", "(float[N,3,8,8] x) => (y) <float[4] s = {1.0, 1.0, 2.0, 2.0}>",
       "y = Resize (x, , s)"},
      {"a token that all share",
       "(float[N,S,12] x) => (y) <float[1,1,12] c, int64 zero = {0}, int64[1] a = {0}, int64[2] r "
       "= {1, 12}>",
       "s = Shape (x)  n = Gather (s, zero)  u = Unsqueeze (n, a)  d = Concat <axis = 0> (u, r)"
       "  e = Expand (c, d)  y = Concat <axis = 1> (e, x)"},
      {"weights of four bits", "(float[N,S,32] x) => (y) <uint8[5,1,16] w, float[5] s>",
       "y = com.microsoft.MatMulNBits <K = 32, N = 5, bits = 4, block_size = 32> (x, w, s)"},
      {"fused embeddings",
       "(int32[N,S] x, int32[N,S] m) => (y) <float[9,12] w, float[9,12] p, float[12] g, float[12] "
       "b>",
       "y, c = com.microsoft.EmbedLayerNormalization (x, , w, p, , g, b, m)"},
      {"a skip", "(float[N,S,12] x) => (y) <float[12] g>",
       "r = Relu (x)  y = com.microsoft.SkipLayerNormalization (x, r, g)"},
  };
  for (const auto& c : cases) {
    CAPTURE(std::string(c.what));
    CHECK(why_mixed(c.signature, c.nodes, "y") == "");
  }
}

TEST_CASE("batch: what mixes samples, or may") {
  const char* const image = "(float[N,3,8,8] x) => (y)";
  const struct {
    std::string signature, nodes, why;
  } cases[] = {
      {"(float[1,3,8,8] x) => (y)", "y = Relu (x)",
       "input 'x' has no first dimension that may vary"},
      {"(float[N,3] x, float[3] z) => (y)", "y = Add (x, z)",
       "input 'z' has no first dimension that may vary"},
      {image, "[n] y = ReduceMax <axes = [0]> (x)", "n' (ReduceMax)"},
      {image, "[n] y = ReduceMax (x)", "n' (ReduceMax)"},
      {image, "[n] y = Transpose <perm = [1,0,2,3]> (x)", "n' (Transpose)"},
      {image, "[n] y = Softmax <axis = 0> (x)", "n' (Softmax)"},
      {image, "[n] y = Concat <axis = 0> (x, x)", "n' (Concat)"},
      {image, "[n] y = Flatten <axis = 2> (x)", "n' (Flatten)"},
      {"(float[N,3] x) => (y) <float[4,5,3] w>", "[n] y = Add (x, w)", "n' (Add)"},
      {"(float[N,3] x) => (y) <float[7,3] w>", "[n] y = Add (x, w)", "n' (Add)"},
      {"(float[N,N] x) => (y)", "[n] y = MatMul (x, x)", "n' (MatMul)"},
      {"(float[N,3] x) => (y) <float[5,3] w>", "[n] y = Gemm <transA = 1> (x, w)", "n' (Gemm)"},
      {"(float[N,S,12] x) => (y) <int64[2] s = {-1, 12}>", "[n] y = Reshape (x, s)",
       "n' (Reshape)"},
      {"(float[N,12] x) => (y) <int64[2] s = {-1, 6}>", "[n] y = Reshape (x, s)", "n' (Reshape)"},
      {"(float[N,12] x) => (y) <int64 zero = {0}>", "[n] y = Gather (x, zero)", "n' (Gather)"},
      {"(float[N,12] x) => (y) <int64 zero = {0}>",
       "s = Shape (x)  k = Gather (s, zero)  f = Cast <to = 1> (k)  [n] y = Div (x, f)",
       "n' (Div)"},
      {"(float[N,32] x) => (y) <uint8[5,1,16] w>",
       "[n] y = com.microsoft.MatMulNBits <K = 32, N = 5, bits = 4, block_size = 32> (x, w, x)",
       "MatMulNBits)"},
      {image, "[n] m, y = MaxPool <kernel_shape = [2,2]> (x)", "n' (MaxPool)"},
      {"(float[N,12] x) => (y) <int64 zero = {0}, int64[1] a = {0}, int64[1] m = {-1}>",
       "s = Shape (x)  k = Gather (s, zero)  u = Unsqueeze (k, a)  d = Concat <axis = 0> (u, u, m)"
       "  [n] y = Reshape (x, d)",
       "n' (Reshape)"},
      {image, "[n] y = RandomNormalLike (x)", "n' (RandomNormalLike)"},
      {image, "[n] y, a, b = DynamicQuantizeLinear (x)", "n' (DynamicQuantizeLinear)"},
      {"(float[N,12] x) => (y) <int64 zero = {0}, float[M,12] r>",
       "r = Relu (x)  s = Shape (r)  k = Gather (s, zero)  f = Cast <to = 1> (k)  [n] y = Div (x, "
       "f)",
       "n' (Div)"},
      {"(int64[N,2] x) => (y) <int64[4] rest = {3, 4, 5, 6}, int64[2] d = {2, 3}>",
       "s = Shape <start = 0, end = 1> (x)  c = Concat <axis = 0> (s, s, rest)"
       "  m = Reshape (c, d)  [n] y = MatMul (x, m)",
       "n' (MatMul)"},
      {"(float[N,3] x) => (y) <float[3] c>", "r = Relu (x)  y = Abs (c)",
       "'y' is the same for every sample"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.nodes);
    const std::string why = why_mixed(c.signature, c.nodes, "y");
    CHECK(why.find(c.why) != std::string::npos);
  }
}

}  // namespace
}  // namespace onnxtool
