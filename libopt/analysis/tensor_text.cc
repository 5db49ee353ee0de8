#include "libopt/analysis/tensor_text.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "libopt/io/encode.h"
#include "libopt/io/sparse_initializers.h"
#include "libopt/ir/unread.h"
#include "libopt/support/scaled.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

std::string number(float v) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, v);
  return {buffer, end};
}
std::string number(int64_t v) { return std::to_string(v); }

template <class List>
std::string list_text(const List& list) {
  std::string out = "[";
  for (const auto& v : list) out += (out.size() > 1 ? ", " : "") + number(v);
  return out + "]";
}

// So that no two strings, and no two lists of them, look the same.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string digest_of(const Tensor& t) {
  Sha256 d;
  if (t.dtype() == DataType::kString)
    for (const std::string& s : t.strings()) d.add(std::to_string(s.size()) + ":" + s);
  else
    d.add(t.bytes());
  return d.hex();
}

std::string type_text(const Tensor& t) {
  return std::string(name(t.dtype())) + format_dims(t.dims());
}

}  // namespace

std::string tensor_text(const Tensor& t) {
  if (unread_data(t)) return type_text(t) + " external, not read";
  return type_text(t) + " sha256:" + digest_of(t).substr(0, 32);
}

std::map<std::string, std::string> sparse_initializer_texts(const Graph& graph) {
  std::map<std::string, std::string> out;
  for_each_sparse_initializer(graph, [&](const SparseTensor& s) {
    Sha256 d;
    d.add(tensor_text(s.values.tensor));
    d.add(tensor_text(s.indices.tensor));
    out[s.values.name] = "sparse " + std::string(name(s.values.tensor.dtype())) +
                         format_dims(s.dims) + " sha256:" + d.hex().substr(0, 32);
  });
  return out;
}

bool seem_equal(const Tensor& a, const Tensor& b) {
  if (unread_data(a) || unread_data(b)) return type_text(a) == type_text(b);
  return a.same_content(b);
}

std::string tensor_change(const Tensor& a, const Tensor& b) {
  if (type_text(a) != type_text(b)) return type_text(a) + " -> " + type_text(b);
  std::string out = type_text(a) + " sha256:" + digest_of(a).substr(0, 12) +
                    " -> sha256:" + digest_of(b).substr(0, 12);
  if (!is_float(a.dtype())) return out;
  double signal = 0, error = 0, most = 0;
  const auto x = a.to_doubles(), y = b.to_doubles();
  for (size_t i = 0; i < x.size(); ++i) {
    signal += x[i] * x[i];
    error += (y[i] - x[i]) * (y[i] - x[i]);
    most = std::max(most, std::fabs(y[i] - x[i]));
  }
  char text[96];
  if (!std::isfinite(signal) || !std::isfinite(error)) return out + ", with NaN or infinities";
  if (error == 0) return out + ", in the signs of zeros alone";
  if (signal == 0)
    std::snprintf(text, sizeof text, ", largest difference %.4g", most);
  else
    std::snprintf(text, sizeof text, ", SQNR %.2f dB, largest difference %.4g",
                  decibels(signal, error), most);
  return out + text;
}

std::string attribute_kind_name(int kind) {
  constexpr const char* kNames[] = {"undefined",      "float",   "int",    "string",
                                    "tensor",         "graph",   "floats", "ints",
                                    "strings",        "tensors", "graphs", "sparse_tensor",
                                    "sparse_tensors", "type",    "types"};
  return kind >= 0 && kind < 15 ? kNames[kind] : std::to_string(kind);
}

std::string attribute_text(const Attribute& a) {
  if (!a.ref.empty()) return "@" + a.ref;
  if (const auto* v = a.get<float>()) return number(*v);
  if (const auto* v = a.get<int64_t>()) return number(*v);
  if (const auto* v = a.get<std::string>()) return quoted(*v);
  if (const auto* v = a.get<std::vector<float>>()) return list_text(*v);
  if (const auto* v = a.get<std::vector<int64_t>>()) return list_text(*v);
  if (const auto* v = a.get<NamedTensor>()) return tensor_text(v->tensor);
  if (const auto* v = a.get<std::vector<std::string>>()) {
    std::string out = "[";
    for (const std::string& s : *v) out += (out.size() > 1 ? ", " : "") + quoted(s);
    return out + "]";
  }
  if (const auto* v = a.get<std::vector<NamedTensor>>()) {
    std::string out = "[";
    for (const NamedTensor& t : *v) out += (out.size() > 1 ? ", " : "") + tensor_text(t.tensor);
    return out + "]";
  }
  if (a.kind == AttributeKind::kGraph || a.kind == AttributeKind::kGraphs) return {};
  // Types and sparse tensors: their bytes are their value.
  Sha256 d;
  d.add(std::string_view(encode_attribute(a).flatten()));
  return "sha256:" + d.hex().substr(0, 32);
}

}  // namespace onnxtool
