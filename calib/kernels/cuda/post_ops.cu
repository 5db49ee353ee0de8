#include "calib/kernels/cuda/post_ops.h"

#include <algorithm>

#include "calib/kernels/cpu/common.h"

namespace onnxtool::device {
namespace {

template <class T>
struct ApplyPostOps {
  PostOps ops;
  DataType type;
  void* y;
  ONNXTOOL_HD void operator()(int64_t i) const {
    store<T>(type, y, i, ops.apply<T>(load<T>(type, y, i), i));
  }
};

}  // namespace

Result<PostOps> post_ops_of(const KernelContext& ctx, std::span<const PostOp> all, size_t first,
                            std::span<const int64_t> dims) {
  PostOps out;
  for (size_t k = first; k < all.size() && out.count < PostOps::kMost; ++k) {
    const PostOp& op = all[k];
    const void* added = nullptr;
    if (op.kind == PostOp::Kind::kAdd) {
      const ConstView& v = ctx.input(op.input);
      if (!std::ranges::equal(v.dims, dims))
        return mismatch("the tensor to add has shape " + format_dims(v.dims) + ", expected " +
                        format_dims(dims));
      if (v.dtype != ctx.input(0).dtype) return unsupported_type(v.dtype, "the tensor to add");
      added = v.data;
    }
    out.ops[out.count++] = {op.kind, op.alpha, op.beta, added};
  }
  out.type = ctx.input(0).dtype;
  return out;
}

Status apply_post_ops(KernelContext& ctx, std::span<const PostOp> all, size_t first,
                      const MutableView& y) {
  for (; first < all.size(); first += PostOps::kMost) {
    ONNXTOOL_ASSIGN(const PostOps ops, post_ops_of(ctx, all, first, y.dims));
    if (y.dtype == DataType::kDouble)
      for_each_index(y.count, ApplyPostOps<double>{ops, y.dtype, y.data});
    else
      for_each_index(y.count, ApplyPostOps<float>{ops, y.dtype, y.data});
  }
  return {};
}

std::vector<PostOp> post_ops_from(std::span<const EpilogueOp> ops) {
  std::vector<PostOp> out;
  for (const EpilogueOp& op : ops)
    out.push_back({static_cast<PostOp::Kind>(op.kind), op.alpha, op.beta, op.input});
  return out;
}

}  // namespace onnxtool::device
