#include "tests/support/recipes.h"

#include <algorithm>
#include <cctype>
#include <fstream>

namespace onnxtool::testing {
namespace {

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

size_t closing(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    depth += text[i] == '(';
    if (text[i] == ')' && --depth == 0) return i;
  }
  return text.size();
}

Result<RecipeInput> read_input(std::string text) {
  RecipeInput in;
  if (text == "_") {
    in.is_absent = true;
    return in;
  }
  for (; !text.empty() && (text[0] == '?' || text[0] == '!'); text.erase(0, 1))
    (text[0] == '?' ? in.is_optional : in.is_constant) = true;
  if (const size_t at = text.find(" = {"); at != std::string::npos) {
    in.values = text.substr(at + 4, text.rfind('}') - at - 4);
    in.is_constant = true;
    text.resize(at);
  } else if (const size_t range = text.find(" in "); range != std::string::npos) {
    const size_t dots = text.find("..", range);
    if (dots == std::string::npos) return Error{ErrorCode::kBadData, "a range has no '..'", {}};
    in.low = text.substr(range + 4, dots - range - 4);
    in.high = text.substr(dots + 2);
    text.resize(range);
  }
  const size_t open = text.find('[');
  if (open == std::string::npos) return Error{ErrorCode::kBadData, "an input has no dims", {}};
  in.type = trimmed(text.substr(0, open));
  in.dims = text.substr(open + 1, text.rfind(']') - open - 1);
  return in;
}

// NAME=TEXT, ...: a name begins a setting, whatever commas its text has.
void read_settings(std::string_view text, Recipe& recipe) {
  std::string name;
  for (const std::string& part : split_outside_brackets(text, ',')) {
    const size_t at = part.find('=');
    if (at == std::string::npos) {
      recipe.settings[name] += "," + part;
      continue;
    }
    name = part.substr(0, at);
    recipe.settings[name] = part.substr(at + 1);
  }
  if (const auto out = recipe.settings.find("out"); out != recipe.settings.end())
    recipe.outputs = std::stoi(out->second);
}

void read_operators(const std::string& head, Recipe& recipe) {
  for (const std::string& word : split_outside_brackets(head, ' ')) {
    if (word.empty()) continue;
    if (std::isdigit(static_cast<unsigned char>(word[0])) != 0) {
      recipe.first_opset = recipe.last_opset = std::stoi(word);
      if (const size_t dots = word.find(".."); dots != std::string::npos)
        recipe.last_opset = dots + 2 < word.size() ? std::stoi(word.substr(dots + 2)) : (1 << 20);
      continue;
    }
    const std::map<std::string, std::string> domains = {
        {"ms.", "com.microsoft"}, {"ml.", "ai.onnx.ml"}, {"tr.", "ai.onnx.preview.training"}};
    const auto domain = domains.find(word.substr(0, 3));
    recipe.operators.push_back(domain == domains.end()
                                   ? Recipe::Operator{"", word}
                                   : Recipe::Operator{domain->second, word.substr(3)});
  }
}

// `+ - * /` over extents and numbers, without precedence but that of * and /.
class Arithmetic {
 public:
  Arithmetic(const std::string& text, std::function<int64_t(const std::string&)> extent)
      : text_(text), extent_(std::move(extent)) {}
  std::optional<int64_t> value() {
    const int64_t v = sum();
    return valid_ && at_ == text_.size() ? std::optional(v) : std::nullopt;
  }

 private:
  bool takes(char c) { return at_ < text_.size() && text_[at_] == c && ++at_ > 0; }
  int64_t sum() {
    int64_t v = takes('-') ? -product() : product();
    while (valid_)
      if (takes('+'))
        v += product();
      else if (takes('-'))
        v -= product();
      else
        break;
    return v;
  }
  int64_t product() {
    int64_t v = factor();
    while (valid_)
      if (takes('*')) {
        v *= factor();
      } else if (takes('/')) {
        const int64_t by = factor();
        v = by == 0 ? 0 : v / by;
      } else {
        break;
      }
    return v;
  }
  int64_t factor() {
    if (takes('(')) {
      const int64_t v = sum();
      valid_ = valid_ && takes(')');
      return v;
    }
    const size_t start = at_;
    while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
    if (at_ > start && at_ - start < 10) return std::stoll(text_.substr(start, at_ - start));
    if (at_ < text_.size() && std::isupper(static_cast<unsigned char>(text_[at_])) != 0)
      return extent_(std::string(1, text_[at_++]));
    valid_ = false;
    return 0;
  }

  const std::string& text_;
  std::function<int64_t(const std::string&)> extent_;
  size_t at_ = 0;
  bool valid_ = true;
};

bool is_arithmetic(const std::string& text) {
  bool has_operand = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (std::isupper(c) != 0) {
      if (i + 1 < text.size() && std::isalpha(static_cast<unsigned char>(text[i + 1])) != 0)
        return false;  // a word
    } else if (std::isdigit(c) == 0 &&
               std::string_view("+-*/()").find(text[i]) == std::string::npos) {
      return false;
    }
    has_operand = has_operand || std::isalnum(c) != 0;
  }
  return has_operand;
}

}  // namespace

int64_t draw(Random& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, std::max(low, high))(random);
}

std::vector<std::string> split_outside_brackets(std::string_view text, char separator) {
  std::vector<std::string> parts;
  int depth = 0;
  size_t start = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    quoted = quoted != (text[i] == '"');
    if (quoted) continue;
    depth += text[i] == '(' || text[i] == '[' || text[i] == '{';
    depth -= text[i] == ')' || text[i] == ']' || text[i] == '}';
    if (text[i] != separator || depth != 0) continue;
    parts.push_back(trimmed(text.substr(start, i - start)));
    start = i + 1;
  }
  if (const std::string rest = trimmed(text.substr(start)); !rest.empty() || !parts.empty())
    parts.push_back(rest);
  return parts;
}

Result<std::vector<Recipe>> read_recipes(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) return Error{ErrorCode::kBadData, file.string() + " cannot be read", {}};
  std::vector<Recipe> recipes;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    const std::string place = file.string() + ":" + std::to_string(number);
    if (line[0] == ' ') {
      if (recipes.empty()) return Error{ErrorCode::kBadData, place + ": a body without recipe", {}};
      recipes.back().body += line + "\n";
      continue;
    }
    const size_t colon = line.find(" :");
    if (colon == std::string::npos) return Error{ErrorCode::kBadData, place + ": no ' :'", {}};
    Recipe recipe;
    recipe.line = number;
    read_operators(line.substr(0, colon), recipe);
    const auto parts = split_outside_brackets(line.substr(colon + 2), ';');
    if (!parts.empty())
      for (const std::string& input : split_outside_brackets(parts[0], ',')) {
        auto read = read_input(input);
        if (!read.ok()) return std::move(read).error().at(place);
        recipe.inputs.push_back(*std::move(read));
      }
    if (parts.size() > 1) recipe.attributes = parts[1];
    if (parts.size() > 2) read_settings(parts[2], recipe);
    recipes.push_back(std::move(recipe));
  }
  return recipes;
}

Meanings::Meanings(const Recipe& recipe, Random& random) : random_(random) {
  for (const auto& [name, text] : recipe.settings) {
    const size_t dots = text.find("..");
    if (dots != std::string::npos) {
      extents_[name] =
          draw(random, std::stoll(text.substr(0, dots)), std::stoll(text.substr(dots + 2)));
      continue;
    }
    const auto options = split_outside_brackets(text, '|');
    text_[name] =
        options[static_cast<size_t>(draw(random, 0, static_cast<int64_t>(options.size()) - 1))];
    if (name.size() == 1 && is_arithmetic(text_[name])) extents_[name] = std::stoll(text_[name]);
  }
}

int64_t Meanings::extent(const std::string& letter) {
  const auto [it, fresh] = extents_.try_emplace(letter, 0);
  if (fresh) {
    const int64_t kind = draw(random_, 0, 99);
    it->second = !large_ || kind < 55 ? draw(random_, 1, 4)
                 : kind < 80          ? draw(random_, 5, 17)
                 : kind < 97          ? draw(random_, 18, 70)
                                      : 0;
  }
  return it->second;
}

std::optional<int64_t> Meanings::value(const std::string& text) {
  if (!is_arithmetic(text)) return std::nullopt;
  return Arithmetic(text, [this](const std::string& letter) { return extent(letter); }).value();
}

bool Meanings::is_extent(const std::string& text) const {
  return text.size() == 1 && std::isupper(static_cast<unsigned char>(text[0])) != 0;
}

bool Meanings::bind(const std::string& letter, int64_t extent) {
  return extents_.try_emplace(letter, extent).first->second == extent;
}

const std::string* Meanings::setting(const std::string& name) const {
  const auto it = text_.find(name);
  return it == text_.end() ? nullptr : &it->second;
}

std::string Meanings::expand(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    std::string inner;
    if (text[i + 1] == '(') {
      const size_t end = closing(text, i + 1);
      const auto options = split_outside_brackets(text.substr(i + 2, end - i - 2), '|');
      if (!options.empty())
        inner = options[static_cast<size_t>(
            draw(random_, 0, static_cast<int64_t>(options.size()) - 1))];
      inner = expand(inner);
      i = end;
    } else {
      size_t end = i + 1;
      while (end < text.size() && std::isalnum(static_cast<unsigned char>(text[end])) != 0) ++end;
      inner = text.substr(i + 1, end - i - 1);
      i = end - 1;
      if (const std::string* named = setting(inner)) inner = *named;
    }
    const auto number = value(inner);
    out += number ? std::to_string(*number) : inner;
  }
  return out;
}

}  // namespace onnxtool::testing
