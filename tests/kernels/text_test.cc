// Operators on strings.
#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

using Strings = std::vector<std::string>;

Tensor run_on(const std::string& op, int64_t opset, Tensor x, std::vector<Given> attributes) {
  const auto out =
      run_once({op, opset, {std::move(x)}, std::move(attributes)}, 1, cpu_kernel_set(), 1);
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message));
  return (*out)[0];
}

}  // namespace

TEST_CASE("StringNormalizer changes the case of letters beyond ASCII and keeps what is no UTF-8") {
  const Tensor x =
      Tensor::from_strings({4}, {"\xC3\x84rger", "\xD0\x96uk", "\xFFq\xE0\x80\x80", "Drop"});
  const Tensor y =
      run_on("StringNormalizer", 10, x,
             {{"case_change_action", std::string("LOWER")}, {"stopwords", Strings{"dROP"}}});
  CHECK(y.strings() == Strings{"\xC3\xA4rger", "\xD0\xB6uk", "\xFFq\xE0\x80\x80"});
  const Tensor none = run_on("StringNormalizer", 10, Tensor::from_strings({1, 1}, {"a"}),
                             {{"stopwords", Strings{"a"}}});
  CHECK(none.strings() == Strings{""});
  CHECK(none.dims() == Dims{1, 1});
  CHECK(mentions(
      error_of({"StringNormalizer", 10, {x}, {{"case_change_action", std::string("TITLE")}}}),
      "'TITLE'"));
}

TEST_CASE("StringSplit splits at white space or at a delimiter, so often at most") {
  const Tensor x = Tensor::from_strings({2}, {"  a b\t c ", ""});
  CHECK(run_on("StringSplit", 20, x, {}).strings() == Strings{"a", "b", "c", "", "", ""});
  CHECK(run_on("StringSplit", 20, x, {{"maxsplit", int64_t{1}}}).strings() ==
        Strings{"a", "b\t c", "", ""});
  CHECK(run_on("StringSplit", 20, Tensor::from_strings({}, {"a--b-"}),
               {{"delimiter", std::string("-")}})
            .strings() == Strings{"a", "", "b", ""});
}

TEST_CASE("StringSplit refuses to give every string as many parts as the longest, without end") {
  Strings texts(8192);
  for (int i = 0; i < 8192; ++i) texts[0] += "a ";
  const auto out = run_once({"StringSplit", 20, {Tensor::from_strings({8192}, texts)}, {}, 2}, 1,
                            cpu_kernel_set(), 1);
  REQUIRE(!out.ok());
  CHECK(out.error().code == ErrorCode::kLimit);
  CHECK(mentions(out.error().message, "[8192, 8192], more elements than StringSplit's 33554432"));
}

TEST_CASE(
    "RegexFullMatch: patterns that would hang a backtracking matcher do not, and bad ones are "
    "errors") {
  const Tensor x = Tensor::from_strings({2}, {std::string(50000, 'a') + "b", "aa"});
  CHECK(run_on("RegexFullMatch", 20, x, {{"pattern", std::string("(a*)*")}}).to_ints() ==
        Dims{0, 1});
  CHECK(mentions(error_of({"RegexFullMatch", 20, {x}, {{"pattern", std::string("(")}}}),
                 "is no regular expression"));
  CHECK(mentions(error_of({"RegexFullMatch", 20, {x}, {{"pattern", std::string("a{1000}{1000}")}}}),
                 "is no regular expression"));
}

TEST_CASE("TfIdfVectorizer weighs, and refuses pools that do not fit") {
  OneNode node{"TfIdfVectorizer",
               9,
               {Tensor::from_strings({5}, {"a", "b", "a", "b", "zz"})},
               {{"mode", std::string("TFIDF")},
                {"min_gram_length", int64_t{1}},
                {"max_gram_length", int64_t{2}},
                {"max_skip_count", int64_t{0}},
                {"pool_strings", Strings{"b", "a", "b"}},
                {"ngram_counts", Dims{0, 1}},
                {"ngram_indexes", Dims{2, 0}},
                {"weights", std::vector<float>{0.5f, 10}}}};
  const auto run = [&] {
    const auto out = run_once(node, 1, cpu_kernel_set(), 1);
    REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message));
    return doubles<float>((*out)[0]);
  };
  CHECK(run() == std::vector<double>{20, 0, 1});
  node.attributes[0].second = std::string("IDF");
  CHECK(run() == std::vector<double>{10, 0, 0.5});
  node.attributes[3].second = std::numeric_limits<int64_t>::max();
  node.attributes[2].second = std::numeric_limits<int64_t>::max();
  CHECK(run() == std::vector<double>{10, 0, 0.5});
  node.attributes[5].second = Dims{0, 2};
  CHECK(mentions(error_of(node), "does not fit a pool of 3"));
  node.attributes[5].second = Dims{0, 1};
  node.attributes[6].second = Dims{2, int64_t{1} << 50};
  CHECK(mentions(error_of(node), "ngram_indexes has"));
  node.attributes[6].second = Dims{2, (int64_t{1} << 22) - 1};
  node.inputs[0] = Tensor::from_strings({65, 1}, Strings(65));
  CHECK(mentions(error_of(node), "[65, 4194304], more elements than TfIdfVectorizer's 268435456"));
}

TEST_CASE(
    "NonZero finds strings that are not empty, and complex numbers of which a part is not 0") {
  const Tensor found = run_on("NonZero", 13, Tensor::from_strings({2, 2}, {"", "a", "0", ""}), {});
  CHECK(found.dims() == Dims{2, 2});
  CHECK(found.to_ints() == Dims{0, 1, 1, 0});
  const std::vector<float> parts = {0, 0, 0, -1, 2, 0, -0.0f, 0};
  std::vector<std::byte> bytes(parts.size() * sizeof(float));
  std::memcpy(bytes.data(), parts.data(), bytes.size());
  CHECK(run_on("NonZero", 13, Tensor::from_bytes(DataType::kComplex64, {4}, bytes), {}).to_ints() ==
        Dims{1, 2});
}

}  // namespace onnxtool::testing
