#include "apps/models.h"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "apps/extremes.h"
#include "calib/exec/modules.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"

namespace onnxtool {
namespace {

// What a model without inputs runs on.
class NoInputs final : public SampleSource {
 public:
  int64_t size() const override { return 1; }
  Result<Sample> read(int64_t) const override { return Sample{"only", {}, -1}; }
  SourceDescription describe() const override {
    SourceDescription d;
    d.format = "none: the model has no inputs";
    d.count = 1;
    return d;
  }
  const std::vector<std::string>& labels() const override { return none_; }
  bool has_labels() const override { return false; }

 private:
  std::vector<std::string> none_;
};

// What the model knows of the shapes in the flags.
DataFlags shapes_known_to(const Model& model, const DataFlags& flags) {
  DataFlags out = flags;
  const auto named = [](const std::string& text) { return text.substr(0, text.rfind('=')); };
  const auto has = [&](auto&& test) {
    return std::any_of(model.graph().inputs().begin(), model.graph().inputs().end(), test);
  };
  std::erase_if(out.dims, [&](const std::string& text) {
    return !has([&](const Value* v) {
      const auto& shape = v->type().shape;
      return shape && std::any_of(shape->begin(), shape->end(),
                                  [&](const Dim& d) { return d.symbol == named(text); });
    });
  });
  std::erase_if(out.input_shapes, [&](const std::string& text) {
    return !has([&](const Value* v) { return v->name() == named(text); });
  });
  return out;
}

Result<std::unique_ptr<Model>> settle(std::unique_ptr<Model> model, const std::string& path,
                                      const DataFlags& flags) {
  ONNXTOOL_TRY(apply_shapes(*model, flags));
  if (Status s = infer_graph(model->graph()); !s.ok()) return std::move(s).error().at(path);
  return model;
}

// What says how files are read would go by unseen.
Status expect_no_files(const DataFlags& f) {
  for (const auto& [flag, value] :
       {std::pair{"--labels", &f.labels}, std::pair{"--batch-axis", &f.batch_axis},
        std::pair{"--data-format", &f.format}, std::pair{"--preprocess", &f.preprocess},
        std::pair{"--resize", &f.resize}, std::pair{"--crop", &f.crop},
        std::pair{"--layout", &f.layout}, std::pair{"--channels", &f.channels},
        std::pair{"--scale", &f.scale}, std::pair{"--mean", &f.mean}, std::pair{"--std", &f.std}})
    if (!value->empty())
      return Error{ErrorCode::kUsage,
                   std::string(flag) + " says how samples are read, and random ones are not",
                   std::string("give --data PATH, or leave out ") + flag};
  return {};
}

}  // namespace

Result<std::unique_ptr<Model>> open_model(const std::string& path, const DataFlags& flags) {
  ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, load_model(path));
  return settle(std::move(model), path, flags);
}

Result<std::unique_ptr<Model>> open_second_model(const std::string& path, const DataFlags& flags) {
  ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, load_model(path));
  const DataFlags known = shapes_known_to(*model, flags);
  return settle(std::move(model), path, known);
}

Result<std::unique_ptr<SampleSource>> open_samples(const Model& model, const std::string& path,
                                                   const DataFlags& flags) {
  ONNXTOOL_ASSIGN(const auto specs, input_specs(model));
  if (specs.empty()) return std::unique_ptr<SampleSource>(std::make_unique<NoInputs>());
  if (path.empty() && flags.raw.empty() && flags.random) {
    ONNXTOOL_TRY(expect_no_files(flags));
    ONNXTOOL_ASSIGN(const auto bounds, random_bounds(model, flags));
    return open_random(flags.random, flags.seed, specs, bounds);
  }
  if (!samples_given(path, flags))
    return Error{ErrorCode::kUsage, "no data given",
                 "add --data PATH; --random N for a first try without data"};
  ONNXTOOL_ASSIGN(const DataOptions options, data_options(flags));
  return open_source(path, options, specs);
}

Result<RunOptions> run_options(const CommonFlags& flags, Progress& progress,
                               const Streams& streams) {
  ONNXTOOL_ASSIGN(KernelSets kernels, load_kernel_sets(flags.kernels, flags.device));
  ONNXTOOL_TRY(use_precision(kernels, flags.precision));
  if (!flags.quiet)
    for (const std::string& note : kernels.notes) streams.err << "note: " << note << "\n";
  RunOptions run;
  run.kernel_sets = kernels.sets;
  run.threads = effective_threads(flags);
  run.max_iterations = flags.max_iterations;
  run.progress = [&progress](int64_t done, int64_t total) { progress.update(done, total); };
  return run;
}

std::vector<NamedPath> data_inputs(const std::string& data, const DataFlags& flags) {
  std::vector<NamedPath> in = {{"--data", data}, {"--labels", flags.labels}};
  for (const std::string& raw : flags.raw) in.push_back({"--raw", raw.substr(raw.rfind('=') + 1)});
  return in;
}

Section data_section(const SampleSource& source, const std::vector<InputSpec>& specs,
                     const std::string& title, const std::string& key,
                     const std::string& note_if_random) {
  const SourceDescription d = source.describe();
  Section s{key, title, {}, {}, {}, false};
  s.fields.push_back({"format", "format", d.format, ""});
  if (!d.path.empty()) s.fields.push_back({"path", "path", d.path, ""});
  s.fields.push_back({"samples", "samples", d.count, ""});
  if (d.random) s.fields.push_back({"seed", "seed", static_cast<int64_t>(d.seed), ""});
  if (!d.preprocess.empty()) s.fields.push_back({"preprocess", "preprocess", d.preprocess, ""});
  if (!d.labels.empty()) {
    const std::string last = d.labels.size() > 1 ? fmt::format(" ... {}", d.labels.back()) : "";
    s.fields.push_back({"labels", "labels", d.labels[0] + last, ""});
  }
  Table first{"first_sample", "first sample", {}, {}, 8};
  first.columns = {{"input", "input", ""},
                   {"tensor", "tensor", ""},
                   {"min", "min", ""},
                   {"max", "max", ""},
                   {"from", "from", ""}};
  const auto sample = source.read(0);
  const auto inputs = sample.ok() && sample->inputs.size() == specs.size()
                          ? summarize(specs, *sample)
                          : std::vector<InputSummary>();
  for (size_t k = 0; k < inputs.size(); ++k) {
    const InputSummary& i = inputs[k];
    const Tensor& tensor = sample->inputs[k];
    const ExactExtremes extremes(
        tensor, has_statistics(tensor.dtype()) ? statistics_of(tensor) : TensorStatistics());
    first.rows.push_back({i.name, std::string(name(i.dtype)) + format_dims(i.dims), extremes.min(),
                          extremes.max(), k < d.inputs.size() ? Scalar(d.inputs[k]) : Scalar()});
    if (i.non_finite)
      s.notes.push_back(fmt::format("input '{}' holds {} NaN or infinities in the first sample",
                                    i.name, i.non_finite));
  }
  s.tables.push_back(std::move(first));
  for (const std::string& array : d.unused) s.notes.push_back("data not used: " + array);
  if (d.random && !note_if_random.empty()) s.notes.push_back(note_if_random);
  return s;
}

Section data_section(const SampleSource& source, const Model& model, const std::string& title,
                     const std::string& key, const std::string& note_if_random) {
  const auto specs = input_specs(model);
  return data_section(source, specs.ok() ? *specs : std::vector<InputSpec>(), title, key,
                      note_if_random);
}

Section timing_section(const Progress& progress) {
  Section s{"timing", "Time", {}, {}, {}, true};
  for (const auto& [stage, seconds] : progress.times()) {
    std::string key = stage;
    std::replace(key.begin(), key.end(), ' ', '_');
    s.fields.push_back({key + "_s", stage, seconds, "s"});
  }
  return s;
}

}  // namespace onnxtool
