// GroupNormalization-18 scales by group, GroupNormalization-21 by channel: scale and bias of
// [groups] are repeated to [channels].

#include <optional>

#include "libopt/convert/adapter.h"

namespace onnxtool::convert {
namespace {

// A declared extent is no reason to allocate any number of bytes: beyond it the model repeats.
constexpr int64_t kMaxRepeatedChannels = 1 << 16;

Tensor repeated(const Tensor& t, int64_t times) {
  const size_t size = static_cast<size_t>(bits_of(t.dtype()) / 8);
  std::vector<std::byte> bytes;
  bytes.reserve(t.size_bytes() * static_cast<size_t>(times));
  for (size_t i = 0; i < t.size_bytes(); i += size) {
    const auto element = t.bytes().subspan(i, size);
    for (int64_t k = 0; k < times; ++k) bytes.insert(bytes.end(), element.begin(), element.end());
  }
  return Tensor::from_bytes(t.dtype(), {t.count() * times}, std::move(bytes));
}

// [groups, channels / groups], as a tensor.
Value& extents(const Node& node, Rewriter& rewriter, int64_t groups,
               std::optional<int64_t> channels) {
  if (channels) return add_ints(node, rewriter, {groups, *channels / groups}, "extents");
  std::vector<Attribute> second, first;
  second.push_back(Attribute::of("start", int64_t{1}));
  second.push_back(Attribute::of("end", int64_t{2}));
  first.push_back(Attribute::of("axis", int64_t{0}));
  Value& count = add_ints(node, rewriter, {groups}, "groups");
  Value& all = add_typed(node, rewriter, "Shape", {&node.input(0)}, std::move(second), "channels");
  Value& each = add_typed(node, rewriter, "Div", {&all, &count}, {}, "channels_per_group");
  return add_typed(node, rewriter, "Concat", {&count, &each}, std::move(first), "extents");
}

}  // namespace

const char* lacks_groups(const Node& node) {
  const bool complete =
      node.attr<int64_t>("num_groups", 0) > 0 && node.has_input(1) && node.has_input(2);
  return complete ? nullptr : "it has no groups, scale or bias";
}

void group_parameters(const Node& node, Rewriter& rewriter, int) {
  const int64_t groups = node.attr<int64_t>("num_groups", 1);
  const auto& shape = node.input(0).type().shape;
  const std::optional<int64_t> channels =
      shape && shape->size() > 1 ? (*shape)[1].value : std::nullopt;
  Value* grid = nullptr;
  for (const int i : {1, 2}) {
    Value& parameter = node.input(i);
    const Tensor* t = parameter.constant();
    if (t && channels && *channels <= kMaxRepeatedChannels && t->rank() == 1 &&
        is_float(t->dtype())) {
      rewriter.set_input(
          node, i, &rewriter.add_constant(repeated(*t, *channels / groups), parameter.name()));
      continue;
    }
    if (!grid) grid = &extents(node, rewriter, groups, channels);
    Value& column = add_ints(node, rewriter, {groups, 1}, "column");
    Value& flat = add_ints(node, rewriter, {-1}, "flat");
    Value& by_group = add_typed(node, rewriter, "Reshape", {&parameter, &column}, {}, "by_group");
    Value& grouped = add_typed(node, rewriter, "Expand", {&by_group, grid}, {}, "grouped");
    rewriter.set_input(node, i,
                       &add_typed(node, rewriter, "Reshape", {&grouped, &flat}, {}, "by_channel"));
  }
}

}  // namespace onnxtool::convert
