#include "passes/layout.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <string_view>

#include "passes/shapes.h"

namespace onnxtool {
namespace {

constexpr std::array<std::string_view, 44> kUnary = {
    "Abs",       "Acos",      "Acosh",  "Asin",        "Asinh",     "Atan",       "Atanh",
    "Cast",      "Ceil",      "Celu",   "Cos",         "Cosh",      "Elu",        "Erf",
    "Exp",       "Floor",     "Gelu",   "HardSigmoid", "HardSwish", "IsInf",      "IsNaN",
    "LeakyRelu", "Log",       "Mish",   "Neg",         "Not",       "Reciprocal", "Relu",
    "Round",     "Selu",      "Shrink", "Sigmoid",     "Sign",      "Sin",        "Sinh",
    "Softplus",  "Softsign",  "Sqrt",   "Swish",       "Tan",       "Tanh",       "ThresholdedRelu",
    "Identity",  "BitwiseNot"};
constexpr std::array<std::string_view, 24> kBroadcasting = {
    "Add",      "Sub",         "Mul",       "Div",
    "Pow",      "Mod",         "Max",       "Min",
    "Sum",      "Mean",        "And",       "Or",
    "Xor",      "Equal",       "Greater",   "GreaterOrEqual",
    "Less",     "LessOrEqual", "Where",     "PRelu",
    "BitShift", "BitwiseAnd",  "BitwiseOr", "BitwiseXor"};
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

// Whether the axes but for these stand in the same order in the base: what is left without them
// needs no Transpose.
bool keeps_the_others(const std::vector<int64_t>& axes, const Perm& perm) {
  int64_t last = -1;
  for (int64_t i = 0; i < rank_of(perm); ++i) {
    const bool gone =
        std::ranges::any_of(axes, [&](int64_t a) { return (a < 0 ? a + rank_of(perm) : a) == i; });
    if (gone) continue;
    if (perm[static_cast<size_t>(i)] < last) return false;
    last = perm[static_cast<size_t>(i)];
  }
  return true;
}

// Integers in the place of the node's constant input, of its type; of int64 where it has none.
void give(Moved& m, const Node& n, size_t input, const std::vector<int64_t>& values) {
  while (m.inputs.size() <= input) m.inputs.push_back(Moved::Input::kSame);
  m.inputs[input] = Moved::Input::kConstant;
  const Tensor* was =
      n.has_input(static_cast<int>(input)) ? n.input(static_cast<int>(input)).constant() : nullptr;
  Tensor list = was && was->dtype() == DataType::kInt32
                    ? Tensor::vector(std::vector<int32_t>(values.begin(), values.end()))
                    : Tensor::vector(values);
  m.constants.push_back(was && was->rank() == 0 ? list.reshaped({}) : std::move(list));
}

// The first input is a base, or all are.
std::optional<Moved> move_axis(const Node& n, const Perm& perm, int64_t fallback,
                               bool all = false) {
  Moved m;
  if (all && std::ranges::find(n.inputs(), nullptr) != n.inputs().end()) return std::nullopt;
  const auto axis = base_axis(n.attr<int64_t>("axis", fallback), perm);
  if (!axis) return std::nullopt;
  m.inputs.assign(static_cast<size_t>(n.num_inputs()),
                  all ? Moved::Input::kBase : Moved::Input::kSame);
  m.inputs[0] = Moved::Input::kBase;
  m.numbers.emplace_back("axis", *axis);
  return m;
}

// The same of an operator whose result may lack the axis.
std::optional<Moved> move_axis_that_goes(const Node& n, const Perm& perm, bool goes) {
  auto m = move_axis(n, perm, 0);
  if (m && goes && !keeps_the_others({n.attr<int64_t>("axis", 0)}, perm)) return std::nullopt;
  if (m) m->ends = goes;
  return m;
}

// Softmax and the like: since opset 13 along one axis, before over all from `axis` on, which have
// to be the last of the base too.
std::optional<Moved> move_softmax(const Node& n, const Perm& perm) {
  if (n.opset() >= 13) return move_axis(n, perm, -1);
  int64_t axis = n.attr<int64_t>("axis", 1);
  if (axis < 0) axis += rank_of(perm);
  if (axis < 0 || axis > rank_of(perm)) return std::nullopt;
  // The first of several largest elements would be another.
  if (n.is("Hardmax") && axis + 1 < rank_of(perm)) return std::nullopt;
  for (int64_t i = axis; i < rank_of(perm); ++i)
    if (perm[static_cast<size_t>(i)] < axis) return std::nullopt;
  return move_unary(n);
}

// With axes that were an attribute before opset `since`; `gone` says whether they leave the shape.
std::optional<Moved> move_axes(const Node& n, const Perm& perm, int since, bool gone) {
  const auto axes = ints_of(n, "axes", 1, since);
  const auto base = axes && !axes->empty() ? base_axes(*axes, perm) : std::nullopt;
  if (!base || (gone && !keeps_the_others(*axes, perm))) return std::nullopt;
  auto m = move_unary(n);
  m->ends = gone;
  if (n.opset() < since)
    m->lists.emplace_back("axes", *base);
  else
    give(*m, n, 1, *base);
  return m;
}

std::optional<Moved> move_reduction(const Node& n, const Perm& perm) {
  return move_axes(n, perm, n.is("ReduceSum") ? 13 : 18, n.attr<int64_t>("keepdims", 1) == 0);
}

// What it reads keeps its axes in order, and the new ones stand elsewhere.
std::optional<Moved> move_unsqueeze(const Node& n, const Perm& perm) {
  auto m = move_axes(n, perm, 13, /*gone=*/true);
  if (!m) return m;
  m->ends = false;
  m->inputs[0] = Moved::Input::kSame;
  return m;
}

// A list of one number for each axis, twice where it is of pads.
std::vector<int64_t> reordered(const std::vector<int64_t>& list, const Perm& perm) {
  std::vector<int64_t> base(list.size());
  for (size_t i = 0; i < list.size(); ++i)
    base[i / perm.size() * perm.size() + static_cast<size_t>(perm[i % perm.size()])] = list[i];
  return base;
}

// Tile and Expand.
std::optional<Moved> move_extents(const Node& n, const Perm& perm) {
  const auto extents = constant_ints(n, 1);
  if (n.num_inputs() != 2 || !extents || extents->size() != perm.size() ||
      n.input(0).type().rank() != rank_of(perm))
    return std::nullopt;
  auto m = move_unary(n);
  give(*m, n, 1, reordered(*extents, perm));
  return m;
}

// By scales that leave batch and channels of the base alone, as all runtimes have it. onnxruntime
// is 20 times as slow with channels first where the interpolation is cubic.
std::optional<Moved> move_resize(const Node& n, const Perm& perm) {
  const Tensor* scales = n.opset() >= 11 && n.has_input(2) ? n.input(2).constant() : nullptr;
  if (!scales || scales->dtype() != DataType::kFloat || scales->count() != rank_of(perm) ||
      perm.size() < 3 || n.has_input(3) || n.attribute("axes") ||
      n.attr<std::string>("mode", "") == "cubic" ||
      n.attr<std::string>("coordinate_transformation_mode", "") == "tf_crop_and_resize")
    return std::nullopt;
  std::vector<float> base(perm.size());
  const std::vector<float> given = scales->values<float>();
  for (size_t i = 0; i < perm.size(); ++i) base[static_cast<size_t>(perm[i])] = given[i];
  if (base[0] != 1 || base[1] != 1) return std::nullopt;
  auto m = move_unary(n);
  m->inputs[2] = Moved::Input::kConstant;
  m->constants.push_back(Tensor::vector(base));
  return m;
}

std::optional<Moved> move_pad(const Node& n, const Perm& perm) {
  auto m = move_unary(n);
  const auto pads = ints_of(n, "pads", 1, 11);
  if (!pads || n.opset() < 2) return std::nullopt;
  if (n.has_input(3)) {
    const auto axes = constant_ints(n, 3);
    const auto base = axes ? base_axes(*axes, perm) : std::nullopt;
    if (!base) return std::nullopt;
    give(*m, n, 3, *base);
  } else if (pads->size() != 2 * perm.size()) {
    return std::nullopt;
  } else if (n.opset() < 11) {
    m->lists.emplace_back("pads", reordered(*pads, perm));
  } else {
    give(*m, n, 1, reordered(*pads, perm));
  }
  return m;
}

std::optional<Moved> move_slice(const Node& n, const Perm& perm) {
  auto m = move_unary(n);
  const auto starts = ints_of(n, "starts", 1, 10);
  auto axes = ints_of(n, "axes", 3, 10);
  const bool stated = n.opset() < 10 ? n.attribute("axes") != nullptr : n.has_input(3);
  if (!stated && starts) {
    axes.emplace(starts->size());
    std::iota(axes->begin(), axes->end(), 0);
  }
  const auto base = axes ? base_axes(*axes, perm) : std::nullopt;
  if (!base) return std::nullopt;
  // Starts, ends and axes are of one type.
  if (n.opset() < 10)
    m->lists.emplace_back("axes", *base);
  else if (stated || n.input(1).type().dtype == DataType::kInt64)
    give(*m, n, 3, *base);
  else
    return std::nullopt;
  return m;
}

std::optional<Moved> move_cumulation(const Node& n, const Perm& perm) {
  const auto axis = constant_ints(n, 1);
  const auto base = axis && axis->size() == 1 ? base_axis((*axis)[0], perm) : std::nullopt;
  if (!base) return std::nullopt;
  auto m = move_unary(n);
  give(*m, n, 1, {*base});
  return m;
}

std::optional<Moved> move_gather(const Node& n, const Perm& perm) {
  const auto rank = n.has_input(1) ? n.input(1).type().rank() : std::nullopt;
  return rank == 0 || rank == 1 ? move_axis_that_goes(n, perm, rank == 0) : std::nullopt;
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
  if (n.is("Clip") || n.is("CastLike")) return move_unary(n);
  if (among(kBroadcasting, n)) return move_broadcasting(n, perm);
  if (n.is("Concat") && n.opset() >= 4)
    return n.attribute("axis") ? move_axis(n, perm, 0, /*all=*/true) : std::nullopt;
  if (n.is("GatherElements") || n.is("ScatterElements")) return move_axis(n, perm, 0, /*all=*/true);
  if (n.is("Split")) return move_axis(n, perm, 0);
  if (n.is("TopK") || n.is("LpNormalization")) return move_axis(n, perm, -1);
  if (n.is("Softmax") || n.is("LogSoftmax") || n.is("Hardmax")) return move_softmax(n, perm);
  if (n.is("ArgMax") || n.is("ArgMin"))
    return move_axis_that_goes(n, perm, n.attr<int64_t>("keepdims", 1) == 0);
  if (n.is("Gather")) return move_gather(n, perm);
  if (among(kReductions, n)) return move_reduction(n, perm);
  if (n.is("Squeeze")) return move_axes(n, perm, 13, /*gone=*/true);
  if (n.is("Unsqueeze")) return move_unsqueeze(n, perm);
  if (n.is("Tile") || n.is("Expand")) return move_extents(n, perm);
  if (n.is("Resize")) return move_resize(n, perm);
  if (n.is("CumSum")) return move_cumulation(n, perm);
  if (n.is("Pad")) return move_pad(n, perm);
  if (n.is("Slice")) return move_slice(n, perm);
  if (n.is("QuantizeLinear") || n.is("DequantizeLinear")) return move_quantization(n, perm);
  return std::nullopt;
}

}  // namespace onnxtool
