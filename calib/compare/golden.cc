#include "calib/compare/golden.h"

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "calib/compare/golden_store.h"
#include "calib/data/files.h"
#include "calib/data/leaves.h"
#include "calib/data/write.h"
#include "libopt/io/encode.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

class GoldenSource final : public SampleSource {
 public:
  GoldenSource(std::string directory, const Golden& golden)
      : directory_(std::move(directory)),
        golden_(golden),
        store_(open_golden_store(directory_, golden.form)) {}
  int64_t size() const override { return static_cast<int64_t>(golden_.samples.size()); }
  Result<Sample> read(int64_t index) const override {
    const GoldenSample& s = golden_.samples[static_cast<size_t>(index)];
    if (!s.sha256.empty()) {
      ONNXTOOL_ASSIGN(const std::string digest, store_->digest(s));
      if (digest != s.sha256)
        return bad_data(directory_ + ": sample '" + s.file +
                            "' is not the one that was recorded: its sha256 is " + digest,
                        "restore the set, or record it anew");
    }
    ONNXTOOL_ASSIGN(auto inputs, store_->read(s, GoldenPart::kInputs, golden_.inputs));
    return Sample{s.id, std::move(inputs), s.label};
  }
  SourceDescription describe() const override {
    SourceDescription d;
    d.format = golden_.model.empty() ? "test_data_set folders with outputs"
                                     : "golden set of " + golden_.model;
    d.path = directory_;
    d.count = size();
    d.preprocess = golden_.preprocess;
    return d;
  }
  const std::vector<std::string>& labels() const override { return no_names_; }
  bool has_labels() const override {
    return std::all_of(golden_.samples.begin(), golden_.samples.end(),
                       [](const GoldenSample& s) { return s.label >= 0; });
  }

 private:
  std::string directory_;
  Golden golden_;
  std::unique_ptr<GoldenStore> store_;
  std::vector<std::string> no_names_;
};

class GoldenSide final : public Side {
 public:
  GoldenSide(const std::string& directory, const Golden& golden)
      : golden_(golden), store_(open_golden_store(directory, golden.form)) {
    for (const GoldenTensor& t : golden.outputs) outputs_.push_back({t.name, t.dtype});
  }
  const std::vector<OutputInfo>& outputs() const override { return outputs_; }
  Status run(int, int64_t index, const Sample&, std::vector<Datum>* outputs, Observer*) override {
    if (index < 0 || index >= static_cast<int64_t>(golden_.samples.size()))
      return Error{ErrorCode::kMismatch,
                   "the set has " + std::to_string(golden_.samples.size()) + " samples, not " +
                       std::to_string(index + 1),
                   "compare it on the samples that it was recorded on"};
    ONNXTOOL_ASSIGN(const std::vector<Tensor> read,
                    store_->read(golden_.samples[static_cast<size_t>(index)], GoldenPart::kOutputs,
                                 golden_.outputs));
    outputs->assign(read.begin(), read.end());
    return {};
  }

 private:
  Golden golden_;
  std::unique_ptr<GoldenStore> store_;
  std::vector<OutputInfo> outputs_;
};

class JudgedSide final : public Side {
 public:
  explicit JudgedSide(OpenGolden golden) : golden_(std::move(golden)) {}
  const std::vector<OutputInfo>& outputs() const override { return golden_.side->outputs(); }
  Status run(int worker, int64_t index, const Sample& sample, std::vector<Datum>* outputs,
             Observer* observer) override {
    const auto other = [&](const std::string& what) {
      return Error{ErrorCode::kMismatch, what + ", so the sets were not recorded on the same data",
                   "record one of them again, on the samples of the other"};
    };
    if (index >= golden_.source->size())
      return other("the second set has " + std::to_string(golden_.source->size()) + " samples");
    ONNXTOOL_ASSIGN(const Sample own, golden_.source->read(index));
    if (own.inputs.size() != sample.inputs.size() ||
        !std::equal(own.inputs.begin(), own.inputs.end(), sample.inputs.begin(),
                    [](const Tensor& a, const Tensor& b) { return a.same_content(b); }))
      return other("the second set has other inputs there");
    return golden_.side->run(worker, index, own, outputs, observer);
  }

 private:
  OpenGolden golden_;
};

}  // namespace

std::string model_digest(const Model& model) {
  Sha256 d;
  const wire::Rope rope = encode_model(model);
  for (const auto& piece : rope.pieces()) d.add(piece.bytes());
  return d.hex();
}

bool has_golden_toml(const std::string& directory) {
  std::error_code e;
  return fs::is_regular_file(directory + "/golden.toml", e);
}

bool is_golden(const std::string& directory) {
  return has_golden_toml(directory) || has_test_data_sets(directory);
}

Result<OpenGolden> open_golden(const std::string& given) {
  std::string directory = given;
  while (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
  const std::string path = directory + "/golden.toml";
  OpenGolden out;
  if (!has_golden_toml(directory) && has_test_data_sets(directory)) {
    ONNXTOOL_ASSIGN(out.golden, describe_test_data_sets(directory));
    out.source = std::make_unique<GoldenSource>(directory, out.golden);
    out.side = std::make_unique<GoldenSide>(directory, out.golden);
    return out;
  }
  ONNXTOOL_ASSIGN(const auto file, DataFile::open(path));
  constexpr uint64_t kMostBytes = 256u << 20;
  if (file->size() > kMostBytes)
    return Error{
        ErrorCode::kLimit,
        path + ": " + std::to_string(file->size()) + " bytes, more than any golden set needs",
        {}};
  ONNXTOOL_ASSIGN(const auto bytes, file->read_all());
  ONNXTOOL_ASSIGN(out.golden,
                  parse_golden({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path));
  out.source = std::make_unique<GoldenSource>(directory, out.golden);
  out.side = std::make_unique<GoldenSide>(directory, out.golden);
  return out;
}

std::unique_ptr<Side> judged_side(OpenGolden golden) {
  return std::make_unique<JudgedSide>(std::move(golden));
}

Status record_golden(const Model& model, const SampleSource& source, const RunOptions& run,
                     Golden& about, const AtomicDirectory& directory) {
  about.model_sha256 = model_digest(model);
  about.inputs.clear();
  about.outputs.clear();
  about.samples.assign(static_cast<size_t>(source.size()), {});
  std::vector<std::string> names;
  for (const Value* v : model.graph().inputs())
    if (!v->initializer()) about.inputs.push_back({v->name(), v->type().dtype});
  for (const Value* v : model.graph().outputs()) names.push_back(v->name());
  for (const Value* v : model.graph().outputs())
    if (is_container(v->type()))
      return Error{ErrorCode::kUnsupported,
                   "output '" + v->name() + "' is " + format_type(v->type()) +
                       ", and golden sets hold tensors",
                   "compare the models themselves: onnxtool diff REFERENCE TEST"};
  const SampleWriter namer(directory, TensorFileFormat::kSafetensors, {}, source.size());
  std::mutex mutex;
  std::vector<bool> has_elements(names.size());
  ONNXTOOL_TRY(
      run_samples(model.graph(), {}, source, run,
                  [&](int, int64_t index, const Sample& sample, RunContext& context) -> Status {
                    std::vector<Tensor> outputs;
                    ONNXTOOL_TRY(context.run(sample.inputs, &outputs));
                    std::vector<NamedTensor> given, got;
                    for (size_t i = 0; i < sample.inputs.size(); ++i)
                      given.push_back({about.inputs[i].name, sample.inputs[i]});
                    for (size_t i = 0; i < outputs.size(); ++i)
                      got.push_back({names[i], outputs[i]});
                    GoldenSample s{{}, sample.id, sample.label, {}};
                    const std::string name = about.form == GoldenForm::kTestData
                                                 ? "test_data_set_" + std::to_string(index)
                                                 : namer.sample_name(index, sample.id);
                    ONNXTOOL_TRY(write_golden_sample(directory, about.form, name, given, got, s));
                    const std::lock_guard lock(mutex);
                    about.samples[static_cast<size_t>(index)] = std::move(s);
                    for (size_t i = 0; i < outputs.size(); ++i)
                      if (outputs[i].count()) has_elements[i] = true;
                    if (about.outputs.empty())
                      for (size_t i = 0; i < outputs.size(); ++i)
                        about.outputs.push_back({names[i], outputs[i].dtype()});
                    return {};
                  }));
  for (size_t i = 0; i < names.size(); ++i)
    if (!has_elements[i])
      return Error{ErrorCode::kBadData,
                   "output '" + names[i] +
                       "' is empty in every sample: the set would have nothing to judge it by",
                   "give samples that fill every output"};
  const std::string text = format_golden(about);
  return directory.write("golden.toml", std::as_bytes(std::span(text)));
}

}  // namespace onnxtool
