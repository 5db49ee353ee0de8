// Engines of elementwise operators on a device (see cpu/elementwise.h): broadcasting and types.

#include "calib/kernels/cpu/elementwise.h"

#include "calib/kernels/cpu/walk.h"

namespace onnxtool {

int64_t physical_count(std::span<const int64_t>, Layout, int64_t count) { return count; }
void clear_padding(const MutableView&) {}
Result<ConstView> in_plain_order(KernelContext&, const ConstView& view) { return view; }

Status run_unary(KernelContext& ctx, int input, DataType result, bool, UnaryRun run,
                 const void* closure) {
  const ConstView& x = ctx.input(input);
  ONNXTOOL_ASSIGN(const MutableView y, size_bytes_of(x.dtype, 1) == size_bytes_of(result, 1)
                                           ? ctx.output_in_place(0, input, result, x.dims)
                                           : ctx.output(0, result, x.dims));
  run(closure, {x.dtype, x.data, result, y.data, x.count});
  return {};
}

namespace {

Status zip_into(const ConstView& a, const ConstView& b, const MutableView& out, BinaryRun run,
                const void* closure) {
  ONNXTOOL_ASSIGN(const auto walk,
                  device::strided_walk<2>({to_dims(out.dims),
                                           {broadcast_strides(a.dims, out.dims),
                                            broadcast_strides(b.dims, out.dims)}}));
  run(closure, {a.dtype, a.data, b.data, out.dtype, out.data, out.count, walk});
  return {};
}

}  // namespace

void binary_into(KernelContext&, const ConstView& a, const ConstView& b, const MutableView& dst,
                 bool, BinaryRun run, const void* closure) {
  if (Status s = zip_into(a, b, dst, run, closure); !s.ok())
    device::note_error(-1, "a shape of too many axes");
}

Status run_binary(KernelContext& ctx, const ConstView& a, const ConstView& b, DataType result, bool,
                  BinaryRun run, const void* closure) {
  if (a.dtype != b.dtype)
    return bad_model("inputs have element types " + std::string(name(a.dtype)) + " and " +
                     std::string(name(b.dtype)) + ", expected equal ones");
  ONNXTOOL_ASSIGN(const Dims dims, broadcast_dims({a.dims, b.dims}));
  const bool same_size = size_bytes_of(result, 1) == size_bytes_of(a.dtype, 1);
  const bool reuse_a = same_size && std::ranges::equal(a.dims, dims),
             reuse_b = same_size && std::ranges::equal(b.dims, dims);
  ONNXTOOL_ASSIGN(const MutableView out, reuse_a   ? ctx.output_in_place(0, 0, result, dims)
                                         : reuse_b ? ctx.output_in_place(0, 1, result, dims)
                                                   : ctx.output(0, result, dims));
  return zip_into(a, b, out, run, closure);
}

}  // namespace onnxtool
