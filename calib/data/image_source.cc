// Samples made of image files.

#include <algorithm>

#include "calib/data/image.h"
#include "calib/data/open.h"
#include "calib/data/pipeline.h"

namespace onnxtool {
namespace {

// A label far beyond any class list would only cost memory for names that nobody gave.
constexpr size_t kMaxNamedLabels = 100'000;

class ImageSource final : public SampleSource {
 public:
  ImageSource(std::string path, std::vector<ImageFile> files, std::vector<std::string> classes,
              ImagePipeline pipeline, InputSpec spec)
      : path_(std::move(path)),
        files_(std::move(files)),
        classes_(std::move(classes)),
        pipeline_(std::move(pipeline)),
        spec_(std::move(spec)) {}

  Status set_labels(const std::optional<LabelFile>& file) {
    if (!file) {
      if (classes_.empty()) return {};
      names_ = classes_;
      for (const ImageFile& f : files_) labels_.push_back(f.class_index);
      for (size_t c = 0; c < classes_.size(); ++c)
        label_lines_.push_back(std::to_string(c) + " = " + classes_[c]);
      return {};
    }
    std::vector<std::string> ids;
    for (const ImageFile& f : files_) ids.push_back(f.id);
    ONNXTOOL_ASSIGN(labels_, assign_labels(*file, ids));
    label_lines_ = {"from " + file->path};
    // Class directories keep their names where the file gives each of them a label of its own.
    for (const std::string& c : classes_) {
      const auto found = file->by_name.find(c);
      if (found == file->by_name.end() || static_cast<size_t>(found->second) >= kMaxNamedLabels)
        continue;
      const auto label = static_cast<size_t>(found->second);
      if (names_.size() <= label) names_.resize(label + 1);
      names_[label] = c;
    }
    for (size_t n = 0; n < names_.size(); ++n)
      if (!names_[n].empty()) label_lines_.push_back(std::to_string(n) + " = " + names_[n]);
    return {};
  }

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }

  Result<Sample> read(int64_t index) const override {
    ONNXTOOL_CHECK(index >= 0 && index < size());
    const ImageFile& file = files_[static_cast<size_t>(index)];
    ONNXTOOL_ASSIGN(std::shared_ptr<const DataFile> data, DataFile::open(file.path));
    ONNXTOOL_ASSIGN(std::vector<std::byte> bytes, data->read_all());
    Result<Image> image = decode_image(bytes);
    if (!image.ok()) return std::move(image).error().at(file.path);
    Result<Tensor> tensor = pipeline_.apply(*std::move(image));
    if (!tensor.ok()) return std::move(tensor).error().at(file.path);
    Sample sample;
    sample.id = file.id;
    sample.inputs.push_back(*std::move(tensor));
    if (!labels_.empty()) sample.label = labels_[static_cast<size_t>(index)];
    return sample;
  }

  SourceDescription describe() const override {
    SourceDescription d;
    d.format = !classes_.empty()    ? "images in class directories"
               : files_.size() == 1 ? "image"
                                    : "directory of images";
    d.path = path_;
    d.count = size();
    d.inputs = {"images"};
    d.preprocess = pipeline_.describe();
    d.labels = label_lines_;
    return d;
  }
  const std::vector<std::string>& labels() const override { return names_; }
  bool has_labels() const override { return !labels_.empty(); }

 private:
  std::string path_;
  std::vector<ImageFile> files_;
  std::vector<std::string> classes_;
  ImagePipeline pipeline_;
  InputSpec spec_;
  std::vector<int> labels_;
  std::vector<std::string> names_;
  std::vector<std::string> label_lines_;
};

}  // namespace

Result<std::unique_ptr<SampleSource>> open_image_source(
    std::string path, std::vector<ImageFile> files, std::vector<std::string> classes,
    const DataOptions& options, std::span<const InputSpec> specs, std::optional<LabelFile> labels) {
  if (specs.size() != 1) {
    std::string inputs;
    for (const InputSpec& s : specs) inputs += (inputs.empty() ? "" : ", ") + format_spec(s);
    return Error{ErrorCode::kMismatch,
                 path + ": images fill one input, the model has " + std::to_string(specs.size()) +
                     ": " + inputs,
                 "give every input as arrays, such as .npz files with the input names"};
  }
  if (options.batch_axis)
    return Error{ErrorCode::kUsage,
                 path + ": --batch-axis does not go with images, each of which is a sample",
                 "leave it out; .npy, .npz and safetensors can stack samples"};
  // Told before any work, not at the hundredth image: the first bytes of every file.
  for (const ImageFile& f : files) {
    ONNXTOOL_ASSIGN(std::shared_ptr<const DataFile> file, DataFile::open(f.path));
    ONNXTOOL_ASSIGN(std::vector<std::byte> head, file->read_head(kSniffBytes));
    if (!is_image(sniff(head, file->size())))
      return bad_data(f.path + ": not a JPEG, PNG or PPM: " + describe_start(head),
                      "convert the image, or move the file elsewhere");
  }
  Result<ImagePipeline> pipeline = ImagePipeline::create(options.preprocess, specs[0]);
  if (!pipeline.ok()) return std::move(pipeline).error().at(path);
  auto source = std::make_unique<ImageSource>(std::move(path), std::move(files), std::move(classes),
                                              *std::move(pipeline), specs[0]);
  ONNXTOOL_TRY(source->set_labels(labels));
  return std::unique_ptr<SampleSource>(std::move(source));
}

}  // namespace onnxtool
