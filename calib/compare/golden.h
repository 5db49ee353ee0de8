// Golden sets: samples with the outputs that a model gave for them, kept to compare others with.
//
//   DIR/golden.toml              who made them, of what, and what must hold
//   DIR/samples/NAME.safetensors "input/<name>" and "output/<name>" of one sample, or
//   DIR/test_data_set_N          the same as ONNX's own test data: input_I.pb, output_I.pb
//
// Folders of ONNX's test data without a golden.toml are a set as well, of which less is known.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calib/compare/side.h"
#include "libopt/ir/model.h"
#include "libopt/support/atomic_directory.h"

namespace onnxtool {

enum class GoldenForm : uint8_t { kSafetensors, kTestData };

struct GoldenSample {
  std::string file;  // below DIR/samples, or the folder
  std::string id;    // of the sample that it was made from
  int label = -1;
  std::string sha256;  // of its files; empty: not known
};

struct GoldenTensor {
  std::string name;
  DataType dtype = DataType::kUndefined;
};

struct Golden {
  GoldenForm form = GoldenForm::kSafetensors;
  std::string tool_version;
  std::string model, model_sha256, model_kind;  // the file's name, not its path
  std::string data_format, preprocess;
  std::optional<uint64_t> seed;  // of random samples
  std::vector<std::string> gates;
  std::optional<double> atol, rtol;
  std::vector<GoldenTensor> inputs, outputs;
  std::vector<GoldenSample> samples;
};

/// The digest that golden sets know a model by: of its serialized form with all weights inside, so
/// it does not depend on where they are stored.
std::string model_digest(const Model& model);

bool has_golden_toml(const std::string& directory);
/// Whether the directory holds a golden.toml, or ONNX's test data with outputs.
bool is_golden(const std::string& directory);

/// golden.toml read and written. Reading checks every name and type: the file may come from
/// anywhere.
Result<Golden> parse_golden(const std::string& text, const std::string& path);
std::string format_golden(const Golden& golden);

/// A golden set opened for comparison: samples with the inputs in the set's order, and the outputs
/// that were recorded for them. A sample file that is not the recorded one is an error (kBadData).
struct OpenGolden {
  Golden golden;
  std::unique_ptr<SampleSource> source;
  std::unique_ptr<Side> side;
};
Result<OpenGolden> open_golden(const std::string& directory);

/// The recorded outputs as the side that is judged: its samples must be those of the other side,
/// byte for byte (kMismatch), and are matched by place.
std::unique_ptr<Side> judged_side(OpenGolden golden);

/// Runs `model` over the samples and writes the set: what open_golden() reads. `about` gives all
/// but inputs, outputs, samples and the model's digest, which are filled in. The caller commits.
Status record_golden(const Model& model, const SampleSource& source, const RunOptions& run,
                     Golden& about, const AtomicDirectory& directory);

}  // namespace onnxtool
