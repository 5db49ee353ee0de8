// golden.toml, read and written.
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <sstream>

#include "calib/compare/gates.h"
#include "calib/compare/golden.h"
#include "calib/data/files.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

constexpr std::string_view kSchema = "onnxtool-golden-1";
constexpr std::string_view kTestDataForm = "test_data_set";

DataType type_of(std::string_view text) {
  for (int i = 1; i <= 26; ++i)
    if (name(static_cast<DataType>(i)) == text) return static_cast<DataType>(i);
  return DataType::kUndefined;
}

// Strict: a slip in a key or a type would lose a limit, and a comparison without it would pass.
class Reader {
 public:
  Reader(const std::string& path, const toml::table& table) : path_(path), table_(table) {}

  Result<Golden> read() {
    Golden g;
    if (const std::string schema = text(table_, "schema"); schema != kSchema)
      return bad("schema is '" + schema + "', expected " + std::string(kSchema));
    known(table_, "",
          {"schema", "form", "tool_version", "model", "data", "gates", "inputs", "outputs",
           "samples"});
    const std::string form = text(table_, "form");
    if (!form.empty() && form != kTestDataForm) return bad("form is '" + form + "'");
    g.form = form.empty() ? GoldenForm::kSafetensors : GoldenForm::kTestData;
    g.tool_version = text(table_, "tool_version");
    read_model(part("model", {"file", "sha256", "kind"}), g);
    const toml::table& data = part("data", {"format", "preprocess", "seed"});
    g.data_format = text(data, "format", "data.");
    g.preprocess = text(data, "preprocess", "data.");
    if (const auto seed = number<int64_t>(data, "seed", "data."))
      g.seed = static_cast<uint64_t>(*seed);
    read_gates(part("gates", {"limits", "atol", "rtol"}), g);
    tensors("inputs", g.inputs);
    tensors("outputs", g.outputs);
    for (const toml::table* t : list("samples", {"file", "id", "sha256", "label"}))
      g.samples.push_back(sample(*t));
    if (wrong_) return bad(*wrong_);
    if (g.samples.empty() || g.outputs.empty()) return bad("it lists no samples or no outputs");
    return g;
  }

 private:
  Error bad(const std::string& what) const {
    return bad_data(path_ + ": " + what, "record the set anew with diff --record");
  }
  // The first is told.
  void wrong(const std::string& what) {
    if (!wrong_) wrong_ = what;
  }

  void known(const toml::table& t, const std::string& at, std::span<const std::string_view> keys) {
    for (const auto& [key, value] : t)
      if (std::find(keys.begin(), keys.end(), key.str()) == keys.end())
        wrong("no key '" + at + std::string(key.str()) + "' is known");
  }
  void known(const toml::table& t, const std::string& at,
             std::initializer_list<std::string_view> keys) {
    known(t, at, std::span(keys.begin(), keys.size()));
  }

  std::string text(const toml::table& t, std::string_view key, const std::string& at = "") {
    const toml::node* node = t.get(key);
    if (!node) return {};
    if (!node->is_string()) wrong(at + std::string(key) + " is no string");
    return node->value_or(std::string());
  }

  template <class T>
  std::optional<T> number(const toml::table& t, std::string_view key, const std::string& at) {
    const toml::node* node = t.get(key);
    if (!node) return std::nullopt;
    const auto value = node->is_number() ? node->value<T>() : std::nullopt;
    if (!value) wrong(at + std::string(key) + " is no number that fits");
    return value;
  }

  const toml::table& part(std::string_view key, std::initializer_list<std::string_view> keys) {
    const toml::node* node = table_.get(key);
    if (!node) return empty_;
    if (!node->is_table()) {
      wrong(std::string(key) + " is no table");
      return empty_;
    }
    known(*node->as_table(), std::string(key) + ".", keys);
    return *node->as_table();
  }

  std::vector<const toml::table*> list(std::string_view key,
                                       std::initializer_list<std::string_view> keys) {
    std::vector<const toml::table*> out;
    const toml::node* node = table_.get(key);
    if (!node) return out;
    if (!node->is_array()) wrong(std::string(key) + " is no list of tables");
    if (const toml::array* array = node->as_array())
      for (const toml::node& entry : *array) {
        if (!entry.is_table()) {
          wrong(std::string(key) + " is no list of tables");
          continue;
        }
        known(*entry.as_table(), std::string(key) + ".", keys);
        out.push_back(entry.as_table());
      }
    return out;
  }

  void read_model(const toml::table& t, Golden& g) {
    g.model = text(t, "file", "model.");
    g.model_sha256 = text(t, "sha256", "model.");
    g.model_kind = text(t, "kind", "model.");
    // The default gates go by it.
    if (!g.model_kind.empty() &&
        std::ranges::none_of(std::array{ModelKind::kFloat, ModelKind::kHalf, ModelKind::kQuantized},
                             [&](ModelKind kind) { return g.model_kind == name(kind); }))
      wrong("model.kind is '" + g.model_kind + "', expected float, float16 or int8");
    // Other runtimes record sets without it.
    if (!g.model_sha256.empty() && !is_sha256(g.model_sha256)) wrong("model.sha256 is no digest");
  }

  void read_gates(const toml::table& t, Golden& g) {
    for (const auto& [key, band] : {std::pair("atol", &g.atol), std::pair("rtol", &g.rtol)}) {
      *band = number<double>(t, key, "gates.");
      if (*band && !(std::isfinite(**band) && **band >= 0))
        wrong("gates." + std::string(key) + " is no size of a band");
    }
    const toml::node* limits = t.get("limits");
    if (!limits) return;
    if (!limits->is_array()) return wrong("gates.limits is no list of strings");
    for (const toml::node& entry : *limits->as_array()) {
      if (!entry.is_string()) wrong("gates.limits is no list of strings");
      g.gates.push_back(entry.value_or(std::string()));
    }
  }

  void tensors(std::string_view key, std::vector<GoldenTensor>& out) {
    for (const toml::table* t : list(key, {"name", "type"})) {
      const std::string at = std::string(key) + ".";
      const std::string type = text(*t, "type", at);
      if (type_of(type) == DataType::kUndefined)
        wrong(std::string(key) + ": '" + type + "' is no type");
      out.push_back({text(*t, "name", at), type_of(type)});
    }
  }

  GoldenSample sample(const toml::table& t) {
    GoldenSample s;
    s.file = text(t, "file", "samples.");
    s.id = text(t, "id", "samples.");
    s.sha256 = text(t, "sha256", "samples.");
    // No path: a set reads nothing but its own samples.
    if (s.file.empty() || s.file[0] == '.' || s.file.find('/') != std::string::npos ||
        s.file.find('\0') != std::string::npos)
      wrong("sample file '" + s.file + "' is no plain name");
    if (!is_sha256(s.sha256)) wrong("sample '" + s.file + "' has no sha256");
    const int64_t label = number<int64_t>(t, "label", "samples.").value_or(-1);
    if (label < -1 || label > INT32_MAX) wrong("sample '" + s.file + "': label is out of range");
    s.label = static_cast<int>(std::clamp<int64_t>(label, -1, INT32_MAX));
    return s;
  }

  const std::string& path_;
  const toml::table& table_;
  const toml::table empty_;
  std::optional<std::string> wrong_;
};

}  // namespace

Result<Golden> parse_golden(const std::string& text, const std::string& path) {
  try {
    const toml::table table = toml::parse(text, path);
    return Reader(path, table).read();
  } catch (const toml::parse_error& e) {
    return bad_data(
        path + ":" + std::to_string(e.source().begin.line) + ": " + std::string(e.description()),
        "record the set anew with diff --record");
  }
}

std::string format_golden(const Golden& g) {
  toml::table root, model, data, gates;
  model.insert("file", g.model);
  model.insert("sha256", g.model_sha256);
  model.insert("kind", g.model_kind);
  data.insert("format", g.data_format);
  if (!g.preprocess.empty()) data.insert("preprocess", g.preprocess);
  if (g.seed) data.insert("seed", static_cast<int64_t>(*g.seed));
  if (!g.gates.empty()) {
    toml::array limits;
    for (const std::string& text : g.gates) limits.push_back(text);
    gates.insert("limits", limits);
  }
  if (g.atol) gates.insert("atol", *g.atol);
  if (g.rtol) gates.insert("rtol", *g.rtol);
  const auto tensors = [](const std::vector<GoldenTensor>& list) {
    toml::array out;
    for (const GoldenTensor& t : list)
      out.push_back(toml::table{{"name", t.name}, {"type", name(t.dtype)}});
    return out;
  };
  toml::array samples;
  for (const GoldenSample& s : g.samples) {
    toml::table t{{"file", s.file}, {"id", s.id}, {"sha256", s.sha256}};
    if (s.label >= 0) t.insert("label", int64_t{s.label});
    samples.push_back(std::move(t));
  }
  root.insert("schema", kSchema);
  if (g.form == GoldenForm::kTestData) root.insert("form", kTestDataForm);
  root.insert("tool_version", g.tool_version);
  root.insert("model", model);
  root.insert("data", data);
  if (!gates.empty()) root.insert("gates", gates);
  root.insert("inputs", tensors(g.inputs));
  root.insert("outputs", tensors(g.outputs));
  root.insert("samples", samples);
  std::ostringstream out;
  out << root << "\n";
  return out.str();
}

}  // namespace onnxtool
