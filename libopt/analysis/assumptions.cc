#include "libopt/analysis/assumptions.h"

#include <algorithm>
#include <charconv>
#include <set>

namespace onnxtool {
namespace {

bool read_number(std::string_view& text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

// `1..64` or `1..`.
std::optional<ExtentRange> parse_range(std::string_view text) {
  ExtentRange range;
  if (!read_number(text, range.low) || !text.starts_with("..")) return std::nullopt;
  text.remove_prefix(2);
  if (text.empty()) return range;
  int64_t high = 0;
  if (!read_number(text, high) || !text.empty() || high < range.low) return std::nullopt;
  range.high = high;
  return range;
}

std::optional<std::pair<std::string, ExtentRange>> parse(const std::string& line) {
  const size_t equals = line.rfind('=');
  if (equals == line.npos || equals == 0) return std::nullopt;
  const auto range = parse_range(std::string_view(line).substr(equals + 1));
  if (!range) return std::nullopt;
  return std::pair(line.substr(0, equals), *range);
}

std::string format(const ExtentRanges& ranges) {
  std::string out;
  for (const auto& [name, range] : ranges)
    out += (out.empty() ? "" : "\n") + name + "=" + std::to_string(range.low) + ".." +
           (range.high ? std::to_string(*range.high) : "");
  return out;
}

std::set<std::string> symbols_of_inputs(const Model& model) {
  std::set<std::string> names;
  for (const Value* v : model.graph().inputs())
    if (v->type().shape)
      for (const Dim& d : *v->type().shape)
        if (!d.value && !d.symbol.empty()) names.insert(d.symbol);
  return names;
}

}  // namespace

ExtentRanges assumptions_of(const Model& model) {
  ExtentRanges ranges;
  const auto entry = std::ranges::find(model.metadata, kAssumptionsKey,
                                       [](const auto& p) { return std::string_view(p.first); });
  if (entry == model.metadata.end()) return ranges;
  const std::string& text = entry->second;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    if (auto one = parse(text.substr(start, end - start))) ranges.insert(*std::move(one));
    start = end + 1;
  }
  return ranges;
}

Status assume(Model& model, const std::vector<std::string>& assumptions) {
  if (assumptions.empty()) return {};
  const std::set<std::string> known = symbols_of_inputs(model);
  ExtentRanges ranges = assumptions_of(model);
  for (const std::string& given : assumptions) {
    const auto one = parse(given);
    if (!one)
      return Error{ErrorCode::kUsage, "--assume: '" + given + "' is no range of a dimension",
                   "give NAME=LOW..HIGH or NAME=LOW.., as in batch=1..64"};
    if (!known.contains(one->first)) {
      std::string names;
      for (const std::string& k : known) names += (names.empty() ? "" : ", ") + k;
      return Error{ErrorCode::kUsage, "--assume: no input has a dimension '" + one->first + "'",
                   names.empty() ? "no dimension of an input has a name" : "there are: " + names};
    }
    ranges[one->first] = one->second;
  }
  std::erase_if(model.metadata, [](const auto& p) { return p.first == kAssumptionsKey; });
  model.metadata.emplace_back(kAssumptionsKey, format(ranges));
  return {};
}

bool is_positive(const Dim& dim, const Model& model) {
  const auto extent = Extent::of(dim);
  return extent && extent->low(assumptions_of(model)).value_or(0) > 0;
}

}  // namespace onnxtool
