#include "tests/support/random_models.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <numeric>

#include "libopt/analysis/seam.h"
#include "libopt/support/half.h"

namespace onnxtool::testing {
namespace {

constexpr int64_t kMaxElements = 1 << 14;
constexpr int kOpsets[] = {7,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18,
                           19, 20, 21, 22, 23, 24, 25, 26, 27, 28};
constexpr int kNewestMl = 5;

const std::map<std::string, std::string>& type_classes() {
  static const std::map<std::string, std::string> kClasses = {
      {"flt", "float|float|float|float|double|float16|bfloat16"},
      {"num", "float|float|double|int32|int64|float16|uint8|int8"},
      {"int", "int32|int64|uint8|int8|uint32|int16"},
      {"any", "float|float|double|int64|int32|uint8|bool|string|float16"}};
  return kClasses;
}

DataType type_named(const std::string& text) {
  for (int32_t t = 1; t <= static_cast<int32_t>(DataType::kInt2); ++t)
    if (name(static_cast<DataType>(t)) == text) return static_cast<DataType>(t);
  return DataType::kUndefined;
}

template <class T>
Tensor tensor_of(const std::vector<int64_t>& dims, const std::vector<double>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    const T v = static_cast<T>(values[i]);
    std::memcpy(bytes.data() + i * sizeof(T), &v, sizeof v);
  }
  return Tensor::from_bytes(dtype_of<T>, dims, std::move(bytes));
}

Tensor tensor_of(DataType type, const std::vector<int64_t>& dims, const std::vector<double>& v) {
  switch (type) {
    case DataType::kFloat: return tensor_of<float>(dims, v);
    case DataType::kDouble: return tensor_of<double>(dims, v);
    case DataType::kFloat16: return tensor_of<Half>(dims, v);
    case DataType::kBfloat16: return tensor_of<Bfloat16>(dims, v);
    case DataType::kInt8: return tensor_of<int8_t>(dims, v);
    case DataType::kUint8: return tensor_of<uint8_t>(dims, v);
    case DataType::kInt16: return tensor_of<int16_t>(dims, v);
    case DataType::kUint16: return tensor_of<uint16_t>(dims, v);
    case DataType::kInt32: return tensor_of<int32_t>(dims, v);
    case DataType::kUint32: return tensor_of<uint32_t>(dims, v);
    case DataType::kUint64: return tensor_of<uint64_t>(dims, v);
    case DataType::kBool: return tensor_of<bool>(dims, v);
    case DataType::kString: break;
    default: return tensor_of<int64_t>(dims, v);
  }
  const char* const words[] = {"a", "b", "ab", "", "a b", "Zurich", "abab"};
  std::vector<std::string> strings;
  for (const double d : v)
    strings.emplace_back(words[static_cast<size_t>(std::abs(d) * 10) % std::size(words)]);
  return Tensor::from_strings(dims, std::move(strings));
}

Datum counted_map(const Tensor& values) {
  std::vector<int64_t> keys(static_cast<size_t>(values.count()));
  std::iota(keys.begin(), keys.end(), 0);
  return Datum::map(Tensor::vector(keys), values);
}

struct Known {  // a value that later nodes may read
  std::string name;
  DataType type;
  std::vector<int64_t> dims;
};

class Maker {
 public:
  Maker(const std::vector<Recipe>& recipes, uint32_t seed)
      : recipes_(recipes), random_(seed * 2654435761u + 1) {
    choose_opsets(recipes[seed % recipes.size()]);
  }

  Status add(const Recipe& recipe) {
    const Recipe::Operator* op = operator_of(recipe);
    if (!op) return {};
    for (int attempt = 0; attempt < 20; ++attempt) {
      Use use{Meanings(recipe, random_), {}, {}, {}, {}};
      use.meanings.set_large(attempt < 10);
      auto fits = read_inputs(recipe, use);
      if (!fits.ok()) return std::move(fits).error().at(place(recipe));
      if (!*fits) continue;
      return write(recipe, *op, use);
    }
    return {};
  }
  Status add_any() {
    return add(
        recipes_[static_cast<size_t>(draw(random_, 0, static_cast<int64_t>(recipes_.size()) - 1))]);
  }

  Result<RandomModel> finish() {
    RandomModel made;
    if (nodes_.empty()) return made;
    ONNXTOOL_ASSIGN(const auto whole, parse_text(text(results_)));
    // What nobody reads is an output, and so is some of the rest: plans may not fuse across it.
    std::vector<std::string> outputs;
    for (const std::string& r : results_)
      if (whole->graph().find(r)->uses().empty() || draw(random_, 0, 7) == 0) outputs.push_back(r);
    made.text = text(outputs);
    ONNXTOOL_ASSIGN(made.model, parse_text(made.text));
    Graph& graph = made.model->graph();
    for (const Fed& f : fed_) {
      Value& v = *graph.find(f.name);
      if (f.is_constant) {
        graph.remove_input(v);
        graph.set_initializer(v, f.tensor);
      } else {
        made.inputs.push_back(f.is_map ? counted_map(f.tensor) : Datum(f.tensor));
      }
    }
    return made;
  }

 private:
  struct Fed {
    std::string name;
    Tensor tensor;
    bool is_constant;
    bool is_map = false;  // of 0, 1, 2... to the tensor's elements
  };
  struct Use {
    Meanings meanings;
    std::map<std::string, std::string> types;  // of classes
    std::vector<std::string> arguments;        // names; empty: absent
    std::vector<Fed> fed;
    std::map<std::string, std::string> names;
  };

  static std::string place(const Recipe& r) { return "operators.txt:" + std::to_string(r.line); }

  void choose_opsets(const Recipe& lead) {
    const bool standard = lead.operators[0].domain.empty();
    std::vector<int> fitting;
    for (const int v : kOpsets)
      if (!standard ? v >= 13 : v >= lead.first_opset && v <= lead.last_opset) fitting.push_back(v);
    onnx_ = fitting.empty() ? lead.first_opset
                            : fitting[static_cast<size_t>(
                                  draw(random_, 0, static_cast<int64_t>(fitting.size()) - 1))];
    if (lead.operators[0].domain == "ai.onnx.ml")
      ml_ = static_cast<int>(draw(random_, std::min(lead.first_opset, kNewestMl),
                                  std::min(lead.last_opset, kNewestMl)));
  }

  const Recipe::Operator* operator_of(const Recipe& r) {
    const std::string& domain = r.operators[0].domain;
    const int opset = domain.empty() ? onnx_ : domain == "ai.onnx.ml" ? ml_ : 1;
    if (domain != "com.microsoft" && (opset < r.first_opset || opset > r.last_opset))
      return nullptr;
    if (!domain.empty()) return &r.operators[0];
    for (const Recipe::Operator& o : r.operators)
      if (!is_in_force(o.op)) return nullptr;
    return &r.operators[0];
  }
  // Operators that the standard never had, or had as experiments, are the executor's own business.
  bool is_in_force(const std::string& op) const {
    if (!find_schema(op, "", 28) || onnx_ < 2) return true;
    const auto schema = find_schema(op, "", onnx_);
    return schema && !schema->deprecated;
  }

  std::string type_of(const RecipeInput& in, Use& use) {
    const std::string key = use.meanings.expand(in.type);
    if (type_named(key) != DataType::kUndefined) return key;
    std::string& bound = use.types[key];
    if (bound.empty()) {
      const auto known = type_classes().find(key);
      const std::string* own = use.meanings.setting(key);
      if (own) {
        bound = *own;
      } else if (known != type_classes().end()) {
        const auto options = split_outside_brackets(known->second, '|');
        bound = options[static_cast<size_t>(
            draw(random_, 0, static_cast<int64_t>(options.size()) - 1))];
      }
    }
    return bound;
  }

  // Takes a value that an earlier node gave, where type and dims allow it.
  bool take_known(const RecipeInput& in, Use& use, const std::vector<std::string>& dims) {
    if (known_.empty() || in.is_constant || !in.low.empty() || draw(random_, 0, 3) == 0)
      return false;
    const Known& k =
        known_[static_cast<size_t>(draw(random_, 0, static_cast<int64_t>(known_.size()) - 1))];
    if (k.dims.size() != dims.size()) return false;
    const std::string key = use.meanings.expand(in.type), type(name(k.type));
    if (type_named(key) == DataType::kUndefined) {
      const auto known = type_classes().find(key);
      if (known == type_classes().end()) return false;
      const auto options = split_outside_brackets(known->second, '|');
      std::string& bound = use.types[key];
      if (std::ranges::find(options, type) == options.end() || (!bound.empty() && bound != type))
        return false;
      bound = type;
    } else if (key != type) {
      return false;
    }
    for (size_t i = 0; i < dims.size(); ++i) {
      const bool fits = use.meanings.is_extent(dims[i])
                            ? use.meanings.bind(dims[i], k.dims[i])
                            : use.meanings.value(dims[i]) == std::optional(k.dims[i]);
      if (!fits) return false;
    }
    use.arguments.push_back(k.name);
    return true;
  }

  std::vector<double> values_of(const RecipeInput& in, Use& use, DataType type, int64_t count) {
    std::vector<double> out;
    if (!in.values.empty()) {
      for (const std::string& v : split_outside_brackets(use.meanings.expand(in.values), ',')) {
        const auto number = use.meanings.value(v);
        out.push_back(number ? static_cast<double>(*number) : std::stod(v));
      }
      if (out.size() == 1 && count != 1) out.resize(static_cast<size_t>(count), out[0]);
      return out;
    }
    const auto bound = [&](const std::string& text) {
      const auto number = use.meanings.value(text);
      return number ? static_cast<double>(*number) : std::stod(text);
    };
    const bool is_byte = type == DataType::kUint8 || type == DataType::kUint16;
    const double low = !in.low.empty() ? bound(in.low)
                       : is_byte || type == DataType::kUint32 || type == DataType::kUint64 ||
                               type == DataType::kBool
                           ? 0
                           : -9;
    const double high = !in.high.empty()          ? bound(in.high)
                        : type == DataType::kBool ? 1
                        : is_byte                 ? 255
                        : type == DataType::kInt8 ? 99
                                                  : 9;
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < count; ++i)
      if (is_float(type) && in.low.empty())
        out.push_back(normal(random_));
      else if (is_float(type))
        out.push_back(std::uniform_real_distribution<double>(low, std::max(low, high))(random_));
      else
        out.push_back(static_cast<double>(
            draw(random_, static_cast<int64_t>(low), static_cast<int64_t>(high))));
    return out;
  }

  // False: too large, or a shape that the drawn extents do not allow.
  Result<bool> read_inputs(const Recipe& r, Use& use) {
    for (const RecipeInput& in : r.inputs) {
      const bool leaves_out = in.is_absent || (in.is_optional && draw(random_, 0, 1) == 0);
      if (leaves_out) {
        use.arguments.emplace_back();
        continue;
      }
      const std::vector<std::string> dims_text =
          split_outside_brackets(use.meanings.expand(in.dims), ',');
      const bool counts = dims_text == std::vector<std::string>{"*"};
      if (!counts && in.type != "map" && take_known(in, use, dims_text)) continue;
      const bool is_map = in.type == "map";
      const DataType type = is_map ? DataType::kFloat : type_named(type_of(in, use));
      if (type == DataType::kUndefined)
        return Error{ErrorCode::kBadData, "'" + in.type + "' is no type", {}};
      std::vector<int64_t> dims;
      int64_t count = 1;
      for (const std::string& d : dims_text) {
        const auto extent =
            counts ? std::optional<int64_t>(static_cast<int64_t>(
                         split_outside_brackets(use.meanings.expand(in.values), ',').size()))
                   : use.meanings.value(d);
        if (!extent) return Error{ErrorCode::kBadData, "'" + d + "' is no extent", {}};
        if (*extent < 0 || (count *= *extent) > kMaxElements) return false;
        dims.push_back(*extent);
      }
      std::vector<double> values = values_of(in, use, type, counts ? dims[0] : count);
      if (static_cast<int64_t>(values.size()) != count)
        return Error{ErrorCode::kBadData, "a constant has another number of elements", {}};
      const std::string fresh = "x" + std::to_string(names_++);
      use.fed.push_back({fresh, tensor_of(type, dims, values),
                         !is_map && (in.is_constant || draw(random_, 0, 2) == 0), is_map});
      use.arguments.push_back(fresh);
    }
    return true;
  }

  // %0, %y: arguments, and names of this use's own.
  std::string with_names(const std::string& text, Use& use) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '%') {
        out += text[i];
        continue;
      }
      size_t end = i + 1;
      while (end < text.size() && std::isalnum(static_cast<unsigned char>(text[end])) != 0) ++end;
      const std::string key = text.substr(i + 1, end - i - 1);
      i = end - 1;
      if (std::isdigit(static_cast<unsigned char>(key[0])) != 0) {
        out += use.arguments.at(std::stoul(key));
        continue;
      }
      std::string& named = use.names[key];
      if (named.empty()) named = key + "_" + std::to_string(names_++);
      out += named;
    }
    return out;
  }

  std::string one_node(const Recipe& r, const Recipe::Operator& op, Use& use) {
    std::string line;
    for (int i = 0; i < r.outputs; ++i)
      line += std::string(i ? ", " : "") + (r.outputs == 1 ? "%y" : "%y" + std::to_string(i));
    line = with_names(line, use) + " = " + (op.domain.empty() ? "" : op.domain + ".") + op.op;
    if (!r.attributes.empty()) line += " <" + use.meanings.expand(r.attributes) + ">";
    std::vector<std::string> arguments = use.arguments;
    while (!arguments.empty() && arguments.back().empty()) arguments.pop_back();
    line += " (";
    for (size_t i = 0; i < arguments.size(); ++i) line += (i ? ", " : "") + arguments[i];
    return line + ")";
  }

  Status write(const Recipe& r, const Recipe::Operator& op, Use& use) {
    for (const auto& [type_class, type] : use.types) use.meanings.set(type_class, type);
    const std::string nodes =
        r.body.empty() ? one_node(r, op, use) + "\n" : with_names(use.meanings.expand(r.body), use);
    const size_t old_nodes = nodes_.size(), old_fed = fed_.size(), old_results = results_.size();
    nodes_ += nodes;
    for (Fed& f : use.fed) fed_.push_back(std::move(f));
    for (const auto& [key, named] : use.names) results_.push_back(named);
    auto model = parse_text(text(results_));
    if (!model.ok()) return std::move(model).error().at(place(r) + ":\n" + text(results_));
    if (!infer_graph((*model)->graph()).ok()) {  // what the standard refuses is no valid model
      nodes_.resize(old_nodes);
      fed_.resize(old_fed);
      results_.resize(old_results);
      return {};
    }
    for (const auto& [key, named] : use.names) {
      const Value* v = key[0] == 'y' ? (*model)->graph().find(named) : nullptr;
      if (!v || !v->type().is_tensor()) continue;
      if (const auto dims = v->type().static_dims())
        known_.push_back({named, v->type().dtype, *dims});
    }
    return {};
  }
  std::string text(const std::vector<std::string>& outputs) const {
    std::string t = "<ir_version: 10, opset_import: [\"\" : " + std::to_string(onnx_) +
                    ", \"com.microsoft\" : 1, \"ai.onnx.ml\" : " + std::to_string(ml_) +
                    ", \"ai.onnx.preview.training\" : 1]>\ng (";
    for (size_t i = 0; i < fed_.size(); ++i) {
      const Tensor& f = fed_[i].tensor;
      if (i) t += ", ";
      if (fed_[i].is_map) {
        t += "map(int64, float[]) " + fed_[i].name;
        continue;
      }
      t += std::string(name(f.dtype())) + "[";
      for (size_t d = 0; d < f.dims().size(); ++d)
        t += (d ? "," : "") + std::to_string(f.dims()[d]);
      t += "] " + fed_[i].name;
    }
    t += ") => (";
    for (size_t i = 0; i < outputs.size(); ++i) t += (i ? ", " : "") + outputs[i];
    return t + ") {\n" + nodes_ + "}\n";
  }

  const std::vector<Recipe>& recipes_;
  Random random_;
  int onnx_ = 21, ml_ = 3, names_ = 0;
  std::string nodes_;
  std::vector<Fed> fed_;
  std::vector<Known> known_;
  std::vector<std::string> results_;
};

}  // namespace

Result<RandomModels> RandomModels::load(const std::filesystem::path& recipes) {
  RandomModels models;
  ONNXTOOL_ASSIGN(const std::vector<Recipe> read, read_recipes(recipes));
  // One for each operator that stands alone: so each is at the head of as many models.
  for (const Recipe& r : read) {
    if (!r.body.empty()) models.recipes_.push_back(r);
    for (size_t i = 0; r.body.empty() && i < r.operators.size(); ++i) {
      models.recipes_.push_back(r);
      models.recipes_.back().operators = {r.operators[i]};
    }
  }
  if (models.recipes_.empty()) return Error{ErrorCode::kBadData, "no recipes", {}};
  return models;
}

Result<RandomModel> RandomModels::make(uint32_t seed, int more) const {
  Maker maker(recipes_, seed);
  ONNXTOOL_TRY(maker.add(recipes_[seed % recipes_.size()]));
  for (int i = 0; i < more; ++i) ONNXTOOL_TRY(maker.add_any());
  return maker.finish();
}

}  // namespace onnxtool::testing
