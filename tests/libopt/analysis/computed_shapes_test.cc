// Shapes that models compute from shapes: what exporters write around Reshape, Slice, Pad, Range
// and If.
#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

// Of y, which `body` computes from x: float[n, 3, 8, 8], s: float[2, 3, 8, 8], i: int64[2].
std::string made(const std::string& body) {
  auto model = parse_text(
      "<ir_version: 10, opset_import: [\"\" : 21]> g (float[n, 3, 8, 8] x, float[2, 3, 8, 8] s, "
      "int64[2] i) => (y) " +
      body);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  const Status status = infer_graph((*model)->graph());
  CHECK_MESSAGE(status.ok(), (status.ok() ? "" : status.error().message));
  return format_type((*model)->graph().find("y")->type());
}

TEST_CASE("computed shapes: ConstantOfShape fills tensors of numbers that shapes are made of") {
  // ones(2) * -1, as torch's Expand has it.
  CHECK(made("<int64[1] two = {2}, int64 minus = {-1}, int64[2] t = {3, -1}, float[3, 1] row = {0, "
             "0, 0}, int64[2] w = {3, 4}> { o = ConstantOfShape <value = int64[1] {1}> (two)  m = "
             "Mul (o, minus)  e = Equal (t, m)  k = Where (e, o, t)  y = Expand (row, k) }") ==
        "float[3, 1]");
  // Without a value they are floats, and a vector too long is data.
  CHECK(made("<int64[1] two = {2}> { o = ConstantOfShape (two)  c = Cast <to = 7> (o)  y = Reshape "
             "(s, c) }") == "float[?, ?]");
}

TEST_CASE("computed shapes: ConstantOfShape fills with text, whatever its result is declared as") {
  for (const char* value : {"string[1] {\"a\"}", "float[1] {2}", "uint8[1] {2}"}) {
    auto model = parse_text(
        std::string(
            "<ir_version: 10, opset_import: [\"\" : 21]> g (float[2, 3] x) => (y) <int64[1] "
            "s = {2}, int64[2] f> { f = ConstantOfShape <value = ") +
        value + "> (s)  y = Reshape (x, f) }");
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
    // A contradiction may be reported; no number may be made of it.
    const bool ok = infer_graph((*model)->graph()).ok();
    if (ok) CHECK(format_type((*model)->graph().find("y")->type()) != "float[2, 2]");
  }
}

TEST_CASE("computed shapes: Slice by computed numbers") {
  const std::string head =
      "<int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}, int64[1] axis = {3}, "
      "int64[1] back = {-2}, int64[1] low = {-100}> { d = Shape <start = 3> (s)  h = Div (d, four) "
      "  m = Sub (zero, h) ";
  CHECK(made(head + "y = Slice (s, zero, h, axis) }") == "float[2, 3, 8, 2]");
  CHECK(made(head + "y = Slice (s, m, d, axis) }") == "float[2, 3, 8, 2]");
  CHECK(made(head + "y = Slice (s, h, m, axis) }") == "float[2, 3, 8, 4]");
  CHECK(made(head + "y = Slice (s, d, h, axis) }") == "float[2, 3, 8, 0]");
  CHECK(made(head + "y = Slice (s, m, low, axis, back) }") == "float[2, 3, 8, 4]");
  CHECK(made(head + "k = Add (h, one)  y = Slice (s, zero, d, axis, k) }") == "float[2, 3, 8, 3]");
  // Of an extent that nobody knows a number is no more than a bound.
  CHECK(made(head + "y = Slice (x, zero, h, zero) }") == "float[?, 3, 8, 8]");
}

TEST_CASE("computed shapes: Pad by pads that are turned and reversed on their way") {
  const std::string head =
      "<int64[4] p = {1, 2, 0, 3}, int64[1] four = {4}, int64[2] pairs = {-1, 2}, int64[1] m = "
      "{-1}, int64[1] low = {-10000}, int64[1] zero = {0}> { r = ConstantOfShape <value = int64[1] "
      "{0}> (four)  c = Concat <axis = 0> (p, r)  q = Reshape (c, pairs)  b = Slice (q, m, low, "
      "zero, m)  t = Transpose <perm = [1, 0]> (b)  f = Reshape (t, m) ";
  // The last axis gets 1 and 2, the one before 0 and 3.
  CHECK(made(head + "y = Pad (s, f) }") == "float[2, 3, 11, 11]");
  CHECK(made(head + "y = Pad (x, f) }") == "float[n, 3, 11, 11]");
}

TEST_CASE("computed shapes: a declared matrix that holds other elements is not taken apart") {
  const auto turned = [](const std::string& declared, const std::string& constant) {
    auto model = parse_text(
        "<ir_version: 10, opset_import: [\"\" : 21]> g (float[2, 3] x) => (y) <int64[1] m = "
        "{-1}, " +
        declared + " c> { " + constant +
        " t = Transpose <perm = [1, 0]> (c)  f = Reshape (t, m)  y = Reshape (x, f) }");
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
    // A contradiction may be reported; only out of bounds nothing may be read.
    if (!infer_graph((*model)->graph()).ok()) return std::string("refused");
    return format_type((*model)->graph().find("y")->type());
  };
  const std::string pair = "c = Constant <value = int64[2] {2, 3}> ()";
  CHECK(turned("int64[1000, 1000]", pair).find('2') == std::string::npos);
  CHECK(turned("int64[4294967297, 2]", pair).find('2') == std::string::npos);
  // Of no elements, however far the other axis goes.
  CHECK(turned("int64[0, 9223372036854775807]", "c = Constant <value = int64[0] {}> ()") !=
        "float[2, 3]");
  // Text where numbers are declared.
  CHECK(turned("int64[1, 1]", "c = Constant <value = string[1, 1] {\"a\"}> ()") != "float[2, 3]");
}

TEST_CASE("computed shapes: Range of computed numbers") {
  const std::string head =
      "<int64[1] three = {3}, int64 zero = {0}, int64 two = {2}, int64 none = {0}> { v = Shape "
      "<start = 3> (s)  e = Squeeze (v) ";
  CHECK(made(head + "y = Range (zero, e, two) }") == "int64[4]");
  CHECK(made(head + "m = Sub (zero, two)  y = Range (e, zero, m) }") == "int64[4]");
  CHECK(made(head + "y = Range (e, two, two) }") == "int64[0]");
}

TEST_CASE("computed shapes: what -1 leaves over, in numbers and by name") {
  const std::string head =
      "<int64[1] m = {-1}, int64[1] c = {192}, int64[1] five = {5}> { v = Shape <end = 1> (x)  w = "
      "Shape <end = 1> (s) ";
  CHECK(made(head + "t = Concat <axis = 0> (w, m)  y = Reshape (s, t) }") == "float[2, 192]");
  CHECK(made(head + "t = Concat <axis = 0> (m, c)  y = Reshape (x, t) }") == "float[n, 192]");
  CHECK(made(head + "t = Concat <axis = 0> (v, m)  y = Reshape (x, t) }") == "float[n, 192]");
  // 192 n elements in rows of 5: nobody knows whether that comes out even.
  CHECK(made(head + "t = Concat <axis = 0> (m, five)  y = Reshape (x, t) }") == "float[?, 5]");
}

TEST_CASE("computed shapes: If takes the branch that shapes decide on") {
  const auto branch = [](const std::string& test) {
    return made(
        "<int64 four = {4}, int64[1] zero = {0}, float[1, 5] row = {0, 0, 0, 0, 0}> { h = "
        "Shape (s)  r = Size (h)  e = Equal (r, four)  n = Not (e)  k = Cast <to = 7> (n)  "
        "b = Cast <to = 9> (k)  u = Shape <end = 1> (x)  o = Equal (u, zero)  y = If (" +
        test +
        ") <then_branch = t () => (f) { f = Squeeze (row, zero) }, else_branch = l () => "
        "(g) { g = Identity (row) }> }");
  };
  CHECK(branch("e") == "float[5]");
  CHECK(branch("n") == "float[1, 5]");
  CHECK(branch("b") == "float[1, 5]");
  CHECK(branch("o") == "float[...]");
}

// Of y, which `body` computes from x: float[n, 3, h, w].
std::string behind_window(const std::string& body) {
  auto model = parse_text(
      "<ir_version: 10, opset_import: [\"\" : 21]> g (float[n, 3, h, w] x, float[4, 3, 3, 3] a, "
      "float[3, 4, 2, 2] b, float[4, 3, 2, 2] c) => (y) " +
      body);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  CHECK(infer_graph((*model)->graph()).ok());
  return format_type((*model)->graph().find("y")->type());
}

TEST_CASE("computed shapes: windows over open extents") {
  CHECK(behind_window("{ y = Conv <pads = [1,1,1,1]> (x, a) }") == "float[n, 4, h, w]");
  CHECK(behind_window("{ y = Conv <pads = [0,4,0,4], dilations = [1,4]> (x, a) }") ==
        "float[n, 4, ?, w]");
  CHECK(behind_window("{ y = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (x) }") ==
        "float[n, 3, h, w]");
  // 2 h, and half of that.
  const std::string doubled = "{ t = ConvTranspose <strides = [2,2]> (x, b)  y = ";
  CHECK(behind_window(doubled + "AveragePool <kernel_shape = [2,2], strides = [2,2]> (t) }") ==
        "float[n, 4, h, w]");
  CHECK(behind_window(doubled + "MaxPool <kernel_shape = [1,1], strides = [2,2]> (t) }") ==
        "float[n, 4, h, w]");
  CHECK(behind_window(doubled + "MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> "
                                "(t) }") == "float[n, 4, ?, ?]");
  // Half of h, rounded up, twice.
  CHECK(behind_window("{ t = Conv <strides = [2,2], pads = [1,1,1,1]> (x, a)  "
                      "y = ConvTranspose <strides = [2,2]> (t, c) }") == "float[n, 3, ?, ?]");
  CHECK(behind_window(
            "{ y = com.microsoft.FusedConv <activation = \"Relu\", pads = [1,1,1,1]> (x, a) }") ==
        "float[n, 4, h, w]");
  CHECK(behind_window("{ y = Conv <auto_pad = \"SAME_UPPER\"> (x, a) }") == "float[n, 4, ?, ?]");
}

}  // namespace
}  // namespace onnxtool
