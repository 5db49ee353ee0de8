// Models that are quantized already, with scales that mean nothing.

#include "quant/given_codes.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

Status checked(const std::string& scale, const std::string& axis = "") {
  const auto model = testing::parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (bool k, float[4,4] x) => (float y) "
      "<float s = {" +
      scale + "}, uint8 z = {128}, int8[4,4] w = {" +
      "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, float[4] t = {1.0, 2.0, 3.0, 4.0}> "
      "{ d = DequantizeLinear " +
      axis +
      " (w, t) y = If (k) <then_branch = a () => (float p) { q = QuantizeLinear (x, s, z) "
      "p = DequantizeLinear (q, s, z) }, else_branch = b () => (float r) { r = MatMul (x, d) }> }");
  return check_given_codes(*model);
}

TEST_CASE("given codes: scales are finite and not zero, also in bodies; axes lie in their tensor") {
  CHECK(checked("0.5").ok());
  CHECK(checked("0.5", "<axis = 0>").ok());
  CHECK(checked("0.5", "<axis = -2>").ok());
  const Status zero = checked("0.0");
  REQUIRE(!zero.ok());
  CHECK(zero.error().message.find("the scale holds zero") != std::string::npos);
  CHECK(zero.error().code == ErrorCode::kBadData);
  CHECK(!checked("inf").ok());
  CHECK(!checked("nan").ok());
  const Status axis = checked("0.5", "<axis = 9>");
  REQUIRE(!axis.ok());
  CHECK(axis.error().message.find("axis is 9, but 'w' has rank 2") != std::string::npos);
}

}  // namespace
}  // namespace onnxtool
