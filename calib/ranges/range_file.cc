// Range files as JSON. The histogram is text inside it: "index:count,count;index:count", a run for
// each stretch of consecutive buckets, index = pattern >> 15 (summary.h).

#include "calib/ranges/range_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "calib/ranges/json_text.h"
#include "calib/ranges/shard.h"

namespace onnxtool {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "onnxtool-ranges";
constexpr int kVersion = 2;

Error bad(std::string what) { return Error{ErrorCode::kBadData, std::move(what), {}}; }

std::string histogram_text(const Summary& s) {
  std::string text;
  uint32_t expected = std::numeric_limits<uint32_t>::max();
  for (const Summary::Count& c : s.counts()) {
    if (c.index != expected) {
      if (!text.empty()) text += ';';
      text += std::to_string(c.index) + ':';
    } else {
      text += ',';
    }
    text += std::to_string(c.count);
    expected = c.index + 1;
  }
  return text;
}

// Flat, and both ends of a sample side by side.
std::string extremes_text(const std::vector<Extremes>& extremes) {
  std::string text = "[";
  for (const Extremes& e : extremes)
    text += (text.size() > 1 ? ", " : "") + json_number(e.min) + ", " + json_number(e.max);
  return text + "]";
}

std::optional<std::vector<Summary::Count>> parse_histogram(std::string_view text) {
  std::vector<Summary::Count> counts;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    uint32_t index = 0;
    auto parsed = std::from_chars(at, end, index);
    if (parsed.ec != std::errc() || parsed.ptr == end || *parsed.ptr != ':') return std::nullopt;
    char separator;
    do {
      Summary::Count c{index++, 0};
      parsed = std::from_chars(parsed.ptr + 1, end, c.count);
      if (parsed.ec != std::errc()) return std::nullopt;
      counts.push_back(c);
      separator = parsed.ptr == end ? ';' : *parsed.ptr;
    } while (separator == ',');
    if (separator != ';') return std::nullopt;
    at = parsed.ptr == end ? end : parsed.ptr + 1;
    if (at == end && parsed.ptr != end) return std::nullopt;  // a separator with nothing behind it
  }
  return counts;
}

std::optional<float> as_float(const Json& v) {
  if (!v.is_number()) return std::nullopt;
  const auto d = v.get<double>();
  if (!(std::fabs(d) <= static_cast<double>(std::numeric_limits<float>::max())) ||
      static_cast<double>(static_cast<float>(d)) != d)
    return std::nullopt;
  return static_cast<float>(d);
}

/// Members of a JSON object, each checked; the first fault is kept.
class Fields {
 public:
  Fields(const Json& object, std::string place) : object_(object), place_(std::move(place)) {
    if (!object.is_object()) fail("is not an object");
  }
  uint64_t count(const char* key) {
    const Json* v = find(key);
    if (v && !v->is_number_unsigned()) fail(std::string("'") + key + "' is not a count");
    return v && v->is_number_unsigned() ? v->get<uint64_t>() : 0;
  }
  std::string text(const char* key) {
    const Json* v = find(key);
    if (v && !v->is_string()) fail(std::string("'") + key + "' is not text");
    return v && v->is_string() ? v->get<std::string>() : std::string();
  }
  float real(const char* key) {
    const Json* v = find(key);
    const auto f = v ? as_float(*v) : 0;
    if (!f) fail(std::string("'") + key + "' is not a float");
    return f.value_or(0);
  }
  /// One pair for each of `samples`.
  std::vector<Extremes> extremes(const char* key, uint64_t samples) {
    std::vector<Extremes> out;
    const Json* v = find(key);
    if (!v) return out;
    bool good = v->is_array() && v->size() % 2 == 0 && v->size() / 2 == samples;
    for (size_t i = 0; good && i < v->size(); i += 2) {
      const auto min = as_float((*v)[i]), max = as_float((*v)[i + 1]);
      good = min && max && *min <= *max;
      if (good) out.push_back({*min, *max});
    }
    if (!good)
      fail(std::string("'") + key + "' does not hold a lowest and a highest value for each of " +
           std::to_string(samples) + " samples");
    return out;
  }
  const Json* find(const char* key) {
    if (!object_.is_object()) return nullptr;
    const auto it = object_.find(key);
    if (it == object_.end()) {
      fail(std::string("'") + key + "' is missing");
      return nullptr;
    }
    return &*it;
  }
  bool has(const char* key) const { return object_.is_object() && object_.contains(key); }
  void fail(std::string what) {
    if (!error_) error_ = bad((place_.empty() ? "" : place_ + ": ") + std::move(what));
  }
  const std::optional<Error>& error() const { return error_; }

 private:
  const Json& object_;
  std::string place_;
  std::optional<Error> error_;
};

// How many samples the shards of a file have.
uint64_t samples_in(const RangeFile& file) {
  uint64_t sum = 0;
  const auto all = static_cast<int64_t>(
      std::min<uint64_t>(file.all_samples, std::numeric_limits<int64_t>::max() / 2));
  for (const int s : file.shards)
    sum += static_cast<uint64_t>(Shard{s, file.shard_count}.samples_of(all));
  return sum;
}

// Positions in the whole data of the samples that are in, ascending.
std::vector<int64_t> positions_in(const RangeFile& file) {
  std::vector<int64_t> out;
  for (const int s : file.shards)
    for (auto p = int64_t{s}; p < static_cast<int64_t>(file.all_samples); p += file.shard_count)
      out.push_back(p);
  std::sort(out.begin(), out.end());
  return out;
}

// Samples of `part` go between those of `whole`; a tensor of which one has none has none after it.
void merge_extremes(RangeFile& whole, const RangeFile& part) {
  for (const auto& [name, summary] : part.tensors)
    if (!part.extremes.contains(name)) whole.extremes.erase(name);
  if (whole.extremes.empty()) return;
  // They are as many as samples are in: the loader has checked that.
  const std::vector<int64_t> mine = positions_in(whole), theirs = positions_in(part);
  for (auto& [name, extremes] : whole.extremes) {
    const std::vector<Extremes>& added = part.extremes.at(name);
    std::vector<Extremes> joined;
    for (size_t i = 0, j = 0; i < mine.size() || j < theirs.size();)
      joined.push_back(j == theirs.size() || (i < mine.size() && mine[i] < theirs[j])
                           ? extremes[i++]
                           : added[j++]);
    extremes = std::move(joined);
  }
}

std::string verb(std::string_view of) { return of == "options" ? " are " : " is "; }

}  // namespace

std::string save_ranges(const RangeFile& file) {
  std::string out = "{\n";
  const auto line = [&](const char* key, const std::string& value) {
    out += std::string("\"") + key + "\": " + value + ",\n";
  };
  line("format", json_string(kFormat));
  line("version", std::to_string(kVersion));
  line("model", json_string(file.key.model));
  line("data", json_string(file.key.data));
  line("options", json_string(file.key.options));
  line("kernel_set", json_string(file.key.kernel_set));
  line("isa", json_string(file.key.isa));
  line("shard_count", std::to_string(file.shard_count));
  std::string shards;
  for (int s : file.shards) shards += (shards.empty() ? "" : ", ") + std::to_string(s);
  line("shards", "[" + shards + "]");
  line("samples", std::to_string(file.samples));
  line("all_samples", std::to_string(file.all_samples));
  out += "\"tensors\": {";
  const char* separator = "\n";
  for (const auto& [name, s] : file.tensors) {
    out += separator + json_string(name) + ": {\"min\": " + json_number(s.min()) +
           ", \"max\": " + json_number(s.max()) + ", \"finite\": " + std::to_string(s.finite()) +
           ", \"zeros\": " + std::to_string(s.zeros()) + ", \"nan\": " + std::to_string(s.nan()) +
           ", \"positive_infinity\": " + std::to_string(s.positive_infinity()) +
           ", \"negative_infinity\": " + std::to_string(s.negative_infinity());
    if (s.mode() == Summary::Mode::kHistogram)
      out += ", \"histogram\": \"" + histogram_text(s) + '"';
    if (const auto e = file.extremes.find(name); e != file.extremes.end())
      out += ", \"extremes\": " + extremes_text(e->second);
    out += '}';
    separator = ",\n";
  }
  out += "\n}\n}\n";
  return out;
}

Result<RangeFile> load_ranges(std::string_view text) {
  ONNXTOOL_ASSIGN(const Json json, parse_json(text));
  Fields top(json, "");
  if (top.text("format") != kFormat)
    return bad("is no range file: 'format' is not \"" + std::string(kFormat) + "\"");
  if (const uint64_t version = top.count("version"); !top.error() && version != kVersion)
    return bad("range file has version " + std::to_string(version) + ", expected " +
               std::to_string(kVersion));
  RangeFile file;
  file.key = {top.text("model"), top.text("data"), top.text("options"), top.text("kernel_set"),
              top.text("isa")};
  const uint64_t shard_count = top.count("shard_count");
  file.samples = top.count("samples");
  file.all_samples = top.count("all_samples");
  const Json* shards = top.find("shards");
  const Json* tensors = top.find("tensors");
  if (top.error()) return *top.error();
  if (!DataDigest().parse(file.key.data))
    return bad("'data' is not a digest of 64 hexadecimal digits");
  if (shard_count < 1 || shard_count > kMaxShards)
    return bad("'shard_count' is " + std::to_string(shard_count));
  file.shard_count = static_cast<int>(shard_count);
  if (!shards->is_array() || shards->empty()) return bad("'shards' is not a list of shards");
  file.shards.clear();
  for (const Json& s : *shards) {
    if (!s.is_number_unsigned() || s.get<uint64_t>() >= shard_count ||
        (!file.shards.empty() && file.shards.back() >= s.get<int>()))
      return bad("'shards' is not an ascending list of shards below " +
                 std::to_string(shard_count));
    file.shards.push_back(s.get<int>());
  }
  if (const uint64_t expected = samples_in(file); file.samples != expected)
    return bad("'samples' is " + std::to_string(file.samples) + ", but these shards of " +
               std::to_string(file.all_samples) + " samples have " + std::to_string(expected));
  if (!tensors->is_object()) return bad("'tensors' is not an object");
  for (const auto& [name, value] : tensors->items()) {
    const std::string place = "tensor '" + name + "'";
    Fields f(value, place);
    Summary::Header h;
    h.min = f.real("min");
    h.max = f.real("max");
    h.finite = f.count("finite");
    h.zeros = f.count("zeros");
    h.nan = f.count("nan");
    h.positive_infinity = f.count("positive_infinity");
    h.negative_infinity = f.count("negative_infinity");
    const bool histogram = f.has("histogram");
    const std::string runs = histogram ? f.text("histogram") : std::string();
    if (f.has("extremes")) file.extremes[name] = f.extremes("extremes", file.samples);
    if (f.error()) return *f.error();
    const auto counts = parse_histogram(runs);
    if (!counts) return bad(place + ": 'histogram' is not a list of runs index:count,...");
    auto summary = Summary::restore(histogram ? Summary::Mode::kHistogram : Summary::Mode::kMinMax,
                                    h, *counts);
    if (!summary.ok()) return std::move(summary).error().at(place);
    file.tensors.emplace(name, *std::move(summary));
  }
  return file;
}

Status check_ranges(const RangeFile& file, const RangeKey& expected) {
  if (!file.complete())
    return Error{ErrorCode::kMismatch,
                 "ranges hold " + std::to_string(file.shards.size()) + " of " +
                     std::to_string(file.shard_count) + " shards",
                 "join the parts with `onnxtool ranges merge`"};
  std::string differing;
  const auto compare = [&](const char* what, const std::string& found, const std::string& wanted) {
    if (wanted.empty() || found == wanted) return;
    differing +=
        (differing.empty() ? "" : "; ") + (what + verb(what)) + found + ", expected " + wanted;
  };
  compare("model digest", file.key.model, expected.model);
  compare("data digest", file.key.data, expected.data);
  compare("options", file.key.options, expected.options);
  compare("kernel set", file.key.kernel_set, expected.kernel_set);
  compare("ISA", file.key.isa, expected.isa);
  if (!differing.empty())
    return Error{ErrorCode::kMismatch, "ranges were made for something else: " + differing,
                 "calibrate again, or pass the inputs that these ranges were made from"};
  return {};
}

Result<RangeFile> merge_ranges(std::vector<RangeFile> parts, bool mix_isa,
                               const std::vector<std::string>& names) {
  if (parts.empty()) return Error{ErrorCode::kUsage, "no range files to merge", {}};
  RangeFile result = std::move(parts.front());
  std::set<int> shards(result.shards.begin(), result.shards.end());
  for (size_t i = 1; i < parts.size(); ++i) {
    RangeFile& part = parts[i];
    const std::string place = i < names.size() ? names[i] : "part " + std::to_string(i + 1);
    const auto mismatch = [&](const std::string& what) {
      return Error{ErrorCode::kMismatch, place + ": " + what, {}};
    };
    const auto differs = [&](const char* what, const std::string& found, const std::string& first) {
      return mismatch(what + verb(what) + found + ", but " + first + " in the first part");
    };
    const RangeKey &k = part.key, &first = result.key;
    if (k.model != first.model) return differs("model digest", k.model, first.model);
    if (k.options != first.options) return differs("options", k.options, first.options);
    if (part.shard_count != result.shard_count)
      return differs("shard count", std::to_string(part.shard_count),
                     std::to_string(result.shard_count));
    if (part.all_samples != result.all_samples)
      return differs("the number of all samples", std::to_string(part.all_samples),
                     std::to_string(result.all_samples));
    if (k.kernel_set != first.kernel_set || k.isa != first.isa) {
      if (!mix_isa) {
        Error e = differs("kernel set and ISA", k.kernel_set + " " + k.isa,
                          first.kernel_set + " " + first.isa);
        e.hint =
            "parts that other kernels computed differ in the last bits; --allow-mixed-isa joins "
            "them all the same";
        return e;
      }
      if (k.kernel_set != first.kernel_set) result.key.kernel_set = "mixed";
      result.key.isa = "mixed";
    }
    for (int s : part.shards)
      if (!shards.insert(s).second)
        return mismatch("shard " + std::to_string(s) + " is already in");
    if (part.tensors.size() != result.tensors.size() ||
        !std::equal(part.tensors.begin(), part.tensors.end(), result.tensors.begin(),
                    [](const auto& a, const auto& b) { return a.first == b.first; }))
      return mismatch("holds other tensors than the first part");
    merge_extremes(result, part);
    DataDigest digest, added;
    if (!digest.parse(first.data) || !added.parse(k.data))
      return mismatch("the data digest is not one");
    digest.add(added);
    result.key.data = digest.hex();
    auto to = result.tensors.begin();
    for (const auto& [name, summary] : part.tensors) (to++)->second.merge(summary);
    result.samples += part.samples;
    result.shards.assign(shards.begin(), shards.end());
  }
  // With everything in, it is what one run would have written.
  if (result.complete()) {
    result.shard_count = 1;
    result.shards = {0};
  }
  return result;
}

}  // namespace onnxtool
