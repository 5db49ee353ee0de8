// Samples made of arrays: .npy, .npz, safetensors, TensorProto and raw files.

#include <algorithm>
#include <mutex>

#include "calib/data/npy.h"
#include "calib/data/npz.h"
#include "calib/data/open.h"
#include "calib/data/safetensors.h"
#include "libopt/io/decode.h"
#include "libopt/io/mapped_file.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

/// A unit with its headers read and its arrays matched to the inputs.
struct OpenUnit {
  std::vector<StoredArray> arrays;
  std::vector<Match> matches;
  int64_t count = 1;
};

Result<StoredArray> open_pb(const Part& part) {
  ONNXTOOL_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(part.path));
  Result<NamedTensor> decoded = decode_tensor({file->bytes(), file, nullptr});
  if (!decoded.ok()) {
    Error error = std::move(decoded).error().at(part.path + ": not a readable TensorProto");
    error.code = ErrorCode::kBadData;
    return error;
  }
  StoredArray array;
  array.name = decoded->name.empty() ? part.name : decoded->name;
  array.place = part.path;
  array.dtype = decoded->tensor.dtype();
  array.dims = decoded->tensor.dims();
  array.position = part.position;
  array.value = std::move(decoded->tensor);
  return array;
}

// Raw bytes have no header: the input tells type and shape, the size tells what the input leaves
// open.
Result<StoredArray> open_raw(const Part& part, const InputSpec& spec, bool stacked) {
  ONNXTOOL_ASSIGN(std::shared_ptr<const DataFile> file, DataFile::open(part.path));
  const auto settle =
      Error{ErrorCode::kMismatch,
            part.path + ": raw bytes do not tell the shape of input " + format_spec(spec),
            "settle its dims with --input-shape or --dim; one may stay open"};
  if (!spec.known_rank || (stacked && spec.dims.empty())) return settle;
  if (bits_of(spec.dtype) < 8)
    return Error{ErrorCode::kUnsupported,
                 part.path + ": raw bytes cannot fill input " + format_spec(spec) +
                     ", expected elements of whole bytes",
                 "use a TensorProto (.pb)"};
  StoredArray array;
  array.name = spec.name;
  array.place = part.path;
  array.dtype = spec.dtype;
  array.dims = spec.dims;
  // The open dim. Stacking opens the first one, in steps of what a sample takes of it.
  int64_t step = 1;
  if (stacked) {
    step = std::max<int64_t>(array.dims[0], 1);
    array.dims[0] = -1;
  }
  if (std::count(array.dims.begin(), array.dims.end(), -1) > 1) return settle;
  const auto open_dim = std::find(array.dims.begin(), array.dims.end(), -1);
  const bool open = open_dim != array.dims.end();
  if (open) *open_dim = step;
  const auto unit = stored_size_bytes(array);  // of everything, or for each step of the open dim
  const uint64_t size = file->size();
  const bool fits = unit && (open ? *unit > 0 && size > 0 && size % *unit == 0 : size == *unit);
  if (!fits)
    return Error{ErrorCode::kMismatch,
                 part.path + ": " + std::to_string(size) + " bytes, expected " +
                     (open ? "a multiple of " : "") +
                     (unit ? std::to_string(*unit) : "more than any file has") + " for input " +
                     format_spec(spec),
                 open ? ""
                      : "raw files hold little-endian elements of the input's type; --batch-axis 0 "
                        "if samples are stacked"};
  if (open) *open_dim = static_cast<int64_t>(size / *unit) * step;
  array.bytes = std::move(file);
  return array;
}

class ArraySource final : public SampleSource {
 public:
  ArraySource(std::string form, std::string path, std::vector<Unit> units,
              const DataOptions& options, std::span<const InputSpec> specs)
      : form_(std::move(form)),
        path_(std::move(path)),
        units_(std::move(units)),
        options_(options),
        specs_(specs.begin(), specs.end()) {}

  Status open(std::optional<LabelFile> labels) {
    begins_.push_back(0);
    for (size_t u = 0; u < units_.size(); ++u) {
      int64_t count = 1;
      // Counts of stacked units stand in their headers; other units are opened when they are read.
      if (u == 0 || options_.batch_axis) {
        ONNXTOOL_ASSIGN(std::shared_ptr<const OpenUnit> unit, open_unit(u));
        count = unit->count;
        if (u == 0) describe_inputs(*unit);
        if (u == 0) last_ = {0, unit};
      }
      begins_.push_back(begins_.back() + count);
    }
    if (size() == 0)
      return bad_data(path_ + ": no samples, axis " + std::to_string(*options_.batch_axis) +
                      " of its arrays has extent 0");
    if (labels) {
      std::vector<std::string> ids;
      for (int64_t i = 0; i < size(); ++i) ids.push_back(id(i));
      ONNXTOOL_ASSIGN(labels_, assign_labels(*labels, ids));
      label_lines_ = {"from " + labels->path};
    }
    return {};
  }

  int64_t size() const override { return begins_.back(); }

  Result<Sample> read(int64_t index) const override {
    ONNXTOOL_CHECK(index >= 0 && index < size());
    const size_t u = unit_of(index);
    ONNXTOOL_ASSIGN(std::shared_ptr<const OpenUnit> unit, get_unit(u));
    Sample sample;
    sample.id = id(index);
    for (size_t s = 0; s < specs_.size(); ++s) {
      const Match& match = unit->matches[s];
      ONNXTOOL_ASSIGN(Tensor tensor,
                      load_input(specs_[s], unit->arrays[match.array], match, index - begins_[u]));
      sample.inputs.push_back(std::move(tensor));
    }
    if (!labels_.empty()) sample.label = labels_[static_cast<size_t>(index)];
    return sample;
  }

  SourceDescription describe() const override {
    SourceDescription d;
    d.format = form_;
    d.path = path_;
    d.count = size();
    d.inputs = filled_by_;
    d.unused = unused_;
    d.labels = label_lines_;
    return d;
  }
  const std::vector<std::string>& labels() const override { return no_names_; }
  bool has_labels() const override { return !labels_.empty(); }

 private:
  size_t unit_of(int64_t index) const {
    return static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), index) -
                               begins_.begin()) -
           1;
  }
  std::string id(int64_t index) const {
    const size_t u = unit_of(index);
    if (!options_.batch_axis) return units_[u].id;
    return units_[u].id + "[" + std::to_string(index - begins_[u]) + "]";
  }

  Result<std::shared_ptr<const OpenUnit>> open_unit(size_t u) const {
    auto unit = std::make_shared<OpenUnit>();
    const auto add = [&](StoredArray array) { unit->arrays.push_back(std::move(array)); };
    const auto add_all = [&](std::vector<StoredArray> arrays) {
      for (StoredArray& a : arrays) add(std::move(a));
    };
    for (const Part& part : units_[u].parts) {
      if (part.kind == PartKind::kNpy) {
        ONNXTOOL_ASSIGN(StoredArray array, open_npy(part.path, part.name));
        add(std::move(array));
      } else if (part.kind == PartKind::kNpz) {
        ONNXTOOL_ASSIGN(
            std::vector<StoredArray> arrays,
            open_npz(part.path, options_.batch_axis.has_value(), options_.max_memory_bytes));
        add_all(std::move(arrays));
      } else if (part.kind == PartKind::kSafetensors) {
        ONNXTOOL_ASSIGN(std::vector<StoredArray> arrays, open_safetensors(part.path));
        add_all(std::move(arrays));
      } else if (part.kind == PartKind::kPb) {
        ONNXTOOL_ASSIGN(StoredArray array, open_pb(part));
        add(std::move(array));
      } else {
        ONNXTOOL_ASSIGN(StoredArray array, open_raw(part, specs_[static_cast<size_t>(part.spec)],
                                                    options_.batch_axis.has_value()));
        add(std::move(array));
      }
    }
    const std::string& place = units_[u].parts.size() == 1 ? units_[u].parts[0].path
                               : path_.empty()             ? units_[u].id
                                                           : path_;
    ONNXTOOL_ASSIGN(unit->matches, match_arrays(specs_, unit->arrays, options_.batch_axis, place));
    if (options_.batch_axis) ONNXTOOL_TRY(count_stacked(*unit));
    return std::shared_ptr<const OpenUnit>(std::move(unit));
  }

  // Every array must stack the same number of samples.
  Status count_stacked(OpenUnit& unit) const {
    for (size_t s = 0; s < specs_.size(); ++s) {
      const Match& match = unit.matches[s];
      const StoredArray& array = unit.arrays[match.array];
      const int64_t extent = array.dims[static_cast<size_t>(*match.axis)];
      if (extent % match.extent != 0)
        return Error{ErrorCode::kMismatch,
                     array.place + ": axis " + std::to_string(*match.axis) + " has extent " +
                         std::to_string(extent) + ", expected a multiple of " +
                         std::to_string(match.extent) + " for input " + format_spec(specs_[s]),
                     {}};
      const int64_t count = extent / match.extent;
      if (s > 0 && count != unit.count)
        return Error{ErrorCode::kMismatch,
                     array.place + ": stacks " + std::to_string(count) +
                         " samples, but the array for input '" + specs_[0].name + "' stacks " +
                         std::to_string(unit.count),
                     {}};
      unit.count = count;
    }
    return {};
  }

  // The unit opened last is kept: neighbouring samples of a stacked file share it.
  Result<std::shared_ptr<const OpenUnit>> get_unit(size_t u) const {
    {
      const std::lock_guard guard(lock_);
      if (last_.second && last_.first == u) return last_.second;
    }
    ONNXTOOL_ASSIGN(std::shared_ptr<const OpenUnit> unit, open_unit(u));
    const std::lock_guard guard(lock_);
    last_ = {u, unit};
    return unit;
  }

  void describe_inputs(const OpenUnit& unit) {
    std::vector<bool> used(unit.arrays.size(), false);
    for (size_t s = 0; s < specs_.size(); ++s) {
      const Match& match = unit.matches[s];
      used[match.array] = true;
      filled_by_.push_back(describe_match(specs_[s], unit.arrays[match.array], match));
    }
    for (size_t a = 0; a < unit.arrays.size(); ++a)
      if (!used[a])
        unused_.push_back("'" + unit.arrays[a].name + "' " +
                          format_type(unit.arrays[a].dtype, unit.arrays[a].dims));
  }

  std::string form_;
  std::string path_;
  std::vector<Unit> units_;
  DataOptions options_;
  std::vector<InputSpec> specs_;
  std::vector<int64_t> begins_;                  // first sample of each unit, and the end
  std::vector<std::string> filled_by_, unused_;  // for describe()
  std::vector<int> labels_;
  std::vector<std::string> label_lines_;
  std::vector<std::string> no_names_;

  mutable std::mutex lock_;
  mutable std::pair<size_t, std::shared_ptr<const OpenUnit>> last_{0, nullptr};  // guarded by lock_
};

}  // namespace

Result<std::unique_ptr<SampleSource>> open_array_source(std::string form, std::string path,
                                                        std::vector<Unit> units,
                                                        const DataOptions& options,
                                                        std::span<const InputSpec> specs,
                                                        std::optional<LabelFile> labels) {
  auto source = std::make_unique<ArraySource>(std::move(form), std::move(path), std::move(units),
                                              options, specs);
  ONNXTOOL_TRY(source->open(std::move(labels)));
  return std::unique_ptr<SampleSource>(std::move(source));
}

Result<std::vector<int>> assign_labels(const LabelFile& labels,
                                       const std::vector<std::string>& ids) {
  if (labels.in_order && labels.by_index.size() != ids.size())
    return bad_data(labels.path + ": " + std::to_string(labels.by_index.size()) +
                    " labels, expected " + std::to_string(ids.size()) + ", one for each sample");
  std::vector<int> found;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto label = labels.find(static_cast<int64_t>(i), ids[i]);
    if (!label) return bad_data(labels.path + ": no label for sample '" + ids[i] + "'");
    found.push_back(*label);
  }
  return found;
}

}  // namespace onnxtool
