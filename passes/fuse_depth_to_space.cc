// Makes one DepthToSpace or SpaceToDepth of the nodes that compute it.
//
//   y = Reshape(Transpose<perm>(Reshape(x, six)), four)        x of four axes, y too
//     =>                                                       six              perm
//   y = DepthToSpace<DCR>(x)     [N, b, b, C, H, W]      0, 3, 4, 1, 5, 2
//   y = DepthToSpace<CRD>(x)     [N, C, b, b, H, W]      0, 1, 4, 2, 5, 3
//   y = SpaceToDepth(x)          [N, C, H, b, W, b]      0, 3, 5, 1, 2, 4
//
// Does not fire: extents beside the batch that are not known; blocks that are not square;
// intermediate results used elsewhere; types that onnxruntime lacks, other than float and double;
// opset below 13 (CRD needs 11, where the operator had fewer types).
// Source: ONNX DepthToSpace-13, SpaceToDepth-13.

#include <array>

#include "libopt/rewrite/pattern.h"
#include "passes/layout.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& last;
  const Value& x;
  const char *op, *mode;  // mode: nullptr for SpaceToDepth
  int64_t block;
};

constexpr int kFirstOfAllTypes = 13;

using Extents = std::array<int64_t, 6>;

// Of all axes but the first; nullopt: there are others, or one is not known.
std::optional<Extents> extents_of(const Value& v, size_t rank) {
  const auto& shape = v.type().shape;
  if (!shape || shape->size() != rank) return std::nullopt;
  Extents known{};
  for (size_t i = 1; i < rank; ++i) {
    if (!(*shape)[i].value || *(*shape)[i].value < 1) return std::nullopt;
    known[i] = *(*shape)[i].value;
  }
  return known;
}

// What the six axes of the shape between and their order are; nullptr: no such operator.
const char* kind_of(const Perm& perm) {
  if (perm == Perm{0, 3, 4, 1, 5, 2}) return "DCR";
  if (perm == Perm{0, 1, 4, 2, 5, 3}) return "CRD";
  return perm == Perm{0, 3, 5, 1, 2, 4} ? "SpaceToDepth" : nullptr;
}

MatchOr<Match> match(const Node& last) {
  if (!last.has_input(0) || !last.has_output(0) || last.opset() < kFirstOfAllTypes)
    return no_match();
  Pattern p(last);
  const Node* order = p.take(last.input(0), {"Transpose"});
  const char* kind = order ? kind_of(perm_of(*order)) : nullptr;
  const Node* first = kind && order->has_input(0) ? p.take(order->input(0), {"Reshape"}) : nullptr;
  if (!first || !first->has_input(0)) return no_match();
  const Value& x = first->input(0);
  const auto in = extents_of(x, 4), six = extents_of(first->output(0), 6),
             out = extents_of(last.output(0), 4);
  if (!in || !six || !out || !same_dim((*x.type().shape)[0], (*first->output(0).type().shape)[0]) ||
      !same_dim((*x.type().shape)[0], (*last.output(0).type().shape)[0]))
    return no_match("extents are not known");
  const bool to_space = kind[0] != 'S';
  const bool dcr = kind[0] == 'D';
  const int64_t a = to_space ? (dcr ? (*six)[1] : (*six)[2]) : (*six)[3];
  const int64_t b = to_space ? (dcr ? (*six)[2] : (*six)[3]) : (*six)[5];
  const int64_t height = to_space ? (*six)[4] : (*six)[2], width = to_space ? (*six)[5] : (*six)[4];
  const int64_t channels = to_space && dcr ? (*six)[3] : (*six)[1];
  if (a != b) return no_match("blocks are not square");
  const std::array<int64_t, 3> deep = {channels * a * a, height, width},
                               wide = {channels, height * a, width * a};
  const auto fits = [](const Extents& e, const std::array<int64_t, 3>& wanted) {
    return e[1] == wanted[0] && e[2] == wanted[1] && e[3] == wanted[2];
  };
  if (!fits(*in, to_space ? deep : wide) || !fits(*out, to_space ? wide : deep))
    return no_match("other axes are joined");
  const DataType type = x.type().dtype;
  if (type != DataType::kFloat && type != DataType::kDouble)
    return no_match("type is not float or double");
  if (!p.closed()) return no_match(Pattern::kOtherUse);
  return Match{last, x, to_space ? "DepthToSpace" : kind, to_space ? kind : nullptr, a};
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("blocksize", m.block));
  if (m.mode) attributes.push_back(Attribute::of("mode", std::string(m.mode)));
  const Node& moved = rw.add_node(m.op, {const_cast<Value*>(&m.x)}, std::move(attributes), 1,
                                  m.last.output(0).name());
  rw.replace_uses(m.last.output(0), moved.output(0));
  rw.remove(m.last);
}

}  // namespace

constinit const PassInfo kFuseDepthToSpace{
    .name = "fuse-depth-to-space",
    .summary = "make one DepthToSpace or SpaceToDepth of a Transpose between two Reshapes",
    .roots = {"Reshape"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
