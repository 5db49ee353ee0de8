#include "calib/data/labels.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string_view>

#include "calib/data/files.h"
#include "calib/data/npy.h"

namespace onnxtool {
namespace {

constexpr uint64_t kMaxLabelFileBytes = 1 << 30;

bool is_separator(char c) { return c == ' ' || c == '\t' || c == ','; }

std::string_view trim(std::string_view s) {
  while (!s.empty() && (is_separator(s.front()) || s.front() == '\r')) s.remove_prefix(1);
  while (!s.empty() && (is_separator(s.back()) || s.back() == '\r')) s.remove_suffix(1);
  return s;
}

std::optional<int> parse_label(std::string_view text) {
  int v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size() || v < 0) return std::nullopt;
  return v;
}

Result<LabelFile> read_npy_labels(const std::string& path) {
  ONNXTOOL_ASSIGN(const StoredArray array, open_npy(path, {}));
  if (array.dims.size() != 1 || !may_convert(array.dtype, DataType::kInt64))
    return bad_data(path + ": labels are " + format_type(array.dtype, array.dims) +
                    ", expected a list of integers");
  ONNXTOOL_ASSIGN(Tensor tensor, load_array(array, std::nullopt));
  Result<Tensor> wide = convert_tensor(std::move(tensor), DataType::kInt64);
  if (!wide.ok()) return std::move(wide).error().at(path);
  LabelFile labels{path, true, {}, {}};
  for (int64_t v : wide->values<int64_t>()) {
    if (v < 0 || v > std::numeric_limits<int>::max())
      return bad_data(path + ": label " + std::to_string(v) + " at " +
                      std::to_string(labels.by_index.size()) + ", expected 0 or more");
    labels.by_index.push_back(static_cast<int>(v));
  }
  return labels;
}

}  // namespace

std::optional<int> LabelFile::find(int64_t index, const std::string& id) const {
  if (in_order) return by_index[static_cast<size_t>(index)];
  const size_t slash = id.rfind('/');
  const std::string directory = slash == std::string::npos ? std::string() : id.substr(0, slash);
  for (const std::string& key : {id, file_name(id), file_stem(id), directory})
    if (const auto found = by_name.find(key); found != by_name.end()) return found->second;
  return std::nullopt;
}

Result<LabelFile> read_labels(const std::string& path) {
  ONNXTOOL_ASSIGN(std::shared_ptr<const DataFile> file, DataFile::open(path));
  ONNXTOOL_ASSIGN(std::vector<std::byte> head, file->read_head(kSniffBytes));
  if (sniff(head, file->size()) == FileKind::kNpy) return read_npy_labels(path);
  if (file->size() > kMaxLabelFileBytes)
    return bad_data(path + ": " + std::to_string(file->size()) + " bytes are too many for labels");
  ONNXTOOL_ASSIGN(std::vector<std::byte> bytes, file->read_all());

  LabelFile labels{path, false, {}, {}};
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = trim(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.empty()) continue;
    const std::string place = path + ": line " + std::to_string(number);
    const size_t split = line.find_last_of(" \t,");
    const std::string_view last = split == std::string_view::npos ? line : line.substr(split + 1);
    const auto label = parse_label(last);
    if (!label)
      return bad_data(place + ": '" + std::string(last.substr(0, 40)) +
                          "' is no label, expected a whole number of 0 or more",
                      "write NAME LABEL on each line, or one label a line in sample order");
    const bool bare = split == std::string_view::npos;
    if (labels.by_index.empty() && labels.by_name.empty()) labels.in_order = bare;
    if (bare != labels.in_order)
      return bad_data(place + ": " + (bare ? "has no name" : "has a name") +
                      ", other than the lines before");
    if (bare) {
      labels.by_index.push_back(*label);
      continue;
    }
    const std::string name(trim(line.substr(0, split)));
    const auto [entry, is_new] = labels.by_name.emplace(name, *label);
    if (!is_new && entry->second != *label)
      return bad_data(place + ": '" + name + "' has label " + std::to_string(*label) + ", but " +
                      std::to_string(entry->second) + " on an earlier line");
  }
  if (labels.by_name.empty() && labels.by_index.empty()) return bad_data(path + ": no labels");
  return labels;
}

}  // namespace onnxtool
