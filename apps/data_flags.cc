#include "apps/data_flags.h"

#include <charconv>

#include "libopt/ir/selector.h"

namespace onnxtool {
namespace {

Result<std::pair<std::string, std::string>> split_pair(const std::string& flag, const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    return Error{ErrorCode::kUsage, flag + " " + text + ": expected NAME=VALUE", {}};
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

Result<int64_t> parse_extent(const std::string& flag, const std::string& text) {
  int64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size() || v < 1)
    return Error{ErrorCode::kUsage, flag + ": '" + text + "' is no positive extent", {}};
  return v;
}

std::string suggest(const std::string& name, const std::vector<std::string>& known) {
  std::string hint;
  for (const std::string& c : close_candidates(name, known)) hint += (hint.empty() ? "did you mean " : ", ") + c;
  if (!hint.empty()) return hint;
  for (const std::string& k : known) hint += (hint.empty() ? "known: " : ", ") + k;
  return hint;
}

// The value follows its uses through operators that leave integers as they are.
void bound_uses(const Value& v, IntegerBounds& bounds, bool& found, int depth) {
  if (depth > 8) return;
  for (const Use& use : v.uses()) {
    const Node& n = *use.user;
    if (n.is("Gather") && use.index == 1 && n.has_input(0) && n.input(0).type().shape) {
      const auto& shape = *n.input(0).type().shape;
      int64_t axis = n.attr<int64_t>("axis", 0);
      if (axis < 0) axis += static_cast<int64_t>(shape.size());
      if (axis < 0 || axis >= static_cast<int64_t>(shape.size()) || !shape[static_cast<size_t>(axis)].value) continue;
      const int64_t high = std::max<int64_t>(*shape[static_cast<size_t>(axis)].value - 1, 0);
      bounds.high = found ? std::min(bounds.high, high) : high;
      found = true;
    } else if (n.is("Identity") || n.is("Reshape") || n.is("Unsqueeze") || n.is("Squeeze") || n.is("Cast") || n.is("Transpose") || n.is("Flatten")) {
      if (use.index == 0 && n.has_output(0)) bound_uses(n.output(0), bounds, found, depth + 1);
    }
  }
}

}  // namespace

void add_data_flags(CLI::App& command, DataFlags& f) {
  const std::string group = "Data";
  command.add_option("--random", f.random, "Use N seeded random samples instead of data; ranges are then a guess")->type_name("N")->group(group)->check(CLI::PositiveNumber);
  command.add_option("--seed", f.seed, "Seed of --random")->capture_default_str()->type_name("S")->group(group);
  command.add_option("--data-format", f.format, "auto, npy, npz, safetensors, pb, images or raw; auto looks at the content")->type_name("FORMAT")->group(group);
  command.add_option("--batch-axis", f.batch_axis, "Arrays stack samples along this axis")->type_name("AXIS")->group(group);
  command.add_option("--raw", f.raw, "Raw little-endian file or directory for an input; repeatable")->type_name("INPUT=PATH")->group(group);
  command.add_option("--dim", f.dims, "Extent of a named dynamic dimension; repeatable")->type_name("NAME=N")->group(group);
  command.add_option("--input-shape", f.input_shapes, "Shape of an input, as x=1,3,224,224; repeatable")->type_name("INPUT=DIMS")->group(group);
  const std::string images = "Images";
  std::string presets;
  for (const PreprocessPreset& p : preprocess_presets()) presets += (presets.empty() ? "" : ", ") + std::string(p.name);
  command.add_option("--preprocess", f.preprocess, "Named preprocessing: " + presets)->type_name("NAME")->group(images);
  command.add_option("--resize", f.resize, "Short side in pixels, or HxW (bilinear, as Pillow)")->type_name("N|HxW")->group(images);
  command.add_option("--crop", f.crop, "Centre crop")->type_name("N|HxW")->group(images);
  command.add_option("--layout", f.layout, "nchw or nhwc; default: as the input's shape says")->type_name("LAYOUT")->group(images);
  command.add_option("--channels", f.channels, "rgb, bgr or grey; default: as the input's shape says")->type_name("ORDER")->group(images);
  command.add_option("--scale", f.scale, "Pixel factor, default 1/255: value = (pixel x scale - mean) / std")->type_name("X")->group(images);
  command.add_option("--mean", f.mean, "Mean per channel or one for all, in scaled units")->type_name("M[,M,M]")->group(images);
  command.add_option("--std", f.std, "Standard deviation, likewise")->type_name("S[,S,S]")->group(images);
  command.add_option("--labels", f.labels, "File of labels: lines NAME LABEL; default: class directories")->type_name("FILE")->group(images);
}

Result<DataOptions> data_options(const DataFlags& f) {
  DataOptions o;
  if (!f.format.empty()) {
    ONNXTOOL_ASSIGN(o.format, parse_data_format(f.format));
  }
  if (!f.batch_axis.empty()) {
    int64_t axis = 0;
    const auto [end, error] = std::from_chars(f.batch_axis.data(), f.batch_axis.data() + f.batch_axis.size(), axis);
    if (error != std::errc() || end != f.batch_axis.data() + f.batch_axis.size()) return Error{ErrorCode::kUsage, "--batch-axis '" + f.batch_axis + "' is no number", {}};
    o.batch_axis = axis;
  }
  for (const std::string& text : f.raw) {
    ONNXTOOL_ASSIGN(auto pair, split_pair("--raw", text));
    o.raw.push_back(std::move(pair));
  }
  o.preprocess.preset = f.preprocess;
  if (!f.resize.empty()) {
    ONNXTOOL_ASSIGN(o.preprocess.resize, parse_image_size("--resize", f.resize));
  }
  if (!f.crop.empty()) {
    ONNXTOOL_ASSIGN(o.preprocess.crop, parse_image_size("--crop", f.crop));
  }
  if (!f.layout.empty()) {
    ONNXTOOL_ASSIGN(o.preprocess.layout, parse_layout(f.layout));
  }
  if (!f.channels.empty()) {
    ONNXTOOL_ASSIGN(o.preprocess.channels, parse_channels(f.channels));
  }
  if (!f.scale.empty()) {
    ONNXTOOL_ASSIGN(o.preprocess.scale, parse_scale(f.scale));
  }
  if (!f.mean.empty()) {
    ONNXTOOL_ASSIGN(o.preprocess.mean, parse_channel_values("--mean", f.mean));
  }
  if (!f.std.empty()) {
    ONNXTOOL_ASSIGN(o.preprocess.std, parse_channel_values("--std", f.std));
  }
  o.labels_file = f.labels;
  return o;
}

Status apply_shapes(Model& model, const DataFlags& f) {
  std::vector<std::string> symbols, names;
  for (const Value* v : model.graph().inputs()) {
    names.push_back(v->name());
    if (v->type().shape)
      for (const Dim& d : *v->type().shape)
        if (!d.symbol.empty() && std::find(symbols.begin(), symbols.end(), d.symbol) == symbols.end()) symbols.push_back(d.symbol);
  }
  for (const std::string& text : f.dims) {
    ONNXTOOL_ASSIGN(const auto pair, split_pair("--dim", text));
    ONNXTOOL_ASSIGN(const int64_t extent, parse_extent("--dim " + pair.first, pair.second));
    if (std::find(symbols.begin(), symbols.end(), pair.first) == symbols.end())
      return Error{ErrorCode::kUsage, "--dim: the model has no dimension named '" + pair.first + "'", suggest(pair.first, symbols)};
    for (Value* v : model.graph().inputs()) {
      ValueType type = v->type();
      if (!type.shape) continue;
      for (Dim& d : *type.shape)
        if (d.symbol == pair.first) d = Dim::of(extent);
      v->set_type(std::move(type));
    }
  }
  for (const std::string& text : f.input_shapes) {
    ONNXTOOL_ASSIGN(const auto pair, split_pair("--input-shape", text));
    std::vector<int64_t> dims;
    for (size_t start = 0; start <= pair.second.size();) {
      const size_t end = std::min(pair.second.find(',', start), pair.second.size());
      ONNXTOOL_ASSIGN(const int64_t extent, parse_extent("--input-shape " + pair.first, pair.second.substr(start, end - start)));
      dims.push_back(extent);
      start = end + 1;
    }
    Value* v = nullptr;
    for (Value* in : model.graph().inputs())
      if (in->name() == pair.first) v = in;
    if (!v) return Error{ErrorCode::kUsage, "--input-shape: the model has no input named '" + pair.first + "'", suggest(pair.first, names)};
    const auto& shape = v->type().shape;
    bool fits = !shape || shape->size() == dims.size();
    for (size_t i = 0; fits && shape && i < dims.size(); ++i) fits = !(*shape)[i].value || *(*shape)[i].value == dims[i];
    if (!fits) return Error{ErrorCode::kMismatch, "--input-shape " + text + ": the input is " + format_type(v->type()), {}};
    v->set_type(ValueType::tensor(v->type().dtype, dims));
  }
  return {};
}

Result<std::vector<InputSpec>> input_specs(const Model& model) {
  std::vector<InputSpec> specs;
  for (const Value* v : model.graph().inputs()) {
    if (v->initializer()) continue;
    if (!v->type().is_tensor()) return Error{ErrorCode::kUnsupported, "input '" + v->name() + "' is " + format_type(v->type()) + ", expected a tensor", {}};
    InputSpec s;
    s.name = v->name();
    s.dtype = v->type().dtype;
    s.known_rank = v->type().shape.has_value();
    if (s.known_rank)
      for (const Dim& d : *v->type().shape) s.dims.push_back(d.value ? *d.value : -1);
    specs.push_back(std::move(s));
  }
  return specs;
}

std::map<std::string, IntegerBounds> integer_bounds(const Model& model) {
  std::map<std::string, IntegerBounds> out;
  for (const Value* v : model.graph().inputs()) {
    IntegerBounds b;
    bool found = false;
    bound_uses(*v, b, found, 0);
    if (found) out[v->name()] = b;
  }
  return out;
}

}  // namespace onnxtool
