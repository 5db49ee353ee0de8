// Reads testdata/exec/operators.txt: what random models are made of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool::testing {

/// One input of a recipe. Dims, range and values are text: extents are drawn for each use.
struct RecipeInput {
  std::string type, dims, low, high, values;
  bool is_absent = false;    // always
  bool is_optional = false;  // absent half of the time
  bool is_constant = false;  // an initializer always, not only sometimes
};

struct Recipe {
  struct Operator {
    std::string domain, op;
  };
  int line = 0;
  std::vector<Operator> operators;
  int first_opset = 13, last_opset = 1 << 20;
  std::vector<RecipeInput> inputs;
  std::string attributes, body;
  int outputs = 1;
  std::map<std::string, std::string> settings;  // text of alternatives, or LOW..HIGH
};

Result<std::vector<Recipe>> read_recipes(const std::filesystem::path& file);

using Random = std::mt19937;
/// In [low, high].
int64_t draw(Random& random, int64_t low, int64_t high);

/// Parts of `text` between separators outside brackets, without the spaces around them.
std::vector<std::string> split_outside_brackets(std::string_view text, char separator);

/// What letters and settings stand for in one use of a recipe.
class Meanings {
 public:
  /// Draws the settings.
  Meanings(const Recipe& recipe, Random& random);
  /// Replaces $(a|b), $(A*B), $A and $SETTING. What is no arithmetic stays text.
  std::string expand(const std::string& text);
  /// The value of arithmetic over extents, which are drawn as they are met; nullopt: it is none.
  std::optional<int64_t> value(const std::string& text);
  /// Binds an extent unless it is bound; false where it is bound to something else.
  bool bind(const std::string& letter, int64_t extent);
  bool is_extent(const std::string& text) const;
  void set_large(bool large) { large_ = large; }
  const std::string* setting(const std::string& name) const;
  void set(const std::string& name, std::string text) { text_[name] = std::move(text); }

 private:
  int64_t extent(const std::string& letter);

  Random& random_;
  bool large_ = true;
  std::map<std::string, std::string> text_;
  std::map<std::string, int64_t> extents_;
};

}  // namespace onnxtool::testing
