#include "passes/layout.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <string_view>

#include "passes/shapes.h"

namespace onnxtool {
namespace {

constexpr std::array<std::string_view, 43> kUnary = {
    "Abs",       "Acos",     "Acosh",  "Asin",        "Asinh",     "Atan",       "Atanh",
    "Cast",      "Ceil",     "Celu",   "Cos",         "Cosh",      "Elu",        "Erf",
    "Exp",       "Floor",    "Gelu",   "HardSigmoid", "HardSwish", "IsInf",      "IsNaN",
    "LeakyRelu", "Log",      "Mish",   "Neg",         "Not",       "Reciprocal", "Relu",
    "Round",     "Selu",     "Shrink", "Sigmoid",     "Sign",      "Sin",        "Sinh",
    "Softplus",  "Softsign", "Sqrt",   "Swish",       "Tan",       "Tanh",       "ThresholdedRelu",
    "Identity"};
constexpr std::array<std::string_view, 20> kBroadcasting = {
    "Add",  "Sub",         "Mul",   "Div",  "Pow", "Mod",   "Max",     "Min",
    "Sum",  "Mean",        "And",   "Or",   "Xor", "Equal", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Where", "PRelu"};
constexpr std::array<std::string_view, 10> kReductions = {
    "ReduceL1",   "ReduceL2",  "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd",   "ReduceSum",       "ReduceSumSquare"};

template <size_t n>
bool among(const std::array<std::string_view, n>& ops, const Node& node) {
  return std::ranges::find(ops, node.op_type()) != ops.end();
}

int64_t rank_of(const Perm& perm) { return static_cast<int64_t>(perm.size()); }

// A shared constant that is larger would make the file larger by more than the Transposes take that
// go; where all its readers move, one copy is left in the end.
constexpr size_t kCopied = 512;

// The axis of the base; nullopt: out of range.
std::optional<int64_t> base_axis(int64_t axis, const Perm& perm) {
  if (axis < 0) axis += rank_of(perm);
  return axis >= 0 && axis < rank_of(perm) ? std::optional(perm[static_cast<size_t>(axis)])
                                           : std::nullopt;
}

std::optional<std::vector<int64_t>> base_axes(const std::vector<int64_t>& axes, const Perm& perm) {
  std::vector<int64_t> out;
  for (const int64_t a : axes) {
    const auto base = base_axis(a, perm);
    if (!base) return std::nullopt;
    out.push_back(*base);
  }
  return out;
}

bool is_whole(DataType type) { return type != DataType::kString && bits_of(type) >= 8; }

// A constant operand of a broadcasting node, for the base.
Tensor for_base(const Tensor& t, const Perm& perm) {
  std::vector<int64_t> dims(perm.size() - static_cast<size_t>(t.rank()), 1);
  dims.insert(dims.end(), t.dims().begin(), t.dims().end());
  return transposed(t.reshaped(std::move(dims)), inverse(perm));
}

std::optional<Moved> move_broadcasting(const Node& n, const Perm& perm) {
  if (n.opset() < (n.is("Max") || n.is("Min") || n.is("Sum") || n.is("Mean") ? 8 : 7))
    return std::nullopt;
  Moved m;
  for (const Value* v : n.inputs()) {
    if (!v) return std::nullopt;
    const Tensor* t = v->constant();
    if (v->type().rank() == 0) {
      m.inputs.push_back(Moved::Input::kSame);
    } else if (t && t->rank() <= rank_of(perm) && is_whole(t->dtype())) {
      if (t->count() != 1 && !(v->has_one_use() || t->size_bytes() <= kCopied)) return std::nullopt;
      if (t->count() == 1) {
        m.inputs.push_back(Moved::Input::kSame);
        continue;
      }
      m.inputs.push_back(Moved::Input::kConstant);
      m.constants.push_back(for_base(*t, perm));
    } else if (v->type().rank() == rank_of(perm)) {
      m.inputs.push_back(Moved::Input::kBase);
    } else {
      return std::nullopt;
    }
  }
  return m;
}

std::optional<Moved> move_unary(const Node& n) {
  Moved m;
  m.inputs.assign(static_cast<size_t>(n.num_inputs()), Moved::Input::kSame);
  if (m.inputs.empty()) return std::nullopt;
  m.inputs[0] = Moved::Input::kBase;
  return m;
}

std::optional<Moved> move_axis(const Node& n, const Perm& perm, int64_t fallback) {
  Moved m;
  if (std::ranges::find(n.inputs(), nullptr) != n.inputs().end() && n.is("Concat"))
    return std::nullopt;
  const auto axis = base_axis(n.attr<int64_t>("axis", fallback), perm);
  if (!axis) return std::nullopt;
  m.inputs.assign(static_cast<size_t>(n.num_inputs()),
                  n.is("Concat") ? Moved::Input::kBase : Moved::Input::kSame);
  m.inputs[0] = Moved::Input::kBase;
  m.numbers.emplace_back("axis", *axis);
  return m;
}

std::optional<Moved> move_reduction(const Node& n, const Perm& perm) {
  const int since = n.is("ReduceSum") ? 13 : 18;
  if (n.attr<int64_t>("keepdims", 1) == 0) return std::nullopt;
  auto m = move_unary(n);
  if (n.opset() < since) {
    const auto axes = attribute_ints(n, "axes");
    const auto base = axes ? base_axes(*axes, perm) : std::nullopt;
    if (!base) return std::nullopt;
    m->lists.emplace_back("axes", *base);
    return m;
  }
  const auto axes = constant_ints(n, 1);
  const auto base = axes && !axes->empty() ? base_axes(*axes, perm) : std::nullopt;
  if (!base) return std::nullopt;
  m->inputs[1] = Moved::Input::kConstant;
  m->constants.push_back(Tensor::vector(*base));
  return m;
}

std::optional<Moved> move_pad(const Node& n, const Perm& perm) {
  const auto pads = constant_ints(n, 1);
  const size_t rank = perm.size();
  if (n.opset() < 11 || !pads || pads->size() != 2 * rank || n.has_input(3)) return std::nullopt;
  std::vector<int64_t> base(2 * rank);
  for (size_t i = 0; i < rank; ++i) {
    base[static_cast<size_t>(perm[i])] = (*pads)[i];
    base[rank + static_cast<size_t>(perm[i])] = (*pads)[rank + i];
  }
  auto m = move_unary(n);
  m->inputs[1] = Moved::Input::kConstant;
  m->constants.push_back(Tensor::vector(base));
  return m;
}

std::optional<Moved> move_slice(const Node& n, const Perm& perm) {
  const auto axes = constant_ints(n, 3);
  const auto base = axes ? base_axes(*axes, perm) : std::nullopt;
  if (n.opset() < 10 || !base) return std::nullopt;
  auto m = move_unary(n);
  m->inputs[3] = Moved::Input::kConstant;
  // Starts, ends and axes are of one type.
  if (n.input(3).type().dtype == DataType::kInt64)
    m->constants.push_back(Tensor::vector(*base));
  else
    m->constants.push_back(Tensor::vector(std::vector<int32_t>(base->begin(), base->end())));
  return m;
}

// By the whole tensor, or by the axis that is said.
std::optional<Moved> move_quantization(const Node& n, const Perm& perm) {
  if (!n.has_input(1) || n.attr<int64_t>("block_size", 0) != 0) return std::nullopt;
  const auto rank = n.input(1).type().rank();
  if (rank == 0) return move_unary(n);
  constexpr int kFirstAxis = 13;
  return rank == 1 && n.opset() >= kFirstAxis ? move_axis(n, perm, 1) : std::nullopt;
}

}  // namespace

Perm perm_of(const Node& transpose) {
  Perm perm;
  if (const auto given = attribute_ints(transpose, "perm")) {
    perm = *given;
  } else if (const auto rank =
                 transpose.has_input(0) ? transpose.input(0).type().rank() : std::nullopt) {
    perm.resize(static_cast<size_t>(*rank));
    std::iota(perm.rbegin(), perm.rend(), 0);
  }
  Perm sorted = perm;
  std::ranges::sort(sorted);
  return is_identity(sorted) ? perm : Perm{};
}

Perm inverse(const Perm& perm) {
  Perm out(perm.size());
  for (size_t i = 0; i < perm.size(); ++i)
    out[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return out;
}

Perm composed(const Perm& first, const Perm& second) {
  Perm out;
  for (const int64_t axis : second) out.push_back(first[static_cast<size_t>(axis)]);
  return out;
}

bool is_identity(const Perm& perm) {
  for (size_t i = 0; i < perm.size(); ++i)
    if (perm[i] != static_cast<int64_t>(i)) return false;
  return true;
}

Tensor transposed(const Tensor& t, const Perm& perm) {
  const size_t rank = perm.size(), size = static_cast<size_t>(bits_of(t.dtype())) / 8;
  std::vector<int64_t> strides(rank, 1), dims;
  for (size_t i = rank - 1; i-- > 0;) strides[i] = strides[i + 1] * t.dims()[i + 1];
  for (const int64_t axis : perm) dims.push_back(t.dims()[static_cast<size_t>(axis)]);
  std::vector<std::byte> bytes(t.size_bytes());
  std::vector<int64_t> at(rank, 0);
  for (int64_t i = 0; i < t.count(); ++i) {
    int64_t from = 0;
    for (size_t k = 0; k < rank; ++k) from += at[k] * strides[static_cast<size_t>(perm[k])];
    std::memcpy(bytes.data() + static_cast<size_t>(i) * size,
                t.bytes().data() + static_cast<size_t>(from) * size, size);
    for (size_t k = rank; k-- > 0 && ++at[k] == dims[k];) at[k] = 0;
  }
  return Tensor::from_bytes(t.dtype(), std::move(dims), std::move(bytes));
}

bool is_elementwise(const Node& n) {
  if (!n.domain().empty() || !n.has_input(0)) return false;
  return (among(kUnary, n) && n.num_inputs() == 1) || (among(kBroadcasting, n) && n.opset() >= 8);
}

std::optional<Moved> moved(const Node& n, const Perm& perm) {
  if (!n.domain().empty() || !n.has_input(0)) return std::nullopt;
  if (among(kUnary, n)) return n.num_inputs() == 1 ? move_unary(n) : std::nullopt;
  if (n.is("Clip")) return move_unary(n);
  if (among(kBroadcasting, n)) return move_broadcasting(n, perm);
  if (n.is("Concat") && n.opset() >= 4)
    return n.attribute("axis") ? move_axis(n, perm, 0) : std::nullopt;
  if (n.is("Split")) return move_axis(n, perm, 0);
  if ((n.is("Softmax") || n.is("LogSoftmax")) && n.opset() >= 13) return move_axis(n, perm, -1);
  if (among(kReductions, n)) return move_reduction(n, perm);
  if (n.is("Pad")) return move_pad(n, perm);
  if (n.is("Slice")) return move_slice(n, perm);
  if (n.is("QuantizeLinear") || n.is("DequantizeLinear")) return move_quantization(n, perm);
  return std::nullopt;
}

}  // namespace onnxtool
