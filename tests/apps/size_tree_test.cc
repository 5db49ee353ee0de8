// Bytes of constants by the parts of their names.
#include "apps/size_tree.h"

#include <doctest/doctest.h>

namespace onnxtool {
namespace {

std::string text_of(const Table& t) {
  std::string out;
  for (const auto& row : t.rows)
    out += std::get<std::string>(row[0]) + " " + std::to_string(std::get<int64_t>(row[1])) + " " +
           std::to_string(std::get<int64_t>(row[3])) + "\n";
  return out;
}

const Treemap kSizes{"",
                     "",
                     {{"net/encoder/0/w", 60},
                      {"net/encoder/0/b", 4},
                      {"net/encoder/1/w", 30},
                      {"head/linear/w", 5},
                      {"alone", 1}}};

TEST_CASE("parts are summed, largest first, and chains of one are joined") {
  const auto tables = size_tree(kSizes, 10);
  REQUIRE(tables.size() == 2);
  CHECK(text_of(tables[0]) == "net/encoder 94 3\n  0 64 2\n  1 30 1\nhead/linear 5 1\n");
  CHECK(text_of(tables[1]) ==
        "net/encoder 94 3\nnet/encoder/0 64 2\nnet/encoder/1 30 1\nhead/linear 5 1\n");
  CHECK(std::get<double>(tables[1].rows[0][2]) == 94);
  CHECK_FALSE(tables[0].for_programs);
  CHECK_FALSE(tables[1].for_people);
}

TEST_CASE("people see what finds room") {
  CHECK(text_of(size_tree(kSizes, 3)[0]) == "net/encoder 94 3\nhead/linear 5 1\n");
  CHECK(text_of(size_tree(kSizes, 0)[0]) == text_of(size_tree(kSizes, 10)[0]));
}

TEST_CASE("names without parts make no table") {
  CHECK(size_tree({"", "", {{"a", 1}, {"b", 2}, {"/", 3}, {"", 4}}}, 10).empty());
  CHECK(size_tree({}, 10).empty());
}

TEST_CASE("names that are all parts are cut at some depth") {
  std::string path;
  for (int i = 0; i < 10000; ++i) path += "p/";
  const auto tables = size_tree({"", "", {{path + "a", 1}, {path + "b", 1}, {"q/c", 1}}}, 10);
  REQUIRE(tables.size() == 2);
  CHECK(tables[1].rows.size() == 2);
}

}  // namespace
}  // namespace onnxtool
