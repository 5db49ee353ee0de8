// The steps from a path to a source: what the path holds (source.cc), and the sources themselves.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calib/data/arrays.h"
#include "calib/data/files.h"
#include "calib/data/labels.h"
#include "calib/data/source.h"

namespace onnxtool {

enum class PartKind : uint8_t { kNpy, kNpz, kSafetensors, kPb, kRaw };

/// One file of arrays. What is read from it is named `name`, where the file itself has no names.
struct Part {
  PartKind kind = PartKind::kNpy;
  std::string path;
  std::string name;
  int position = -1;  // pb: I of input_I.pb
  int spec = -1;      // raw: the input that gives type and shape
};

/// The files that together hold one sample, or, where arrays stack samples, several.
struct Unit {
  std::string id;
  std::vector<Part> parts;
};

/// A source of arrays. `form` is for the description; units are in sample order and not empty.
Result<std::unique_ptr<SampleSource>> open_array_source(std::string form, std::string path,
                                                        std::vector<Unit> units,
                                                        const DataOptions& options,
                                                        std::span<const InputSpec> specs,
                                                        std::optional<LabelFile> labels);

struct ImageFile {
  std::string path;
  std::string id;
  int class_index = -1;  // in `classes`
};

/// A source of images, in sample order and not empty; `classes` in byte order, empty when flat.
Result<std::unique_ptr<SampleSource>> open_image_source(
    std::string path, std::vector<ImageFile> files, std::vector<std::string> classes,
    const DataOptions& options, std::span<const InputSpec> specs, std::optional<LabelFile> labels);

/// The labels of all samples, or an error that names the first sample without one.
Result<std::vector<int>> assign_labels(const LabelFile& labels,
                                       const std::vector<std::string>& ids);

}  // namespace onnxtool
