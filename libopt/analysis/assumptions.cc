#include "libopt/analysis/assumptions.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "libopt/ir/properties.h"

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

std::string format(const ExtentRange& range) {
  return std::to_string(range.low) + ".." + (range.high ? std::to_string(*range.high) : "");
}

std::string format(const ExtentRanges& ranges) {
  std::string out;
  for (const auto& [name, range] : ranges)
    out += (out.empty() ? "" : "\n") + name + "=" + format(range);
  return out;
}

bool lies_within(const ExtentRange& inner, const ExtentRange& outer) {
  return inner.low >= outer.low && (!outer.high || (inner.high && *inner.high <= *outer.high));
}

// What both say; nullopt: no number is in both.
std::optional<ExtentRange> common(const ExtentRange& a, const ExtentRange& b) {
  ExtentRange both{std::max(a.low, b.low), a.high ? a.high : b.high};
  if (a.high && b.high) both.high = std::min(*a.high, *b.high);
  if (both.high && *both.high < both.low) return std::nullopt;
  return both;
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
  const std::string* entry = find_property(model.metadata, kAssumptionsKey);
  if (!entry) return ranges;
  const std::string& text = *entry;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    if (auto one = parse(text.substr(start, end - start))) ranges.insert(*std::move(one));
    start = end + 1;
  }
  return ranges;
}

Status check_assumed(const Model& model, std::string_view flag, const std::string& name,
                     const ExtentRange& range) {
  const ExtentRanges ranges = assumptions_of(model);
  const auto stored = ranges.find(name);
  if (stored == ranges.end() || lies_within(range, stored->second)) return {};
  const bool number = range.high && *range.high == range.low;
  return Error{ErrorCode::kUsage,
               std::string(flag) + ": '" + name + "' is " +
                   (number ? std::to_string(range.low) : format(range)) +
                   ", and the model was optimized for " + format(stored->second),
               "stay within that range, or begin with the model from before --assume"};
}

Status assume(Model& model, const std::vector<std::string>& assumptions) {
  if (assumptions.empty()) return {};
  const std::set<std::string> known = symbols_of_inputs(model);
  ExtentRanges ranges = assumptions_of(model);
  std::set<std::string> fresh;  // what no earlier run relied on
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
    const auto [entry, added] = ranges.insert(*one);
    if (added) fresh.insert(one->first);
    if (!fresh.contains(one->first))
      ONNXTOOL_TRY(check_assumed(model, "--assume", one->first, one->second));
    const auto both = common(entry->second, one->second);
    if (!both)
      return Error{ErrorCode::kUsage,
                   "--assume: no number is in all ranges of '" + one->first + "'",
                   "give one range of each dimension"};
    entry->second = *both;
  }
  put_property(model.metadata, kAssumptionsKey, format(ranges));
  return {};
}

bool is_positive(const Dim& dim, const Model& model) {
  const auto extent = Extent::of(dim);
  return extent && extent->low(assumptions_of(model)).value_or(0) > 0;
}

}  // namespace onnxtool
