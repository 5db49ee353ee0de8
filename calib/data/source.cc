// Tells what a path holds and opens it.

#include "calib/data/source.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "calib/data/files.h"
#include "calib/data/open.h"

namespace onnxtool {
namespace {

constexpr std::string_view kSetPrefix = "test_data_set_";

struct FormatName {
  std::string_view name;
  DataFormat format;
};
constexpr FormatName kFormatNames[] = {
    {"auto", DataFormat::kAuto}, {"npy", DataFormat::kNpy},
    {"npz", DataFormat::kNpz},   {"safetensors", DataFormat::kSafetensors},
    {"pb", DataFormat::kPb},     {"images", DataFormat::kImages},
    {"raw", DataFormat::kRaw}};

std::string_view format_name(DataFormat format) {
  for (const FormatName& f : kFormatNames)
    if (f.format == format) return f.name;
  return "auto";
}

Error usage(std::string message, std::string hint = {}) {
  return Error{ErrorCode::kUsage, std::move(message), std::move(hint)};
}

DataFormat format_of(FileKind kind) {
  switch (kind) {
    case FileKind::kNpy: return DataFormat::kNpy;
    case FileKind::kZip: return DataFormat::kNpz;
    case FileKind::kSafetensors: return DataFormat::kSafetensors;
    case FileKind::kJpeg:
    case FileKind::kPng:
    case FileKind::kPpm: return DataFormat::kImages;
    case FileKind::kUnknown: break;
  }
  return DataFormat::kAuto;
}

bool has_extension_of(DataFormat format, std::string_view path) {
  const std::string e = file_extension(path);
  if (format == DataFormat::kImages)
    return e == "jpg" || e == "jpeg" || e == "jpe" || e == "png" || e == "ppm" || e == "pgm" ||
           e == "pnm";
  return e == format_name(format);
}

// What the first bytes of a file say; an error when they say nothing.
Result<DataFormat> detect_file(const std::string& path) {
  if (file_extension(path) == "pb") return DataFormat::kPb;  // protobuf has no signature
  ONNXTOOL_ASSIGN(std::shared_ptr<const DataFile> file, DataFile::open(path));
  ONNXTOOL_ASSIGN(std::vector<std::byte> head, file->read_head(kSniffBytes));
  const DataFormat format = format_of(sniff(head, file->size()));
  if (format == DataFormat::kAuto)
    return bad_data(
        path + ": " + describe_start(head) +
            ", expected .npy, .npz, safetensors, .pb, JPEG, PNG or PPM",
        "--data-format reads only the files of one format, --raw NAME=FILE reads plain bytes");
  return format;
}

// I of input_I.pb, as written by int(): no sign, no leading zero.
std::optional<int> input_position(std::string_view name) {
  constexpr std::string_view kPrefix = "input_", kSuffix = ".pb";
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) ||
      name.size() <= kPrefix.size() + kSuffix.size())
    return std::nullopt;
  const std::string_view digits =
      name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  if (digits.size() > 6 || (digits.size() > 1 && digits[0] == '0')) return std::nullopt;
  int v = 0;
  for (char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    v = v * 10 + (c - '0');
  }
  return v;
}

PartKind part_kind(DataFormat format) {
  switch (format) {
    case DataFormat::kNpz: return PartKind::kNpz;
    case DataFormat::kSafetensors: return PartKind::kSafetensors;
    case DataFormat::kPb: return PartKind::kPb;
    case DataFormat::kRaw: return PartKind::kRaw;
    default: return PartKind::kNpy;
  }
}

class Opener {
 public:
  Opener(const std::string& path, const DataOptions& options, std::span<const InputSpec> specs,
         std::optional<LabelFile> labels)
      : path_(path), options_(options), specs_(specs), labels_(std::move(labels)) {}

  Result<std::unique_ptr<SampleSource>> open() {
    if (!options_.raw.empty() || options_.format == DataFormat::kRaw) return open_raw();
    ONNXTOOL_ASSIGN(const bool directory, is_directory(path_));
    return directory ? open_directory() : open_file();
  }

 private:
  struct Listing {
    std::vector<DirectoryEntry> files, directories;
  };

  Error no_samples(const std::string& why) const {
    Error error = bad_data(path_ + ": no samples, " + why);
    if (error.hint.empty())
      error.hint =
          "put .npy, .npz, safetensors, test_data_set_N or images there, or give another path";
    return error;
  }

  Result<Listing> list(const std::string& path) const {
    ONNXTOOL_ASSIGN(std::vector<DirectoryEntry> entries, list_directory(path));
    Listing listing;
    for (DirectoryEntry& e : entries) {
      std::error_code ignored;
      if (labels_ && std::filesystem::equivalent(e.path, labels_->path, ignored)) continue;
      (e.is_directory ? listing.directories : listing.files).push_back(std::move(e));
    }
    return listing;
  }

  Result<std::unique_ptr<SampleSource>> arrays(std::string form, std::vector<Unit> units) {
    if (options_.batch_axis && units[0].parts[0].kind == PartKind::kPb)
      return Error{ErrorCode::kUsage,
                   path_ +
                       ": --batch-axis does not go with .pb files, each of which is one input "
                       "of one sample",
                   "leave it out; .npy, .npz and safetensors can stack samples"};
    if (options_.batch_axis) form += ", stacked along axis " + std::to_string(*options_.batch_axis);
    return open_array_source(std::move(form), path_, std::move(units), options_, specs_,
                             std::move(labels_));
  }
  Result<std::unique_ptr<SampleSource>> images(std::vector<ImageFile> files,
                                               std::vector<std::string> classes) {
    return open_image_source(path_, std::move(files), std::move(classes), options_, specs_,
                             std::move(labels_));
  }

  Result<std::unique_ptr<SampleSource>> open_file() {
    DataFormat format = options_.format;
    if (format == DataFormat::kAuto) {
      ONNXTOOL_ASSIGN(format, detect_file(path_));
    }
    const std::string id = file_name(path_);
    if (format == DataFormat::kImages) return images({{path_, id, -1}}, {});
    return arrays("." + std::string(format_name(format)) + " file",
                  {{id, {{part_kind(format), path_, {}, -1, -1}}}});
  }

  Result<std::unique_ptr<SampleSource>> open_directory() {
    ONNXTOOL_ASSIGN(const Listing listing, list(path_));
    if (listing.files.empty() && listing.directories.empty())
      return no_samples("the directory is empty");
    if (options_.format == DataFormat::kAuto || options_.format == DataFormat::kPb) {
      ONNXTOOL_ASSIGN(std::vector<Unit> sets, find_sets(listing));
      if (!sets.empty()) return arrays("test_data_set", std::move(sets));
      if (options_.format == DataFormat::kPb)
        return no_samples("expected test_data_set_N directories or input_I.pb files");
    }
    if (options_.format != DataFormat::kAuto) {
      std::vector<DirectoryEntry> files = select_files(listing.files, options_.format);
      return files.empty() ? open_sub_directories(listing.directories, options_.format)
                           : open_files(files, options_.format);
    }
    if (listing.files.empty()) return open_sub_directories(listing.directories, DataFormat::kAuto);
    if (!listing.directories.empty())
      return bad_data(
          path_ + ": holds files ('" + listing.files[0].name + "') and directories ('" +
              listing.directories[0].name + "'), expected one or the other",
          "move away what is no sample; --data-format reads only the files of one format");
    ONNXTOOL_ASSIGN(const DataFormat format, detect_file(listing.files[0].path));
    if (format != DataFormat::kImages)  // of images the source looks at every file
      for (const DirectoryEntry& f : listing.files) {
        ONNXTOOL_ASSIGN(const DataFormat other, detect_file(f.path));
        if (other != format)
          return bad_data(
              f.path + ": format is " + std::string(format_name(other)) + ", but '" +
                  listing.files[0].name + "' is " + std::string(format_name(format)),
              "move away what is no sample; --data-format reads only the files of one format");
      }
    return open_files(listing.files, format);
  }

  // With a format given, files of other kinds may lie beside; if no name tells, all are meant.
  static std::vector<DirectoryEntry> select_files(const std::vector<DirectoryEntry>& files,
                                                  DataFormat format) {
    std::vector<DirectoryEntry> selected;
    for (const DirectoryEntry& f : files)
      if (has_extension_of(format, f.name)) selected.push_back(f);
    return selected.empty() ? files : selected;
  }

  Result<std::vector<Unit>> find_sets(const Listing& listing) const {
    std::vector<Unit> units;
    Unit own = make_set(file_name(path_), listing.files);
    if (!own.parts.empty()) {
      units.push_back(std::move(own));
      return units;
    }
    for (const DirectoryEntry& d : listing.directories) {
      if (!d.name.starts_with(kSetPrefix)) continue;
      ONNXTOOL_ASSIGN(const Listing set, list(d.path));
      Unit unit = make_set(d.name, set.files);
      if (unit.parts.empty()) return bad_data(d.path + ": no input_I.pb files");
      units.push_back(std::move(unit));
    }
    return units;
  }
  static Unit make_set(std::string id, const std::vector<DirectoryEntry>& files) {
    Unit unit{std::move(id), {}};
    for (const DirectoryEntry& f : files)
      if (const auto position = input_position(f.name))
        unit.parts.push_back({PartKind::kPb, f.path, {}, *position, -1});
    return unit;
  }

  Result<std::unique_ptr<SampleSource>> open_files(const std::vector<DirectoryEntry>& files,
                                                   DataFormat format) {
    if (format == DataFormat::kImages) {
      std::vector<ImageFile> list;
      for (const DirectoryEntry& f : files) list.push_back({f.path, f.name, -1});
      return images(std::move(list), {});
    }
    const PartKind kind = part_kind(format);
    // For a model of several inputs, files named as they are form one sample.
    if (format == DataFormat::kNpy && specs_.size() > 1) {
      Unit unit{file_name(path_), {}};
      for (const DirectoryEntry& f : files)
        if (is_input(file_stem(f.name)))
          unit.parts.push_back({kind, f.path, file_stem(f.name), -1, -1});
      if (unit.parts.size() == specs_.size())
        return arrays("directory of .npy, one per input", {std::move(unit)});
    }
    std::vector<Unit> units;
    for (const DirectoryEntry& f : files) units.push_back({f.name, {{kind, f.path, {}, -1, -1}}});
    return arrays("directory of ." + std::string(format_name(format)), std::move(units));
  }
  bool is_input(std::string_view name) const {
    return std::any_of(specs_.begin(), specs_.end(),
                       [&](const InputSpec& s) { return s.name == name; });
  }

  // Classes of images, or one directory of .npy per input.
  Result<std::unique_ptr<SampleSource>> open_sub_directories(
      const std::vector<DirectoryEntry>& directories, DataFormat format) {
    std::vector<std::vector<DirectoryEntry>> contents;
    for (const DirectoryEntry& d : directories) {
      ONNXTOOL_ASSIGN(Listing inner, list(d.path));
      if (format != DataFormat::kAuto) inner.files = select_files(inner.files, format);
      if (!inner.directories.empty() && format == DataFormat::kAuto)
        return bad_data(
            inner.directories[0].path + ": is a directory within '" + d.name + "', expected files",
            "give the directory that holds the classes, the inputs or the test_data_set_N");
      contents.push_back(std::move(inner.files));
    }
    const auto first =
        std::find_if(contents.begin(), contents.end(), [](const auto& c) { return !c.empty(); });
    if (first == contents.end())
      return no_samples(directories.empty() ? "no file has that format"
                                            : "its directories hold no files");
    if (format == DataFormat::kAuto) {
      ONNXTOOL_ASSIGN(format, detect_file(first->front().path));
    }
    if (format == DataFormat::kImages) return open_classes(directories, contents);
    if (format != DataFormat::kNpy)
      return bad_data(
          path_ + ": its directories hold " + std::string(format_name(format)) +
              " files, expected images (a directory per class) or .npy (a directory per input)",
          "give the directory that holds the files");
    std::vector<Unit> units(contents[0].size());
    for (size_t d = 0; d < directories.size(); ++d) {
      if (contents[d].size() != units.size())
        return bad_data(path_ + ": '" + directories[d].name + "' holds " +
                        std::to_string(contents[d].size()) + " files, but '" + directories[0].name +
                        "' " + std::to_string(units.size()) + ", expected as many for each input");
      for (size_t i = 0; i < units.size(); ++i) {
        if (d == 0) units[i].id = contents[d][i].name;
        units[i].parts.push_back(
            {PartKind::kNpy, contents[d][i].path, directories[d].name, -1, -1});
      }
    }
    return arrays("directory of .npy per input", std::move(units));
  }

  Result<std::unique_ptr<SampleSource>> open_classes(
      const std::vector<DirectoryEntry>& directories,
      const std::vector<std::vector<DirectoryEntry>>& contents) {
    std::vector<std::string> classes;
    for (const DirectoryEntry& d : directories) classes.push_back(d.name);
    std::sort(classes.begin(), classes.end());  // byte order: as torchvision's ImageFolder
    std::vector<ImageFile> files;
    for (size_t d = 0; d < directories.size(); ++d) {
      const auto index =
          std::lower_bound(classes.begin(), classes.end(), directories[d].name) - classes.begin();
      for (const DirectoryEntry& f : contents[d])
        files.push_back({f.path, join_path(directories[d].name, f.name), static_cast<int>(index)});
    }
    return images(std::move(files), std::move(classes));
  }

  Result<std::unique_ptr<SampleSource>> open_raw() {
    if (options_.raw.empty())
      return usage("--data-format raw needs --raw NAME=FILE for each input");
    if (options_.batch_axis && *options_.batch_axis != 0)
      return usage("--batch-axis: raw files stack samples along axis 0 only");
    std::vector<Unit> units;
    std::vector<bool> given(specs_.size(), false);
    for (size_t r = 0; r < options_.raw.size(); ++r) {
      const auto& [name, path] = options_.raw[r];
      const auto spec = std::find_if(specs_.begin(), specs_.end(),
                                     [&, &n = name](const InputSpec& s) { return s.name == n; });
      if (spec == specs_.end())
        return usage("--raw: '" + name + "' is no input, the model has " + input_names());
      const auto s = static_cast<size_t>(spec - specs_.begin());
      if (given[s]) return usage("--raw: input '" + name + "' is given twice");
      given[s] = true;
      std::vector<std::string> files = {path};
      ONNXTOOL_ASSIGN(const bool directory, is_directory(path));
      if (directory) {
        ONNXTOOL_ASSIGN(const Listing listing, list(path));
        files.clear();
        for (const DirectoryEntry& f : listing.files) files.push_back(f.path);
        if (files.empty()) return bad_data(path + ": no samples, the directory holds no files");
      }
      if (r == 0) units.resize(files.size());
      if (files.size() != units.size())
        return bad_data(path + ": holds " + std::to_string(files.size()) + " files for input '" +
                        name + "', but input '" + options_.raw[0].first + "' has " +
                        std::to_string(units.size()));
      for (size_t i = 0; i < files.size(); ++i) {
        if (r == 0) units[i].id = file_name(files[i]);
        units[i].parts.push_back({PartKind::kRaw, files[i], name, -1, static_cast<int>(s)});
      }
    }
    for (size_t s = 0; s < specs_.size(); ++s)
      if (!given[s]) return usage("--raw: no file for input " + format_spec(specs_[s]));
    return arrays("raw files", std::move(units));
  }
  std::string input_names() const {
    std::string names;
    for (const InputSpec& s : specs_) names += (names.empty() ? "'" : ", '") + s.name + "'";
    return names;
  }

  const std::string& path_;
  const DataOptions& options_;
  std::span<const InputSpec> specs_;
  std::optional<LabelFile> labels_;
};

}  // namespace

Result<std::unique_ptr<SampleSource>> open_source(const std::string& path,
                                                  const DataOptions& options,
                                                  std::span<const InputSpec> specs) {
  if (specs.empty())
    return Error{ErrorCode::kMismatch, path + ": the model has no inputs that data could fill", {}};
  std::optional<LabelFile> labels;
  if (!options.labels_file.empty()) {
    ONNXTOOL_ASSIGN(labels, read_labels(options.labels_file));
  }
  return Opener(path, options, specs, std::move(labels)).open();
}

Result<DataFormat> parse_data_format(std::string_view text) {
  std::string names;
  for (const FormatName& f : kFormatNames) {
    if (f.name == text) return f.format;
    names += (names.empty() ? "" : ", ") + std::string(f.name);
  }
  return usage("--data-format: '" + std::string(text) + "' is not known, expected one of " + names);
}

std::vector<InputSummary> summarize(std::span<const InputSpec> specs, const Sample& sample) {
  ONNXTOOL_CHECK(specs.size() == sample.inputs.size());
  std::vector<InputSummary> summaries;
  for (size_t i = 0; i < specs.size(); ++i) {
    const Tensor& t = sample.inputs[i];
    InputSummary s{specs[i].name, t.dtype(), t.dims(), 0, 0, 0};
    const bool numeric = t.dtype() != DataType::kString && t.dtype() != DataType::kComplex64 &&
                         t.dtype() != DataType::kComplex128;
    bool any = false;
    if (numeric)
      for (double v : t.to_doubles()) {
        if (!std::isfinite(v)) {
          ++s.non_finite;
          continue;
        }
        s.min = any ? std::min(s.min, v) : v;
        s.max = any ? std::max(s.max, v) : v;
        any = true;
      }
    summaries.push_back(std::move(s));
  }
  return summaries;
}

}  // namespace onnxtool
