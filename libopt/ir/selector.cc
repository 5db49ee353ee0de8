#include "libopt/ir/selector.h"

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>

#include "libopt/ir/model.h"
#include "libopt/ir/walk.h"

namespace onnxtool {
namespace {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view text) {
  // Backtracks to the last star only, so the time is bounded by the product of the lengths.
  size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] == text[t] && pattern[p] != '*'))) {
      ++p, ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<std::string> close_candidates(std::string_view text,
                                          const std::vector<std::string>& known) {
  std::vector<std::pair<size_t, std::string>> ranked;
  // Something of a short text must stay.
  const size_t most = std::min(std::max<size_t>(2, text.size() / 3), text.size() / 2);
  for (const std::string& k : known)
    if (const size_t d = edit_distance(text, k); d <= most) ranked.emplace_back(d, k);
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> out;
  for (const auto& [d, k] : ranked)
    if (out.size() < 3) out.push_back(k);
  return out;
}

Result<Selector> Selector::parse(const std::vector<std::string>& texts) {
  Selector s;
  const auto add = [&](const std::string& text) -> Status {
    if (text.starts_with("op:") && text.size() > 3)
      s.terms_.push_back({true, text.substr(3)});
    else if (text.starts_with("name:") && text.size() > 5)
      s.terms_.push_back({false, text.substr(5)});
    else
      return Error{ErrorCode::kUsage,
                   "selector '" + text + "' is not of the form op:TYPE, name:GLOB or @FILE",
                   {}};
    return {};
  };
  for (const std::string& text : texts) {
    if (!text.starts_with("@")) {
      ONNXTOOL_TRY(add(text));
      continue;
    }
    std::ifstream file(text.substr(1));
    if (!file)
      return Error{
          ErrorCode::kNotFound, text.substr(1) + ": cannot open this list of selectors", {}};
    for (std::string line; std::getline(file, line);) {
      while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
      if (line.empty() || line[0] == '#') continue;
      ONNXTOOL_TRY(add(line));
    }
  }
  return s;
}

bool Selector::matches(const Node& node) const {
  for (const Term& t : terms_)
    if (glob_match(t.pattern, t.by_op ? node.op_type() : node.name())) return true;
  return false;
}

Status Selector::check(const Model& model) const {
  for (const Term& t : terms_) {
    bool found = false;
    std::set<std::string> known;
    for_each_node(model.graph(), [&](const Node& n) {
      const std::string& text = t.by_op ? n.op_type() : n.name();
      found |= glob_match(t.pattern, text);
      known.insert(text);
    });
    if (found) continue;
    std::string hint;
    const std::string kind = t.by_op ? "op:" : "name:";
    for (const std::string& c : close_candidates(t.pattern, {known.begin(), known.end()}))
      hint += (hint.empty() ? "did you mean '" : "' or '") + kind + c;
    if (!hint.empty())
      hint += "'?";
    else
      hint =
          "`onnxtool inspect MODEL` lists operators, op:* means all; names are those of the nodes, "
          "with * and ?";
    return Error{ErrorCode::kUsage, "selector '" + kind + t.pattern + "' matches no node", hint};
  }
  return {};
}

}  // namespace onnxtool
