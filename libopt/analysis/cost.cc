#include "libopt/analysis/cost.h"

#include <algorithm>
#include <map>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

using Dims = std::vector<int64_t>;

std::optional<Dims> dims_of(const Value& v) {
  return v.type().is_tensor() ? v.type().static_dims() : std::nullopt;
}

std::optional<Dims> input_dims(const Node& n, int i) {
  return n.has_input(i) ? dims_of(n.input(i)) : std::nullopt;
}

std::optional<Dims> output_dims(const Node& n) {
  return n.has_output(0) ? dims_of(n.output(0)) : std::nullopt;
}

std::optional<int64_t> product(std::optional<Dims> dims, size_t from = 0) {
  if (!dims || dims->size() < from) return std::nullopt;
  return checked_product(std::span(*dims).subspan(from));
}

std::optional<int64_t> times(std::optional<int64_t> a, std::optional<int64_t> b) {
  return a && b ? checked_mul(*a, *b) : std::nullopt;
}

// W: [C_out, C_in/group, k...]: each output element takes one filter.
std::optional<int64_t> conv(const Node& n, int weight) {
  return times(product(output_dims(n)), product(input_dims(n, weight), 1));
}

// W: [C_in, C_out/group, k...]: each input element is spread by one filter.
std::optional<int64_t> conv_transpose(const Node& n) {
  return times(product(input_dims(n, 0)), product(input_dims(n, 1), 1));
}

std::optional<int64_t> matmul(const Node& n) {
  const auto a = input_dims(n, 0);
  if (!a || a->empty()) return std::nullopt;
  return times(product(output_dims(n)), a->back());
}

std::optional<int64_t> gemm(const Node& n) {
  const auto a = input_dims(n, 0);
  if (!a || a->size() != 2) return std::nullopt;
  return times(product(output_dims(n)), (*a)[n.attr<int64_t>("transA", 0) ? 0 : 1]);
}

// X: [steps, batch, in] (steps and batch swap with layout 1); W and R: [directions, gates * hidden,
// ...].
std::optional<int64_t> recurrent(const Node& n) {
  const auto x = input_dims(n, 0);
  const auto w = product(input_dims(n, 1)), r = product(input_dims(n, 2));
  if (!x || x->size() != 3 || !w || !r) return std::nullopt;
  return times(times((*x)[0], (*x)[1]), checked_add(*w, *r));
}

// Q: [batch, heads, n, d], K: [batch, heads, m, d], V: [batch, heads, m, e]: both products.
std::optional<int64_t> attention(const Node& n) {
  const auto q = input_dims(n, 0), k = input_dims(n, 1), v = input_dims(n, 2);
  if (!q || !k || !v || q->size() != 4 || k->size() != 4 || v->size() != 4) return std::nullopt;
  return times(times(times((*q)[0], (*q)[1]), times((*q)[2], (*k)[2])),
               checked_add((*q)[3], (*v)[3]));
}

// Every letter of the equation is a loop; with one operand nothing is multiplied.
std::optional<int64_t> einsum(const Node& n) {
  if (n.num_inputs() < 2) return 0;
  std::string equation = n.attr<std::string>("equation", "");
  std::erase(equation, ' ');
  if (equation.find('.') != std::string::npos) return std::nullopt;
  std::map<char, int64_t> extents;
  size_t at = 0;
  for (int i = 0; i < n.num_inputs(); ++i) {
    const auto dims = input_dims(n, i);
    if (!dims) return std::nullopt;
    for (size_t d = 0; d < dims->size(); ++d, ++at) {
      if (at >= equation.size()) return std::nullopt;
      extents[equation[at]] = std::max(extents[equation[at]], (*dims)[d]);
    }
    ++at;  // the comma, or the arrow's start
  }
  std::optional<int64_t> loops = 1;
  for (const auto& [letter, extent] : extents) loops = times(loops, extent);
  return times(loops, n.num_inputs() - 1);
}

struct Formula {
  const char* op;
  const char* domain;
  std::optional<int64_t> (*macs)(const Node&);
};

constexpr const char* kMicrosoft = "com.microsoft";
constexpr Formula kFormulas[] = {
    {"Conv", "", [](const Node& n) { return conv(n, 1); }},
    {"ConvInteger", "", [](const Node& n) { return conv(n, 1); }},
    {"QLinearConv", "", [](const Node& n) { return conv(n, 3); }},
    {"FusedConv", kMicrosoft, [](const Node& n) { return conv(n, 1); }},
    {"DeformConv", "", [](const Node& n) { return conv(n, 1); }},
    {"ConvTranspose", "", conv_transpose},
    {"MatMul", "", matmul},
    {"MatMulInteger", "", matmul},
    {"QLinearMatMul", "", matmul},
    {"MatMulNBits", kMicrosoft, matmul},
    {"MatMulIntegerToFloat", kMicrosoft, matmul},
    {"DynamicQuantizeMatMul", kMicrosoft, matmul},
    {"Gemm", "", gemm},
    {"QGemm", kMicrosoft, gemm},
    {"FusedGemm", kMicrosoft, gemm},
    {"LSTM", "", recurrent},
    {"GRU", "", recurrent},
    {"RNN", "", recurrent},
    {"Attention", "", attention},
    {"Einsum", "", einsum},
};

// Values of `graph` that the node reads, in its subgraphs too.
void collect_reads(const Node& node, const Graph& graph, std::vector<const Value*>& out) {
  for (const Value* v : node.inputs())
    if (v && &v->graph() == &graph) out.push_back(v);
  node.for_each_subgraph([&](Graph& sub) {
    for (const Node& n : sub.nodes()) collect_reads(n, graph, out);
    for (const Value* v : sub.outputs())
      if (&v->graph() == &graph) out.push_back(v);
  });
}

}  // namespace

std::optional<int64_t> macs_of(const Node& node) {
  for (const Formula& f : kFormulas)
    if (node.is(f.op, f.domain)) return f.macs(node);
  return 0;
}

std::optional<int64_t> bytes_of(const ValueType& type) {
  const auto dims = type.is_tensor() ? type.static_dims() : std::nullopt;
  const auto count = dims ? checked_product(*dims) : std::nullopt;
  if (!count || bits_of(type.dtype) == 0 || *count > (int64_t{1} << 56)) return std::nullopt;
  return static_cast<int64_t>(size_bytes_of(type.dtype, static_cast<uint64_t>(*count)));
}

ActivationMemory activation_memory(const Graph& graph) {
  ActivationMemory out;
  std::vector<const Node*> nodes;
  for (const Node& n : graph.nodes()) nodes.push_back(&n);
  const auto bound = static_cast<size_t>(graph.value_id_bound());
  std::vector<int64_t> size(bound, -1);       // of values that are alive at some time
  std::vector<size_t> last(bound, SIZE_MAX);  // step of the last read
  std::vector<std::vector<const Value*>> reads(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    collect_reads(*nodes[i], graph, reads[i]);
    for (const Value* v : reads[i]) last[static_cast<size_t>(v->id())] = i;
  }
  // Larger ones are not meant; and no sum of them can overflow.
  constexpr int64_t kLargest = int64_t{1} << 40;
  int64_t live = 0;
  const auto begin = [&](const Value& v) {
    auto bytes = bytes_of(v.type());
    if (bytes > kLargest) bytes.reset();
    if (!bytes) ++out.unknown;
    size[static_cast<size_t>(v.id())] = bytes.value_or(0);
    live += bytes.value_or(0);
    out.total_bytes += bytes.value_or(0);
  };
  const auto end = [&](const Value& v, size_t step) {
    int64_t& bytes = size[static_cast<size_t>(v.id())];
    const size_t read = last[static_cast<size_t>(v.id())];
    if (bytes < 0 || v.is_graph_output() || (read != SIZE_MAX && read > step)) return;
    live -= bytes;
    bytes = -1;
  };
  for (const Value* v : graph.inputs())
    if (!v->initializer()) begin(*v);
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const Value* v : nodes[i]->outputs())
      if (v) begin(*v);
    out.steps.push_back({nodes[i], live});
    if (!out.peak || live > out.peak_bytes) out.peak = nodes[i], out.peak_bytes = live;
    for (const Value* v : reads[i]) end(*v, i);
    for (const Value* v : nodes[i]->outputs())
      if (v) end(*v, i);
  }
  return out;
}

}  // namespace onnxtool
