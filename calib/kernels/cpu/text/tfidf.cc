// TfIdfVectorizer: counts the n-grams of a pool in each row.
//
// The n-grams of length n start at ngram_counts[n - 1] of the pool and stand one behind the other.
// A row has an n-gram wherever its items follow one another at a distance of 1 + skip, for each
// skip from 0 to max_skip_count.

#include <map>

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

using Gram = std::vector<int64_t>;  // of item numbers

struct TfIdfState final : KernelState {
  std::map<std::string, int64_t, std::less<>> words;  // string item to its number
  std::map<Gram, size_t> grams;                       // to the place in ngram_indexes
  Dims coordinates;                                   // ngram_indexes
  std::vector<float> weights;                         // by coordinate
  int64_t shortest = 1, longest = 1, max_skip = 0, width = 0;
  bool strings = false, counted = true, weighted = false;
};

// Elements of an output row, and of all of them, that a file may ask for: 64 MiB and 1 GiB.
constexpr int64_t kMaxWidth = int64_t{1} << 24, kMaxElements = int64_t{1} << 28;

Status read_pool(const NodeView& node, TfIdfState& s) {
  const auto texts = node.attr_strings("pool_strings");
  Dims pool = to_dims(node.attr_ints("pool_int64s"));
  s.strings = !texts.empty();
  if (s.strings == !pool.empty()) return bad_model("expected one of pool_strings and pool_int64s");
  for (const auto t : texts)
    pool.push_back(
        s.words.emplace(std::string(t), static_cast<int64_t>(s.words.size())).first->second);
  const auto starts = node.attr_ints("ngram_counts");
  s.longest = std::min(s.longest, static_cast<int64_t>(starts.size()));
  size_t gram = 0;
  for (size_t n = 1; n <= starts.size(); ++n) {
    const int64_t begin = starts[n - 1],
                  end = n < starts.size() ? starts[n] : static_cast<int64_t>(pool.size());
    if (begin < 0 || begin > end || end > static_cast<int64_t>(pool.size()) ||
        (end - begin) % static_cast<int64_t>(n))
      return bad_model("ngram_counts " + format_dims(starts) + " does not fit a pool of " +
                       std::to_string(pool.size()));
    for (auto at = pool.begin() + begin; at != pool.begin() + end;
         at += static_cast<std::ptrdiff_t>(n), ++gram) {
      const auto length = static_cast<int64_t>(n);
      // Grams of a length that is not asked for have a coordinate too.
      if (length >= s.shortest && length <= s.longest) s.grams.emplace(Gram(at, at + length), gram);
    }
  }
  if (gram != s.coordinates.size())
    return bad_model("ngram_indexes has " + std::to_string(s.coordinates.size()) +
                     " elements for " + std::to_string(gram) + " n-grams");
  return {};
}

Status read_weights(const NodeView& node, TfIdfState& s) {
  for (const int64_t c : s.coordinates) {
    if (c < 0 || c >= kMaxWidth)
      return bad_model("ngram_indexes has " + std::to_string(c) + ", expected 0 to " +
                       std::to_string(kMaxWidth - 1));
    s.width = std::max(s.width, c + 1);
  }
  s.weights.assign(static_cast<size_t>(s.width), 1.0f);
  const auto weights = node.attr_floats("weights");
  if (weights.empty()) return {};
  if (weights.size() != s.coordinates.size())
    return bad_model("weights has " + std::to_string(weights.size()) + " elements, expected " +
                     std::to_string(s.coordinates.size()));
  for (size_t i = 0; i < weights.size(); ++i)
    s.weights[static_cast<size_t>(s.coordinates[i])] = weights[i];
  return {};
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto s = std::make_unique<TfIdfState>();
  const std::string_view mode = node.attr_string("mode", "");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF")
    return bad_model("mode is '" + std::string(mode) + "', expected TF, IDF or TFIDF");
  s->counted = mode != "IDF";
  s->weighted = mode != "TF";
  s->shortest = node.attr_int("min_gram_length", 1);
  s->longest = node.attr_int("max_gram_length", 1);
  s->max_skip = node.attr_int("max_skip_count", 0);
  if (s->shortest < 1 || s->longest < s->shortest || s->max_skip < 0)
    return bad_model("min_gram_length " + std::to_string(s->shortest) + ", max_gram_length " +
                     std::to_string(s->longest) + " and max_skip_count " +
                     std::to_string(s->max_skip) + " do not fit");
  s->max_skip = std::min(s->max_skip, kMaxWidth);  // no row is so long
  s->coordinates = to_dims(node.attr_ints("ngram_indexes"));
  ONNXTOOL_TRY(read_weights(node, *s));
  ONNXTOOL_TRY(read_pool(node, *s));
  return {std::move(s)};
}

// The items of all rows as numbers; -1: in no n-gram.
Result<Dims> items_of(KernelContext& ctx, const TfIdfState& s) {
  const ConstView& x = ctx.input(0);
  Dims items(static_cast<size_t>(x.count));
  if (s.strings != (x.dtype == DataType::kString))
    return mismatch("input 0 is " + std::string(name(x.dtype)) + ", but the pool has " +
                    (s.strings ? "strings" : "integers"));
  if (s.strings) {
    const auto in = x.as<std::string>();
    for (size_t i = 0; i < in.size(); ++i) {
      const auto it = s.words.find(in[i]);
      items[i] = it == s.words.end() ? -1 : it->second;
    }
  } else if (x.dtype == DataType::kInt32 || x.dtype == DataType::kInt64) {
    convert_elements(x.dtype, x.data, DataType::kInt64, items.data(), 0, x.count);
  } else {
    return unsupported_type(x.dtype, "input 0");
  }
  return items;
}

void count_row(const TfIdfState& s, std::span<const int64_t> row, std::span<float> out) {
  const auto n = static_cast<int64_t>(row.size());
  // Single items have no distance between them: they count once, not once for each skip.
  const auto look_up = [&](int64_t from, int64_t length, int64_t step) {
    Gram gram;
    for (int64_t i = 0; i < length; ++i) gram.push_back(row[static_cast<size_t>(from + i * step)]);
    const auto it = s.grams.find(gram);
    if (it != s.grams.end()) out[static_cast<size_t>(s.coordinates[it->second])] += 1;
  };
  // No gram is longer than the row, and no step wider.
  for (int64_t length = s.shortest; length <= std::min(s.longest, n); ++length)
    for (int64_t step = 1; step <= std::min(length == 1 ? 1 : s.max_skip + 1, n); ++step)
      for (int64_t from = 0; from + (length - 1) * step < n; ++from) look_up(from, length, step);
  for (size_t i = 0; i < out.size(); ++i) {
    if (!s.counted && out[i] > 1) out[i] = 1;
    if (s.weighted) out[i] *= s.weights[i];
  }
}

Status run(KernelContext& ctx) {
  const auto& s = *static_cast<const TfIdfState*>(ctx.state());
  const ConstView& x = ctx.input(0);
  if (x.rank() > 2)
    return mismatch("input 0 has shape " + format_dims(x.dims) + ", expected rank 1 or 2");
  const bool batch = x.rank() == 2;
  const int64_t rows = batch ? x.dims[0] : 1, columns = rows ? x.count / rows : 0;
  ONNXTOOL_ASSIGN(const Dims items, items_of(ctx, s));
  const Dims dims = batch ? Dims{rows, s.width} : Dims{s.width};
  const auto total = checked_product(dims);
  if (!total || *total > kMaxElements)
    return kernel_error(ErrorCode::kLimit, "the counts have shape " + format_dims(dims) +
                                               ", more elements than TfIdfVectorizer's " +
                                               std::to_string(kMaxElements));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, dims));
  const auto out = y.as<float>();
  std::fill(out.begin(), out.end(), 0.0f);
  const auto part = [](auto whole, int64_t row, int64_t size) {
    return whole.subspan(static_cast<size_t>(row * size), static_cast<size_t>(size));
  };
  const int64_t grain = grain_of(columns * (std::min(s.max_skip, columns) + 1));
  ctx.parallel(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      count_row(s, part(std::span(items), r, columns), part(out, r, s.width));
  });
  return {};
}

}  // namespace

constinit const KernelInfo kTfIdfVectorizer{
    .op = "TfIdfVectorizer", .prepare = prepare, .run = run};

}  // namespace onnxtool
