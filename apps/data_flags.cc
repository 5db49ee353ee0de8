#include "apps/data_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>

#include "apps/flags.h"
#include "calib/compare/floating.h"
#include "libopt/ir/selector.h"

namespace onnxtool {
namespace {

Result<std::pair<std::string, std::string>> split_pair(const std::string& flag,
                                                       const std::string& value,
                                                       const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    return Error{ErrorCode::kUsage, flag + " " + text + ": expected " + value, {}};
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

Result<int64_t> parse_extent(const std::string& flag, const std::string& text) {
  int64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size() || v < 1)
    return Error{ErrorCode::kUsage,
                 flag + ": '" + text + "' is no extent, expected a whole number of at least 1",
                 {}};
  return v;
}

std::string suggest(const std::string& name, const std::vector<std::string>& known) {
  std::string hint = did_you_mean(name, known);
  if (hint.empty())
    hint = known.empty() ? "it has none" : fmt::format("it has: {}", fmt::join(known, ", "));
  return hint;
}

}  // namespace

void add_data_flags(CLI::App& command, DataFlags& f) {
  const std::string data = "Data", images = "Images";
  CLI::Option* random = add_integer(
      command, f.random, int64_t{1}, int64_t{1} << 40,
      {"--random", "N", "N seeded random samples instead of data, for a first try", data});
  add_integer(command, f.seed, uint64_t{0}, std::numeric_limits<uint64_t>::max(),
              {"--seed", "S", "Seed of --random (default: 0)", data});
  add_list(command, f.random_ranges,
           {"--random-range", "INPUT=LOW,HIGH",
            "Values of an integer input under --random (default: what its uses allow)", data})
      ->needs(random);
  add_choice(command, f.format,
             {"--data-format", "auto|npy|npz|safetensors|pb|images|raw",
              "Read only files of this form; auto looks at the content", data});
  add_text(command, f.batch_axis,
           {"--batch-axis", "AXIS", "Arrays stack samples along this axis; -1 is the last", data});
  add_list(
      command, f.raw,
      {"--raw", "INPUT=PATH",
       "File of plain little-endian values for an input, or a directory of one file per sample",
       data})
      ->excludes(random);
  add_list(command, f.dims, {"--dim", "NAME=N", "Extent of a named dynamic dimension", data});
  add_list(command, f.input_shapes,
           {"--input-shape", "INPUT=DIMS", "Shape of an input, as in x=1,3,224,224", data});
  std::string presets;
  for (const PreprocessPreset& p : preprocess_presets())
    presets += (presets.empty() ? "" : "|") + std::string(p.name);
  add_choice(
      command, f.preprocess,
      {"--preprocess", presets, "A known pipeline; the flags below change parts of it", images});
  add_text(
      command, f.resize,
      {"--resize", "N|HxW", "Resize: N is the short side in pixels (bilinear, as Pillow)", images});
  add_text(command, f.crop, {"--crop", "N|HxW", "Cut this out of the centre", images});
  add_choice(command, f.layout,
             {"--layout", "nchw|nhwc",
              "Order of the dimensions (default: as the input's shape says)", images});
  add_choice(command, f.channels,
             {"--channels", "rgb|bgr|grey",
              "Order of the channels (default: as the input's shape says)", images});
  add_text(command, f.scale,
           {"--scale", "X", "A pixel becomes (pixel x X - mean) / std (default: 1/255)", images});
  add_text(command, f.mean,
           {"--mean", "M[,M,M]", "Mean for all channels or for each, in scaled units", images});
  add_text(command, f.std, {"--std", "S[,S,S]", "Standard deviation, likewise", images});
  add_text(command, f.labels,
           {"--labels", "FILE",
            "Labels as lines NAME LABEL, or LABEL in sample order (default: class directories)",
            images});
}

Result<DataOptions> data_options(const DataFlags& f) {
  DataOptions o;
  if (!f.format.empty()) {
    ONNXTOOL_ASSIGN(o.format, parse_data_format(f.format));
  }
  if (!f.batch_axis.empty()) {
    int64_t axis = 0;
    const auto [end, error] =
        std::from_chars(f.batch_axis.data(), f.batch_axis.data() + f.batch_axis.size(), axis);
    if (error != std::errc() || end != f.batch_axis.data() + f.batch_axis.size())
      return Error{
          ErrorCode::kUsage, "--batch-axis: '" + f.batch_axis + "' is no whole number", {}};
    o.batch_axis = axis;
  }
  for (const std::string& text : f.raw) {
    ONNXTOOL_ASSIGN(auto pair, split_pair("--raw", "INPUT=PATH", text));
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
  if (std::count(o.preprocess.std.begin(), o.preprocess.std.end(), 0.0))
    return Error{ErrorCode::kUsage, "--std: 0 cannot divide, expected positive numbers", {}};
  o.labels_file = f.labels;
  return o;
}

Result<std::map<std::string, IntegerBounds>> random_bounds(const Model& model, const DataFlags& f) {
  auto bounds = integer_bounds(model);
  for (const std::string& text : f.random_ranges) {
    const std::string form = "INPUT=LOW,HIGH";
    ONNXTOOL_ASSIGN(const auto pair, split_pair("--random-range", form, text));
    std::vector<std::string> names;
    for (const Value* v : model.graph().inputs()) names.push_back(v->name());
    if (std::find(names.begin(), names.end(), pair.first) == names.end())
      return Error{ErrorCode::kUsage,
                   "--random-range: the model has no input named '" + pair.first + "'",
                   suggest(pair.first, names)};
    for (const Value* v : model.graph().inputs())
      if (v->name() == pair.first && is_any_float(v->type().dtype))
        return Error{ErrorCode::kUsage,
                     "--random-range: input '" + pair.first + "' is " + format_type(v->type()) +
                         ", not of integers",
                     "ranges are for integers"};
    IntegerBounds b;
    const char *at = pair.second.data(), *end = at + pair.second.size();
    const auto low = std::from_chars(at, end, b.low);
    const bool more = low.ec == std::errc() && low.ptr != end && *low.ptr == ',';
    const auto high = more ? std::from_chars(low.ptr + 1, end, b.high) : low;
    if (!more || high.ec != std::errc() || high.ptr != end || b.low > b.high)
      return Error{ErrorCode::kUsage,
                   "--random-range " + text + ": expected two whole numbers, the smaller one first",
                   "write " + pair.first + "=0,999"};
    bounds[pair.first] = b;
  }
  return bounds;
}

Status apply_shapes(Model& model, const DataFlags& f) {
  std::vector<std::string> symbols, names;
  for (const Value* v : model.graph().inputs()) {
    if (!v->initializer()) names.push_back(v->name());
    if (v->type().shape)
      for (const Dim& d : *v->type().shape)
        if (!d.symbol.empty() &&
            std::find(symbols.begin(), symbols.end(), d.symbol) == symbols.end())
          symbols.push_back(d.symbol);
  }
  std::map<std::string, int64_t> given;
  for (const std::string& text : f.dims) {
    ONNXTOOL_ASSIGN(const auto pair, split_pair("--dim", "NAME=N", text));
    ONNXTOOL_ASSIGN(const int64_t extent, parse_extent("--dim " + pair.first, pair.second));
    const auto [said, fresh] = given.emplace(pair.first, extent);
    if (!fresh && said->second != extent)
      return Error{ErrorCode::kUsage,
                   "--dim: '" + pair.first + "' is given as " + std::to_string(said->second) +
                       " and as " + std::to_string(extent),
                   "give each dimension once"};
    if (std::find(symbols.begin(), symbols.end(), pair.first) == symbols.end())
      return Error{ErrorCode::kUsage,
                   "--dim: the model has no dimension named '" + pair.first + "'",
                   suggest(pair.first, symbols)};
    for (Value* v : model.graph().inputs()) {
      ValueType type = v->type();
      if (!type.shape) continue;
      for (Dim& d : *type.shape)
        if (d.symbol == pair.first) d = Dim::of(extent);
      v->set_type(std::move(type));
    }
  }
  for (const std::string& text : f.input_shapes) {
    ONNXTOOL_ASSIGN(const auto pair, split_pair("--input-shape", "INPUT=DIMS", text));
    std::vector<int64_t> dims;
    for (size_t start = 0; start <= pair.second.size();) {
      const size_t end = std::min(pair.second.find(',', start), pair.second.size());
      ONNXTOOL_ASSIGN(const int64_t extent, parse_extent("--input-shape " + pair.first,
                                                         pair.second.substr(start, end - start)));
      dims.push_back(extent);
      start = end + 1;
    }
    Value* v = nullptr;
    for (Value* in : model.graph().inputs())
      if (in->name() == pair.first) v = in;
    if (!v)
      return Error{ErrorCode::kUsage,
                   "--input-shape: the model has no input named '" + pair.first + "'",
                   suggest(pair.first, names)};
    const auto& shape = v->type().shape;
    bool fits = !shape || shape->size() == dims.size();
    for (size_t i = 0; fits && shape && i < dims.size(); ++i)
      fits = !(*shape)[i].value || *(*shape)[i].value == dims[i];
    if (!fits)
      return Error{
          ErrorCode::kMismatch,
          "--input-shape " + text + ": the input is " + format_type(v->type()),
          "only what is unknown or named there can be set, to the same number of dimensions"};
    v->set_type(ValueType::tensor(v->type().dtype, dims));
  }
  return {};
}

}  // namespace onnxtool
