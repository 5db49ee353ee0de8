// BitCast-26: the same bits under another element type of the same width.

#include <cstring>

#include "calib/kernels/cpu/common.h"

namespace onnxtool {
namespace {

Status run(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const auto to = static_cast<DataType>(ctx.node().attr_int("to", 0));
  if (x.dtype == DataType::kString || bits_of(to) == 0 || bits_of(to) != bits_of(x.dtype))
    return bad_model(std::string(name(x.dtype)) + " and " + std::string(name(to)) +
                     " have no common width");
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, to, x.dims));
  if (y.count > 0) std::memcpy(y.data, x.data, size_bytes_of(to, static_cast<uint64_t>(y.count)));
  return {};
}

}  // namespace

constinit const KernelInfo kBitCast{.op = "BitCast", .prepare = needs_inputs<1>, .run = run};

}  // namespace onnxtool
