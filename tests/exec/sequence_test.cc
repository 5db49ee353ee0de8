// Sequences, optionals and maps through the executor: what they share, and what hostile models say.
#include <doctest/doctest.h>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

Result<std::vector<Datum>> run_text(const std::string& text, std::vector<Datum> inputs) {
  ONNXTOOL_ASSIGN(const auto model, parse_text(text));
  (void)infer_graph(model->graph());
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  ONNXTOOL_ASSIGN(const auto plan, Plan::compile(model->graph(), options));
  RunContext context(plan);
  std::vector<Datum> first, second;
  ONNXTOOL_TRY(context.run_data(inputs, &first));
  ONNXTOOL_TRY(context.run_data(inputs, &second));  // nothing is left behind by the first
  CHECK(first.size() == second.size());
  return second;
}

Tensor vec(std::vector<float> v) {
  return Tensor::from<float>({static_cast<int64_t>(v.size())}, v);
}
Tensor at(int64_t i) { return Tensor::scalar(i); }
std::vector<float> floats(const Datum& d) { return d.tensor().values<float>(); }

std::string error_of(const std::string& text, std::vector<Datum> inputs) {
  const auto r = run_text(text, std::move(inputs));
  CHECK(!r.ok());
  return r.ok() ? "" : r.error().message;
}

constexpr const char* kEdit = R"(<ir_version: 10, opset_import: ["" : 21]>
g (seq(float[n]) s, float[n] x, int64 i) => (seq(float[n]) t, seq(float[n]) u, float[n] y, int64 n) {
  t = SequenceInsert (s, x, i)   u = SequenceErase (t, i)   y = SequenceAt (t, i)   n = SequenceLength (u)
})";

}  // namespace

TEST_CASE("sequences: what one operator changes, others that read it do not see") {
  const Datum s = Datum::sequence({vec({1}), vec({2})});
  const auto out = run_text(kEdit, {s, vec({7}), at(-1)});
  REQUIRE(out.ok());
  REQUIRE((*out)[0].items().size() == 3);
  CHECK(floats((*out)[0].items()[1]) == std::vector<float>{7});
  // -1 counts from the end of the longer sequence: the insertion stood before its last element.
  CHECK((*out)[1].items().size() == 2);
  CHECK(floats((*out)[2]) == std::vector<float>{2});
  CHECK((*out)[3].tensor().to_ints() == std::vector<int64_t>{2});
  CHECK(s.items().size() == 2);
}

TEST_CASE(
    "sequences: positions out of range, and tensors where sequences are expected, are errors") {
  const Datum s = Datum::sequence({vec({1})});
  CHECK(error_of(kEdit, {s, vec({7}), at(2)})
            .find("position 2 is out of range for a sequence of 1") != std::string::npos);
  CHECK(error_of(kEdit, {s, vec({7}), at(-2)}).find("position -2 is out of range") !=
        std::string::npos);
  CHECK(error_of(kEdit, {vec({1}), vec({7}), at(0)}).find("is a tensor, expected a sequence") !=
        std::string::npos);
  CHECK(error_of(kEdit, {s, s, at(0)}).find("is a sequence, expected a tensor") !=
        std::string::npos);
  CHECK(error_of(kEdit, {s, vec({7}), vec({0})}).find("expected one integer") != std::string::npos);
  CHECK(error_of(R"(<ir_version: 10, opset_import: ["" : 21]> g (float[n] x) => (float[n] y) {
    s = SequenceConstruct (x)   y = Relu (s) })",
                 {vec({1})})
            .find("a sequence stands where a tensor is expected") != std::string::npos);
}

TEST_CASE("sequences: SplitToSequence cuts along an axis and ConcatFromSequence joins") {
  constexpr const char* kSplit =
      R"(<ir_version: 10, opset_import: ["" : 21]> g (float[2, 3] x, int64[n] s) => (seq(float[a, b]) t, float[c, d] y) {
    t = SplitToSequence <axis = -1> (x, s)   y = ConcatFromSequence <axis = 1> (t) })";
  const Tensor x = Tensor::from<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const auto out = run_text(kSplit, {x, Tensor::vector<int64_t>({2, 0, 1})});
  REQUIRE(out.ok());
  REQUIRE((*out)[0].items().size() == 3);
  CHECK(floats((*out)[0].items()[0]) == std::vector<float>{1, 2, 4, 5});
  CHECK((*out)[0].items()[1].tensor().dims() == std::vector<int64_t>{2, 0});
  CHECK(floats((*out)[1]) == floats(x));
  CHECK(error_of(kSplit, {x, Tensor::vector<int64_t>({2})}).find("leaves 1 of an extent of 3") !=
        std::string::npos);
  CHECK(
      error_of(kSplit, {x, Tensor::vector<int64_t>({5, -2})}).find("does not fit an extent of 3") !=
      std::string::npos);
  CHECK(error_of(kSplit, {x, Tensor::vector<int64_t>({})}).find("leaves 3") != std::string::npos);
}

TEST_CASE("sequences: extents without elements make no endless ones") {
  const Tensor x = Tensor::from<float>({int64_t{1} << 40, 0}, std::vector<float>());
  CHECK(
      error_of(
          R"(<ir_version: 10, opset_import: ["" : 21]> g (float[n, m] x) => (seq(float[a, b]) t) { t = SplitToSequence (x) })",
          {x})
          .find("a sequence would have 1099511627776 elements") != std::string::npos);
  CHECK(
      error_of(
          R"(<ir_version: 10, opset_import: ["" : 21]> g (float[n, m] x, int64 s) => (seq(float[a, b]) t) { t = SplitToSequence (x, s) })",
          {x, at(2)})
          .find("a sequence would have") != std::string::npos);
  CHECK(error_of(R"(<ir_version: 10, opset_import: ["" : 21]> g (float[n, m] x) => (float[n, m] y) {
    y = Scan <num_scan_inputs = 1, body = b (float[m] v) => (float[m] w) { w = Neg (v) }> (x) })",
                 {x})
            .find("a sequence of 1099511627776 steps") != std::string::npos);
}

TEST_CASE("sequences: a loop grows one, in time that does not depend on its length squared") {
  // Copying the sequence in each of 20000 iterations would move 200 million elements.
  const auto out = run_text(
      R"(<ir_version: 10, opset_import: ["" : 21]> g (int64 trips, float[1] x) => (int64 n, float[m] y) {
    none = SequenceEmpty ()
    c = Constant <value = bool {1}> ()
    s = Loop (trips, c, none) <body = b (int64 i, bool go, seq(float[1]) t) => (bool more, seq(float[1]) u) {
      more = Identity (go)   u = SequenceInsert (t, x) }>
    n = SequenceLength (s)   y = ConcatFromSequence <axis = 0> (s) })",
      {at(20000), vec({3})});
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message));
  CHECK((*out)[0].tensor().to_ints()[0] == 20000);
  CHECK((*out)[1].tensor().count() == 20000);
}

TEST_CASE("optionals: an empty one has no element") {
  constexpr const char* kHas =
      R"(<ir_version: 10, opset_import: ["" : 21]> g (optional(float[n]) o) => (bool b) { b = OptionalHasElement (o) })";
  CHECK((*run_text(kHas, {Datum()}))[0].tensor().to_ints()[0] == 0);
  CHECK((*run_text(kHas, {vec({1})}))[0].tensor().to_ints()[0] == 1);
  constexpr const char* kGet =
      R"(<ir_version: 10, opset_import: ["" : 21]> g (optional(float[n]) o) => (float[n] y) { t = OptionalGetElement (o)  y = Neg (t) })";
  CHECK(floats((*run_text(kGet, {vec({1})}))[0]) == std::vector<float>{-1});
  CHECK(error_of(kGet, {Datum()}).find("the optional holds nothing") != std::string::npos);
}

TEST_CASE("maps: rows become maps, and maps rows") {
  const auto zipped = run_text(
      R"(<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 1]> g (float[n, 2] x) => (seq(map(string, float)) y) {
    y = ai.onnx.ml.ZipMap <classlabels_strings = ["a", "b"]> (x) })",
      {Tensor::from<float>({2, 2}, std::vector<float>{1, 2, 3, 4})});
  REQUIRE_MESSAGE(zipped.ok(), (zipped.ok() ? "" : zipped.error().message));
  const Datum& second = (*zipped)[0].items()[1];
  CHECK(second.keys().strings() == std::vector<std::string>{"a", "b"});
  CHECK(second.values().values<float>() == std::vector<float>{3, 4});
  constexpr const char* kVector =
      R"(<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 1]> g (map(string, float) m) => (float[1, n] y) {
    y = ai.onnx.ml.DictVectorizer <string_vocabulary = ["z", "b", "b"]> (m) })";
  CHECK(floats((*run_text(kVector, {second}))[0]) == std::vector<float>{0, 4, 4});
  const Datum numbered = Datum::map(Tensor::vector<int64_t>({3, 1}), vec({30, 10}));
  CHECK(error_of(kVector, {numbered}).find("differ in type") != std::string::npos);
  const auto cast = [&](const std::string& attributes) {
    return run_text(
        "<ir_version: 10, opset_import: [\"\" : 21, \"ai.onnx.ml\" : 1]> g (map(int64, float) m) "
        "=> (float[1, n] y) { y = ai.onnx.ml.CastMap <" +
            attributes + "> (m) }",
        {numbered});
  };
  CHECK(floats((*cast("map_form = \"DENSE\""))[0]) == std::vector<float>{10, 30});
  CHECK(floats((*cast("map_form = \"SPARSE\", max_map = 3"))[0]) == std::vector<float>{0, 10, 0});
  CHECK(!cast("map_form = \"SPARSE\", max_map = -3").ok());
}

}  // namespace onnxtool
