// Calibration files of onnxruntime (JSON) and TensorRT (text).

#include "calib/ranges/foreign.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "calib/ranges/json_text.h"

namespace onnxtool {
namespace {

using Json = nlohmann::json;

Error bad(std::string what) { return Error{ErrorCode::kBadData, std::move(what), {}}; }

}  // namespace

std::string save_onnxruntime_ranges(const std::map<std::string, Range>& ranges) {
  std::string out = "{\"CLS\": \"TensorsData\", \"data\": {";
  const char* separator = "";
  const auto array = [](double value) {
    return "{\"data\": " + json_number(static_cast<float>(value)) +
           ", \"dtype\": \"float32\", \"CLS\": \"numpy.array\"}";
  };
  for (const auto& [name, range] : ranges) {
    out += separator + json_string(name) + ": {\"lowest\": " + array(range.min) +
           ", \"highest\": " + array(range.max) + ", \"CLS\": \"TensorData\"}";
    separator = ", ";
  }
  return out +
         "}, \"calibration_method\": {\"CLS\": \"CalibrationMethod\", \"value\": "
         "\"CalibrationMethod.MinMax\"}, "
         "\"smooth_quant\": false}\n";
}

Result<std::map<std::string, Range>> load_onnxruntime_ranges(std::string_view text) {
  ONNXTOOL_ASSIGN(const Json json, parse_json(text));
  if (!json.is_object()) return bad("is no calibration table: not an object");
  const Json* table = &json;
  if (const auto cls = json.find("CLS"); cls != json.end()) {
    if (*cls != "TensorsData" || !json.contains("data") || !json["data"].is_object())
      return bad("is no calibration table: 'CLS' is " +
                 cls->dump(-1, ' ', true, Json::error_handler_t::replace) +
                 " or 'data' is missing");
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
      return bad(place + "'lowest' " + json_number(*low) + " and 'highest' " + json_number(*high) +
                 " are no range");
    // It reads them as floats, whatever digits stand there.
    ranges[item.key()] = {static_cast<double>(static_cast<float>(*low)),
                          static_cast<double>(static_cast<float>(*high))};
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
      return Error{
          ErrorCode::kUnsupported,
          "tensor " + json_string(name) +
              " has a line break in its name, which a TensorRT calibration cache cannot hold",
          {}};
    const auto scale =
        static_cast<float>(std::max(std::fabs(range.min), std::fabs(range.max)) / kTensorRtLevels);
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
      if (!line.starts_with("TRT-"))
        return bad("is no TensorRT calibration cache: the first line does not begin with TRT-");
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
    ranges[std::string(line.substr(0, colon))] = {-scale * kTensorRtLevels + 0.0,
                                                  scale * kTensorRtLevels};
  }
  if (line_number == 0) return bad("is no TensorRT calibration cache: the file is empty");
  return ranges;
}

std::string_view name(RangeForm form) {
  switch (form) {
    case RangeForm::kOnnxtool: return "onnxtool";
    case RangeForm::kOrt: return "ort";
    case RangeForm::kTrt: return "trt";
  }
  check_failed(__FILE__, __LINE__, "form is listed");
}

RangeForm detect_ranges(std::string_view text) {
  constexpr size_t kHead = 256;  // save_ranges() says what it is first of all
  if (text.starts_with("TRT-")) return RangeForm::kTrt;
  return text.substr(0, kHead).find("\"onnxtool-ranges\"") != std::string_view::npos
             ? RangeForm::kOnnxtool
             : RangeForm::kOrt;
}

Result<ForeignRanges> load_foreign_ranges(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  ForeignRanges out;
  out.form = detect_ranges(text);
  if (out.form != RangeForm::kTrt && (first == std::string_view::npos || text[first] != '{'))
    return bad(
        "is no range file: neither onnxtool's, nor onnxruntime's calibration JSON, nor a TensorRT "
        "calibration cache");
  if (out.form == RangeForm::kTrt) {
    ONNXTOOL_ASSIGN(out.ranges, load_tensorrt_ranges(text));
  } else {
    ONNXTOOL_ASSIGN(out.ranges, load_onnxruntime_ranges(text));
  }
  if (out.ranges.empty()) return bad("holds the range of no tensor");
  return out;
}

}  // namespace onnxtool
