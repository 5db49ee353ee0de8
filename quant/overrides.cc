#include "quant/overrides.h"

#include <charconv>
#include <cmath>

#include "libopt/ir/model.h"
#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

constexpr const char* kKeys =
    "keys are type, weights, weight-type, activation-type, calibrator, percentile, range and "
    "symmetric";

bool parse_number(std::string_view text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

// An empty text: the value is one of the key's.
std::string parse_value(const std::string& key, const std::string& value, OverrideValues& v) {
  if (key == "type") {
    v.in_float = true;
    return value == "float" ? "" : "float";
  }
  if (key == "weights") {
    v.per_channel = value == "per-channel";
    return *v.per_channel || value == "per-tensor" ? "" : "per-channel or per-tensor";
  }
  if (key == "weight-type") {
    v.weight_type = value == "u8" ? DataType::kUint8 : DataType::kInt8;
    return value == "s8" || value == "u8" ? "" : "s8 or u8";
  }
  if (key == "activation-type") {
    for (const auto& [name, type] : {std::pair("u8", DataType::kUint8),
                                     {"s8", DataType::kInt8},
                                     {"u16", DataType::kUint16},
                                     {"s16", DataType::kInt16}})
      if (value == name) v.activation_type = type;
    return v.activation_type ? "" : "u8, s8, u16 or s16";
  }
  if (key == "symmetric") {
    v.symmetric = value == "yes";
    return *v.symmetric || value == "no" ? "" : "yes or no";
  }
  if (key == "calibrator") {
    auto calibrator = parse_calibrator(value);
    if (!calibrator.ok()) return "minmax, moving-average, percentile, entropy or mse";
    v.calibrator = *calibrator;
    return "";
  }
  double low = 0, high = 0;
  if (key == "percentile") {
    v.calibrator = Calibrator::kPercentile;
    v.percentile = parse_number(value, high) ? high : 0;
    return *v.percentile > 0 && *v.percentile <= 100 ? "" : "a number above 0 and up to 100";
  }
  const size_t comma = value.find(',');
  if (comma == std::string::npos || !parse_number(std::string_view(value).substr(0, comma), low) ||
      !parse_number(std::string_view(value).substr(comma + 1), high) || low > 0 || high < 0 ||
      low == high)
    return "MIN,MAX with zero between them, as in -1,2.5";
  v.range = Range{low, high};
  return "";
}

bool is_key(const std::string& key) {
  for (const char* known : {"type", "weights", "weight-type", "activation-type", "calibrator",
                            "percentile", "range", "symmetric"})
    if (key == known) return true;
  return false;
}

template <class T>
void take(std::optional<T>& to, const std::optional<T>& from) {
  if (from) to = from;
}

void merge(OverrideValues& to, const OverrideValues& from) {
  to.in_float |= from.in_float;
  take(to.per_channel, from.per_channel);
  take(to.weight_type, from.weight_type);
  take(to.activation_type, from.activation_type);
  take(to.calibrator, from.calibrator);
  take(to.percentile, from.percentile);
  take(to.range, from.range);
  take(to.symmetric, from.symmetric);
}

// A layer, or what preparation joins with one, whose name the layer may take.
bool has_weights(const Node& n) {
  const OpHandler* h = find_handler(n);
  return (h && h->role == Role::kCore) || n.is("Add") || n.is("Mul") || n.is("BatchNormalization");
}

}  // namespace

Result<Overrides> Overrides::parse(const std::vector<std::string>& texts) {
  Overrides out;
  for (const std::string& text : texts) {
    const size_t equals = text.rfind('=');
    const size_t colon = equals == std::string::npos ? equals : text.rfind(':', equals);
    const auto bad = [&](const std::string& what) {
      return Error{ErrorCode::kUsage, "--override " + text + ": " + what, kKeys};
    };
    if (colon == std::string::npos || colon == 0) return bad("expected SELECTOR:KEY=VALUE");
    const std::string key = text.substr(colon + 1, equals - colon - 1);
    if (!is_key(key)) return bad("'" + key + "' is no key");
    Entry e;
    e.text = text;
    auto selector = Selection::parse({text.substr(0, colon)});
    if (!selector.ok()) return bad(selector.error().message);
    e.selector = *std::move(selector);
    if (const std::string expected = parse_value(key, text.substr(equals + 1), e.values);
        !expected.empty())
      return bad("'" + text.substr(equals + 1) + "' is no value of " + key + ", expected " +
                 expected);
    out.entries_.push_back(std::move(e));
  }
  return out;
}

Status Overrides::check(const Model& model) const {
  for (const Entry& e : entries_)
    if (Status s = e.selector.check(model, /*means_tensors=*/true); !s.ok())
      return std::move(s).error().at("--override " + e.text);
  if (!model.functions.empty()) return {};  // their nodes are there once calls are inlined
  for (const Entry& e : entries_) {
    const bool weights = e.values.per_channel || e.values.weight_type;
    if (!weights && !e.values.in_float) continue;
    bool any = false;
    for (const Node& n : model.graph().nodes())
      any = any || (e.selector.matches(n) && (!weights || has_weights(n)));
    if (!any)
      return Error{ErrorCode::kUsage,
                   "--override " + e.text + ": it is said of no " +
                       (weights ? "layer with weights" : "node"),
                   weights ? "Conv, Gemm and MatMul have weights"
                           : "name a node, or a tensor that one makes"};
  }
  return {};
}

OverrideValues Overrides::of(const Node& node, const Node* also) const {
  OverrideValues v;
  for (const Entry& e : entries_)
    if (e.selector.matches(node) || (also && e.selector.matches(*also))) merge(v, e.values);
  return v;
}

OverrideValues Overrides::of(const Value& value) const {
  OverrideValues v;
  for (const Entry& e : entries_)
    if (e.selector.matches(value)) merge(v, e.values);
  return v;
}

bool Overrides::leaves_in_float() const {
  for (const Entry& e : entries_)
    if (e.values.in_float) return true;
  return false;
}

bool Overrides::asks_for_channels() const {
  for (const Entry& e : entries_)
    if (e.values.per_channel.value_or(false)) return true;
  return false;
}

std::vector<DataType> Overrides::weight_types() const {
  std::vector<DataType> out;
  for (const Entry& e : entries_)
    if (e.values.weight_type) out.push_back(*e.values.weight_type);
  return out;
}

std::vector<DataType> Overrides::activation_types() const {
  std::vector<DataType> out;
  for (const Entry& e : entries_)
    if (e.values.activation_type) out.push_back(*e.values.activation_type);
  return out;
}

void Overrides::append(const Overrides& more) {
  entries_.insert(entries_.end(), more.entries_.begin(), more.entries_.end());
}

}  // namespace onnxtool
