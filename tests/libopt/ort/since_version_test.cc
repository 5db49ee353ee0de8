// What ONNX Runtime registers, against facts read from files that it wrote itself.

#include "libopt/ort/since_version.h"

#include <doctest/doctest.h>

#include <string>

#include "libopt/analysis/seam.h"
#include "libopt/ort/cpu_kernel.h"

namespace onnxtool {
namespace {

int since(std::string_view op, int64_t opset, std::string_view domain = "") {
  return ort_since_version(domain, op, opset).value_or(-1);
}

/// `T:I0,O0 shape:I1`.
std::string type_args(std::string_view op, int64_t opset, std::string_view domain = "") {
  std::string text;
  for (const OrtTypeArgs& args : ort_type_args(*find_ort_schema(domain, op, opset))) {
    text += (text.empty() ? "" : " ") + std::string(args.name) + ":";
    for (const int i : args.inputs) text += "I" + std::to_string(i);
    for (const int i : args.outputs) text += "O" + std::to_string(i);
  }
  return text;
}

CpuKernel kernel(const std::string& declaration, const std::string& node, int opset = 17) {
  auto model =
      parse_text("<ir_version: 8, opset_import: [\"\" : " + std::to_string(opset) +
                 ", \"com.microsoft\" : 1]> g (" + declaration + " x) => (y) { y = " + node + " }");
  INFO(node);
  REQUIRE(model.ok());
  return find_cpu_kernel(*(*model)->graph().nodes().begin());
}

}  // namespace

TEST_CASE("ort operators: the version that a model's opset selects") {
  CHECK(since("Reshape", 21) == 21);
  CHECK(since("Mul", 21) == 14);
  CHECK(since("Conv", 10) == 1);
  CHECK(since("Conv", 11) == 11);
  CHECK(since("Conv", 0) == -1);
  CHECK(since("Conv", 11, "ai.onnx") == 11);
  CHECK(since("Normalizer", 3, "ai.onnx.ml") == 1);
  CHECK(since("FusedConv", 1, "com.microsoft") == 1);
  CHECK(since("LayerNormalization", 16) == 1);  // before the standard has it
  CHECK(since("Upsample", 9) == 9);
  CHECK(since("Upsample", 10) == -1);  // deprecated
  CHECK(since("Scatter", 11) == -1);
  CHECK(since("Conw", 21) == -1);
  CHECK(since("Conv", 21, "org.example") == -1);
}

TEST_CASE("ort operators: kernel type strings") {
  CHECK(type_args("Reshape", 21) == "T:I0O0 shape:I1");
  CHECK(type_args("Slice", 11) == "T:I0O0 Tind:I1I2I3I4");
  CHECK(type_args("Loop", 11) == "B:I1 I:I0 V:I2O0");
  CHECK(type_args("DequantizeLinear", 13) == "T:I0I2 x_scale:I1 y:O0");
  CHECK(type_args("QLinearConv", 10) ==
        "T1:I0I2 T2:I3I5 T3:I7O0 T4:I8 w_scale:I4 x_scale:I1 y_scale:I6");
  CHECK(type_args("ZipMap", 1, "ai.onnx.ml") == "T:O0 X:I0");
  CHECK(type_args("QLinearAdd", 1, "com.microsoft") ==
        "A_scale:I1 B_scale:I4 C_scale:I6 T:I0I2I3I5I7O0");
}

TEST_CASE("ort operators: default attributes are exact") {
  const std::vector<Attribute> selu = ort_default_attributes(*find_ort_schema("", "Selu", 21));
  REQUIRE(selu.size() == 2);
  CHECK(selu[0].name == "alpha");
  CHECK(*selu[0].get<float>() == 1.67326319217681884765625f);
  const std::vector<Attribute> rnn = ort_default_attributes(*find_ort_schema("", "RNN", 14));
  REQUIRE(rnn.size() >= 2);
  CHECK(*rnn[0].get<std::vector<std::string>>() == std::vector<std::string>{"Tanh", "Tanh"});
  CHECK(ort_default_attributes(*find_ort_schema("", "Mul", 21)).empty());
}

TEST_CASE("ort operators: every default can be read and every version is found") {
  // Sortedness is what the lookup rests on.
  for (int64_t opset = 1; opset <= 27; ++opset)
    for (const char* op :
         {"Abs", "Xor", "Cast", "ConvTranspose", "Identity", "If", "Where", "Gemm"})
      if (const OrtSchema* schema = find_ort_schema("", op, opset)) {
        CHECK(schema->op == op);
        CHECK(schema->since_version <= opset);
        for (const Attribute& a : ort_default_attributes(*schema)) CHECK(!a.name.empty());
      }
}

TEST_CASE("ort operators: kernels of the CPU provider") {
  CHECK(kernel("float[2]", "Elu (x)") == CpuKernel::kRuns);
  CHECK(kernel("float16[2]", "Elu (x)") == CpuKernel::kOtherTypes);
  CHECK(kernel("float16[2]", "Clip (x)") == CpuKernel::kRuns);
  CHECK(kernel("float[2]", "HardSwish (x)") == CpuKernel::kNone);  // a function that is expanded
  CHECK(kernel("float[2]", "Constant <value_float = 1.0> ()") == CpuKernel::kNone);
  CHECK(kernel("float[2]", "Relu (x)", 1) == CpuKernel::kNone);  // older than every kernel
  CHECK(kernel("float[2]", "Conw (x)") == CpuKernel::kNoOperator);
  CHECK(kernel("float[2]", "com.microsoft.QuickGelu (x)") == CpuKernel::kRuns);
  CHECK(kernel("seq(float[2])", "SequenceLength (x)") == CpuKernel::kRuns);
}
}  // namespace onnxtool
