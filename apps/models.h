// What commands that run models have in common: opening them, their samples, and reporting both.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/data_flags.h"
#include "apps/files.h"
#include "apps/model_flags.h"
#include "apps/progress.h"
#include "apps/report/report.h"
#include "calib/data/source.h"
#include "calib/ranges/collect.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// Loads a model, settles the shapes that flags give, and infers types. Errors name the path.
Result<std::unique_ptr<Model>> open_model(const std::string& path, const DataFlags& flags);

/// As open_model(), for a model beside the one that the flags are for: shapes of dimensions and
/// inputs that it does not have are left out.
Result<std::unique_ptr<Model>> open_second_model(const std::string& path, const DataFlags& flags);

/// The samples that --data (`path`), --raw or --random name. A model without inputs needs none of
/// them: it gets one sample without arrays.
Result<std::unique_ptr<SampleSource>> open_samples(const Model& model, const std::string& path,
                                                   const DataFlags& flags);

/// Threads, kernel sets (whose notes are printed) and progress.
Result<RunOptions> run_options(const CommonFlags& flags, Progress& progress,
                               const Streams& streams);

/// Files that data flags read, for check_files().
std::vector<NamedPath> data_inputs(const std::string& data, const DataFlags& flags);

/// Form, number and first shapes of the samples, whose arrays are those of `specs`.
Section data_section(const SampleSource& source, const std::vector<InputSpec>& specs,
                     const std::string& title, const std::string& key,
                     const std::string& note_if_random);
Section data_section(const SampleSource& source, const Model& model, const std::string& title,
                     const std::string& key, const std::string& note_if_random);

/// Seconds a stage.
Section timing_section(const Progress& progress);

}  // namespace onnxtool
