// Range files as JSON. The histogram is text inside it: "index:count,count;index:count", a run for each
// stretch of consecutive buckets, index = pattern >> 15 (summary.h).

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

namespace onnxtool {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "onnxtool-ranges";
constexpr int kVersion = 1;
constexpr int kMaxShards = 1 << 20;

Error bad(std::string what) { return Error{ErrorCode::kBadData, std::move(what), {}}; }

/// A JSON string. Names that are not UTF-8 lose the offending bytes: JSON cannot hold them.
std::string json_string(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Shortest text that reads back as the same double; a float is exact in it.
std::string number(double value) {
  std::array<char, 40> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}

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
    const double d = v && v->is_number() ? v->get<double>() : 0;
    const auto f = static_cast<float>(std::fabs(d) <= static_cast<double>(std::numeric_limits<float>::max()) ? d : 0);
    if (v && (!v->is_number() || static_cast<double>(f) != d)) fail(std::string("'") + key + "' is not a float");
    return f;
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

Result<Json> parse(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return bad("is not JSON");
  return json;
}

}  // namespace

std::string save_ranges(const RangeFile& file) {
  std::string out = "{\n";
  const auto line = [&](const char* key, const std::string& value) { out += std::string("\"") + key + "\": " + value + ",\n"; };
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
  out += "\"tensors\": {";
  const char* separator = "\n";
  for (const auto& [name, s] : file.tensors) {
    out += separator + json_string(name) + ": {\"min\": " + number(s.min()) + ", \"max\": " + number(s.max()) +
           ", \"finite\": " + std::to_string(s.finite()) + ", \"zeros\": " + std::to_string(s.zeros()) +
           ", \"nan\": " + std::to_string(s.nan()) + ", \"positive_infinity\": " + std::to_string(s.positive_infinity()) +
           ", \"negative_infinity\": " + std::to_string(s.negative_infinity());
    if (s.mode() == Summary::Mode::kHistogram) out += ", \"histogram\": \"" + histogram_text(s) + '"';
    out += '}';
    separator = ",\n";
  }
  out += "\n}\n}\n";
  return out;
}

Result<RangeFile> load_ranges(std::string_view text) {
  ONNXTOOL_ASSIGN(const Json json, parse(text));
  Fields top(json, "");
  if (top.text("format") != kFormat) return bad("is no range file: 'format' is not \"" + std::string(kFormat) + "\"");
  if (const uint64_t version = top.count("version"); !top.error() && version != kVersion)
    return bad("range file has version " + std::to_string(version) + ", expected " + std::to_string(kVersion));
  RangeFile file;
  file.key = {top.text("model"), top.text("data"), top.text("options"), top.text("kernel_set"), top.text("isa")};
  const uint64_t shard_count = top.count("shard_count");
  file.samples = top.count("samples");
  const Json* shards = top.find("shards");
  const Json* tensors = top.find("tensors");
  if (top.error()) return *top.error();
  if (shard_count < 1 || shard_count > kMaxShards) return bad("'shard_count' is " + std::to_string(shard_count));
  file.shard_count = static_cast<int>(shard_count);
  if (!shards->is_array() || shards->empty()) return bad("'shards' is not a list of shards");
  file.shards.clear();
  for (const Json& s : *shards) {
    if (!s.is_number_unsigned() || s.get<uint64_t>() >= shard_count ||
        (!file.shards.empty() && file.shards.back() >= s.get<int>()))
      return bad("'shards' is not an ascending list of shards below " + std::to_string(shard_count));
    file.shards.push_back(s.get<int>());
  }
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
    if (f.error()) return *f.error();
    const auto counts = parse_histogram(runs);
    if (!counts) return bad(place + ": 'histogram' is not a list of runs index:count,...");
    auto summary = Summary::restore(histogram ? Summary::Mode::kHistogram : Summary::Mode::kMinMax, h, *counts);
    if (!summary.ok()) return std::move(summary).error().at(place);
    file.tensors.emplace(name, *std::move(summary));
  }
  return file;
}

Status check_ranges(const RangeFile& file, const RangeKey& expected) {
  std::string differing;
  const auto compare = [&](const char* what, const std::string& found, const std::string& wanted) {
    if (wanted.empty() || found == wanted) return;
    differing += (differing.empty() ? "" : "; ") + std::string(what) + " is " + found + ", expected " + wanted;
  };
  compare("model digest", file.key.model, expected.model);
  compare("data digest", file.key.data, expected.data);
  compare("options digest", file.key.options, expected.options);
  compare("kernel set", file.key.kernel_set, expected.kernel_set);
  compare("ISA", file.key.isa, expected.isa);
  if (!differing.empty())
    return Error{ErrorCode::kMismatch, "ranges were made for something else: " + differing,
                 "calibrate again, or pass the inputs that these ranges were made from"};
  if (!file.complete())
    return Error{ErrorCode::kMismatch,
                 "ranges hold " + std::to_string(file.shards.size()) + " of " + std::to_string(file.shard_count) + " shards",
                 "join the parts with `onnxtool ranges merge`"};
  return {};
}

Result<RangeFile> merge_ranges(std::vector<RangeFile> parts, bool mix_isa) {
  if (parts.empty()) return Error{ErrorCode::kUsage, "no range files to merge", {}};
  RangeFile result = std::move(parts.front());
  std::set<int> shards(result.shards.begin(), result.shards.end());
  for (size_t i = 1; i < parts.size(); ++i) {
    RangeFile& part = parts[i];
    const std::string place = "part " + std::to_string(i + 1);
    const auto mismatch = [&](const std::string& what) { return Error{ErrorCode::kMismatch, place + ": " + what, {}}; };
    const auto differs = [&](const char* what, const std::string& found, const std::string& first) {
      return mismatch(std::string(what) + " is " + found + ", but " + first + " in the first part");
    };
    const RangeKey &k = part.key, &first = result.key;
    if (k.model != first.model) return differs("model digest", k.model, first.model);
    if (k.data != first.data) return differs("data digest", k.data, first.data);
    if (k.options != first.options) return differs("options digest", k.options, first.options);
    if (part.shard_count != result.shard_count)
      return differs("shard count", std::to_string(part.shard_count), std::to_string(result.shard_count));
    if (k.kernel_set != first.kernel_set || k.isa != first.isa) {
      if (!mix_isa) {
        Error e = differs("kernel set and ISA", k.kernel_set + " " + k.isa, first.kernel_set + " " + first.isa);
        e.hint = "parts that other kernels computed differ in the last bits; --mix-isa joins them all the same, --isa pins one";
        return e;
      }
      if (k.kernel_set != first.kernel_set) result.key.kernel_set = "mixed";
      result.key.isa = "mixed";
    }
    for (int s : part.shards)
      if (!shards.insert(s).second) return mismatch("shard " + std::to_string(s) + " is already in");
    if (part.tensors.size() != result.tensors.size() ||
        !std::equal(part.tensors.begin(), part.tensors.end(), result.tensors.begin(),
                    [](const auto& a, const auto& b) { return a.first == b.first; }))
      return mismatch("holds other tensors than the first part");
    auto to = result.tensors.begin();
    for (const auto& [name, summary] : part.tensors) (to++)->second.merge(summary);
    if (__builtin_add_overflow(result.samples, part.samples, &result.samples)) return mismatch("sample counts pass 64 bits");
  }
  result.shards.assign(shards.begin(), shards.end());
  return result;
}

std::string save_onnxruntime_ranges(const std::map<std::string, Range>& ranges) {
  std::string out = "{\"CLS\": \"TensorsData\", \"data\": {";
  const char* separator = "";
  const auto array = [](double value) {
    return "{\"data\": " + number(static_cast<float>(value)) + ", \"dtype\": \"float32\", \"CLS\": \"numpy.array\"}";
  };
  for (const auto& [name, range] : ranges) {
    out += separator + json_string(name) + ": {\"lowest\": " + array(range.min) + ", \"highest\": " + array(range.max) +
           ", \"CLS\": \"TensorData\"}";
    separator = ", ";
  }
  return out + "}, \"calibration_method\": {\"CLS\": \"CalibrationMethod\", \"value\": \"CalibrationMethod.MinMax\"}, "
               "\"smooth_quant\": false}\n";
}

Result<std::map<std::string, Range>> load_onnxruntime_ranges(std::string_view text) {
  ONNXTOOL_ASSIGN(const Json json, parse(text));
  if (!json.is_object()) return bad("is no calibration table: not an object");
  const Json* table = &json;
  if (const auto cls = json.find("CLS"); cls != json.end()) {
    if (*cls != "TensorsData" || !json.contains("data") || !json["data"].is_object())
      return bad("is no calibration table: 'CLS' is " + cls->dump(-1, ' ', true, Json::error_handler_t::replace) + " or 'data' is missing");
    table = &json["data"];
  }
  std::map<std::string, Range> ranges;
  for (const auto& item : table->items()) {
    const Json& value = item.value();
    const std::string place = "tensor '" + item.key() + "': ";
    if (!value.is_object()) return bad(place + "is not an object");
    // A number, or a numpy array of one element.
    const auto limit = [&](const char* key) -> std::optional<double> {
      const auto it = value.find(key);
      if (it == value.end()) return std::nullopt;
      const Json* v = &*it;
      if (v->is_object()) {
        const auto data = v->find("data");
        if (data == v->end()) return std::nullopt;
        v = &*data;
      }
      while (v->is_array() && v->size() == 1) v = &v->front();
      if (!v->is_number()) return std::nullopt;
      return v->get<double>();
    };
    const auto low = limit("lowest"), high = limit("highest");
    if (!low || !high) return bad(place + "has no single 'lowest' and 'highest'");
    if (!std::isfinite(*low) || !std::isfinite(*high) || *low > *high)
      return bad(place + "'lowest' " + number(*low) + " and 'highest' " + number(*high) + " are no range");
    ranges[item.key()] = {*low, *high};
  }
  return ranges;
}

namespace {
constexpr std::string_view kTensorRtHeader = "TRT-8000-EntropyCalibration2";
constexpr double kTensorRtLevels = 127;
}  // namespace

Result<std::string> save_tensorrt_ranges(const std::map<std::string, Range>& ranges) {
  std::string out = std::string(kTensorRtHeader) + "\n";
  for (const auto& [name, range] : ranges) {
    if (name.find_first_of("\r\n") != std::string::npos)
      return Error{ErrorCode::kUnsupported, "tensor " + json_string(name) + " has a line break in its name, which a TensorRT calibration cache cannot hold", {}};
    const auto scale = static_cast<float>(std::max(std::fabs(range.min), std::fabs(range.max)) / kTensorRtLevels);
    std::array<char, 8> hex;
    uint32_t bits = std::bit_cast<uint32_t>(scale);
    for (size_t i = hex.size(); i-- > 0; bits >>= 4) hex[i] = "0123456789abcdef"[bits & 15];
    out += name + ": " + std::string(hex.data(), hex.size()) + "\n";
  }
  return out;
}

Result<std::map<std::string, Range>> load_tensorrt_ranges(std::string_view text) {
  std::map<std::string, Range> ranges;
  int line_number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    ++line_number;
    if (line_number == 1) {
      if (!line.starts_with("TRT-")) return bad("is no TensorRT calibration cache: the first line does not begin with TRT-");
      continue;
    }
    if (line.empty()) continue;
    const std::string place = "line " + std::to_string(line_number) + ": ";
    const size_t colon = line.rfind(": ");
    uint32_t bits = 0;
    const char* const last = line.data() + line.size();
    if (colon == std::string_view::npos || last - (line.data() + colon) != 10 ||
        std::from_chars(line.data() + colon + 2, last, bits, 16).ptr != last)
      return bad(place + "expected `name: ` and eight hexadecimal digits");
    const auto scale = static_cast<double>(std::bit_cast<float>(bits));
    if (!std::isfinite(scale) || scale < 0) return bad(place + "the scale is no positive float");
    ranges[std::string(line.substr(0, colon))] = {-scale * kTensorRtLevels + 0.0, scale * kTensorRtLevels};
  }
  if (line_number == 0) return bad("is no TensorRT calibration cache: the file is empty");
  return ranges;
}

}  // namespace onnxtool
