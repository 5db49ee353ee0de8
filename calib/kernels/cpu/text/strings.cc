// Operators on strings, which are UTF-8: StringNormalizer, StringConcat, StringSplit,
// RegexFullMatch.

#include <re2/re2.h>

#include <clocale>
#include <cwctype>
#include <set>

#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

Status expect_strings(const ConstView& x, int input) {
  return x.dtype == DataType::kString ? Status()
                                      : unsupported_type(x.dtype, "input " + std::to_string(input));
}

// --- StringNormalizer ---------------------------------------------------------------------------

enum class Case : uint8_t { kKeep, kLower, kUpper };

// Unicode's simple case mapping, whatever locale the process runs in; nullptr on systems without
// it, where only ASCII has case. Attribute `locale` is not looked at: the result must not depend on
// what is installed.
locale_t utf8_locale() {
  static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return locale;
}

uint32_t change_case(uint32_t c, Case to) {
  if (c < 0x80 || !utf8_locale()) {
    if (to == Case::kUpper) return c >= 'a' && c <= 'z' ? c - 32 : c;
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
  }
  const auto w = static_cast<wint_t>(c);
  return static_cast<uint32_t>(to == Case::kUpper ? towupper_l(w, utf8_locale())
                                                  : towlower_l(w, utf8_locale()));
}

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xE0 | c >> 12);
    } else {
      put(0xF0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3F));
    }
    put(0x80 | (c >> 6 & 0x3F));
  }
  put(0x80 | (c & 0x3F));
}

// The code point at `i`, which moves behind it; nullopt: no UTF-8, and `i` stays.
std::optional<uint32_t> next_code_point(const std::string& s, size_t& i) {
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(s[at]); };
  const uint8_t first = byte(i);
  const size_t length = first < 0x80                    ? 1
                        : first >= 0xF0 && first < 0xF8 ? 4
                        : first >= 0xE0                 ? 3
                        : first >= 0xC2                 ? 2
                                                        : 0;
  if (length == 0 || first >= 0xF8 || i + length > s.size()) return std::nullopt;
  uint32_t c = length == 1 ? first : first & (0xFFu >> (length + 1));
  for (size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return std::nullopt;
    c = c << 6 | (byte(i + k) & 0x3Fu);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800,
                                 0x10000};  // by length; less is encoded too long
  if (c < kLeast[length]) return std::nullopt;
  i += length;
  return c;
}

// Bytes that are no UTF-8 are kept.
std::string with_case(const std::string& s, Case to) {
  if (to == Case::kKeep) return s;
  std::string out;
  out.reserve(s.size());
  for (size_t i = 0; i < s.size();) {
    if (const auto c = next_code_point(s, i))
      append_utf8(out, change_case(*c, to));
    else
      out.push_back(s[i++]);
  }
  return out;
}

struct NormalizerState final : KernelState {
  std::set<std::string, std::less<>> stopwords;
  bool case_sensitive = false;
  Case change = Case::kKeep;
};

Result<std::unique_ptr<KernelState>> prepare_normalizer(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto state = std::make_unique<NormalizerState>();
  const std::string_view change = node.attr_string("case_change_action", "NONE");
  if (change == "LOWER")
    state->change = Case::kLower;
  else if (change == "UPPER")
    state->change = Case::kUpper;
  else if (change != "NONE")
    return bad_model("case_change_action is '" + std::string(change) +
                     "', expected LOWER, UPPER or NONE");
  state->case_sensitive = node.attr_int("is_case_sensitive", 0) != 0;
  for (const auto word : node.attr_strings("stopwords"))
    state->stopwords.insert(
        with_case(std::string(word), state->case_sensitive ? Case::kKeep : Case::kLower));
  return {std::move(state)};
}

// [C] or [1, C] without its stopwords. When none is left, one empty string is.
Status string_normalizer(KernelContext& ctx) {
  const auto& state = *static_cast<const NormalizerState*>(ctx.state());
  const ConstView& x = ctx.input(0);
  ONNXTOOL_TRY(expect_strings(x, 0));
  if (x.rank() != 1 && !(x.rank() == 2 && x.dims[0] == 1))
    return mismatch("input 0 has shape " + format_dims(x.dims) + ", expected [C] or [1, C]");
  std::vector<std::string> kept;
  for (const std::string& s : x.as<std::string>())
    if (!state.stopwords.contains(state.case_sensitive ? s : with_case(s, Case::kLower)))
      kept.push_back(with_case(s, state.change));
  if (kept.empty()) kept.emplace_back();
  Dims dims = to_dims(x.dims);
  dims.back() = static_cast<int64_t>(kept.size());
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kString, dims));
  std::move(kept.begin(), kept.end(), y.as<std::string>().begin());
  return {};
}

// --- StringConcat and StringSplit ---------------------------------------------------------------

Status string_concat(KernelContext& ctx) {
  const ConstView &a = ctx.input(0), &b = ctx.input(1);
  ONNXTOOL_TRY(expect_strings(a, 0));
  ONNXTOOL_TRY(expect_strings(b, 1));
  ONNXTOOL_ASSIGN(const Dims dims, broadcast_dims({a.dims, b.dims}));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kString, dims));
  const Walk<2> walk{dims, {broadcast_strides(a.dims, dims), broadcast_strides(b.dims, dims)}};
  const std::string *from_a = a.as<std::string>().data(), *from_b = b.as<std::string>().data();
  std::string* to = y.as<std::string>().data();
  parallel_walk<2>(ctx, walk, y.count, kGrain,
                   [&](int64_t first, int64_t n, const std::array<int64_t, 2>& offsets) {
                     for (int64_t i = 0; i < n; ++i)
                       to[first + i] = from_a[offsets[0] + i * walk.inner_stride(0)] +
                                       from_b[offsets[1] + i * walk.inner_stride(1)];
                   });
  return {};
}

// At most `max` splits. An empty delimiter stands for any stretch of white space, which then counts
// neither at the front nor at the end.
std::vector<std::string_view> split(std::string_view s, std::string_view delimiter, int64_t max) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  std::vector<std::string_view> parts;
  const bool space = delimiter.empty();
  const auto skip_space = [&] { s.remove_prefix(std::min(s.find_first_not_of(kSpace), s.size())); };
  if (space) {
    skip_space();
    s = s.substr(0, s.find_last_not_of(kSpace) + 1);
  }
  if (s.empty()) return parts;
  while (max < 0 || static_cast<int64_t>(parts.size()) < max) {
    const size_t at = space ? s.find_first_of(kSpace) : s.find(delimiter);
    if (at == std::string_view::npos) break;
    parts.push_back(s.substr(0, at));
    s.remove_prefix(at + delimiter.size());
    if (space) skip_space();
  }
  parts.push_back(s);
  return parts;
}

// Every string gets as many parts as the one with most of them, so that a short file can ask for
// many; a string without text takes 32 bytes.
constexpr int64_t kMaxParts = int64_t{1} << 25;

Status string_split(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_TRY(expect_strings(x, 0));
  const std::string_view delimiter = ctx.node().attr_string("delimiter", "");
  const int64_t max = ctx.node().attr_int("maxsplit", -1);
  std::vector<std::vector<std::string_view>> parts;
  size_t width = 0;
  for (const std::string& s : x.as<std::string>()) {
    parts.push_back(split(s, delimiter, max));
    width = std::max(width, parts.back().size());
  }
  Dims dims = to_dims(x.dims);
  ONNXTOOL_ASSIGN(const MutableView counts, ctx.output(1, DataType::kInt64, dims));
  dims.push_back(static_cast<int64_t>(width));
  const auto total = checked_product(dims);
  if (!total || *total > kMaxParts)
    return kernel_error(ErrorCode::kLimit,
                        "the parts of all strings have shape " + format_dims(dims) +
                            ", more elements than StringSplit's " + std::to_string(kMaxParts));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kString, dims));
  for (size_t i = 0; i < parts.size(); ++i) {
    counts.as<int64_t>()[i] = static_cast<int64_t>(parts[i].size());
    std::copy(parts[i].begin(), parts[i].end(),
              y.as<std::string>().begin() + static_cast<std::ptrdiff_t>(i * width));
  }
  return {};
}

// --- RegexFullMatch -----------------------------------------------------------------------------

struct RegexState final : KernelState {
  explicit RegexState(std::string_view pattern)
      : regex(re2::StringPiece(pattern.data(), pattern.size()), RE2::Quiet) {}
  RE2 regex;
};

// RE2 matches in linear time with bounded memory, so that no pattern of a file can hang us.
Result<std::unique_ptr<KernelState>> prepare_regex(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  if (!node.has_attribute("pattern")) return bad_model("attribute 'pattern' is missing");
  auto state = std::make_unique<RegexState>(node.attr_string("pattern", ""));
  if (!state->regex.ok())
    return bad_model("pattern '" + state->regex.pattern() +
                     "' is no regular expression: " + state->regex.error());
  return {std::move(state)};
}

Status regex_full_match(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_TRY(expect_strings(x, 0));
  const RE2& regex = static_cast<const RegexState*>(ctx.state())->regex;
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kBool, x.dims));
  const auto in = x.as<std::string>();
  for (size_t i = 0; i < in.size(); ++i) y.as<uint8_t>()[i] = RE2::FullMatch(in[i], regex);
  return {};
}

}  // namespace

constinit const KernelInfo kStringNormalizer{
    .op = "StringNormalizer", .prepare = prepare_normalizer, .run = string_normalizer};
constinit const KernelInfo kStringConcat{
    .op = "StringConcat", .prepare = needs_inputs<2>, .run = string_concat};
constinit const KernelInfo kStringSplit{
    .op = "StringSplit", .prepare = needs_inputs<1>, .run = string_split};
constinit const KernelInfo kRegexFullMatch{
    .op = "RegexFullMatch", .prepare = prepare_regex, .run = regex_full_match};

}  // namespace onnxtool
