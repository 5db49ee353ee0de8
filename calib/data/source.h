// Samples for calibration, comparison and verification: one loader for every form of data.
//
// Forms, told apart by content (DataFormat forces one):
//   npy          FILE.npy, or a directory of them; one array a sample
//   npy          directory with a sub-directory of .npy per input; the i-th files form sample i
//   npy          directory of .npy named as the inputs of a model with several: one sample
//   npz          FILE.npz, or a directory of them; its arrays are the inputs of one sample
//   safetensors  FILE.safetensors, or a directory of them; likewise
//   pb           test_data_set_N/input_I.pb: one such directory, its parent, or one .pb file
//   images       JPEG, PNG, PPM: one file, a flat directory, or one directory per class
//   raw          name=FILE or name=DIRECTORY per input (DataOptions::raw)
// With batch_axis every array of npy, npz, safetensors and raw stacks samples along that axis.
// Files are taken in natural order (img2 before img10); names that start with a dot are ignored.
// A forced format takes the files that have its extension (every file, if none has).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calib/data/preprocess.h"
#include "libopt/ir/dtype.h"
#include "libopt/ir/tensor.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// A model input that data must fill. The caller leaves out initializers and has applied --dim and
/// --input-shape.
struct InputSpec {
  std::string name;
  DataType dtype = DataType::kUndefined;
  std::vector<int64_t> dims;  // -1: unknown
  bool known_rank = true;     // false: any shape fits and dims is empty
  /// As dims, or empty; "": the dimension has no name.
  std::vector<std::string> dim_names = {};
};

struct Sample {
  std::string id;              // path below the data directory; a stacked sample adds [i]
  std::vector<Tensor> inputs;  // in the order of the specs
  int label = -1;              // -1: none
};

enum class DataFormat : uint8_t { kAuto, kNpy, kNpz, kSafetensors, kPb, kImages, kRaw };

struct DataOptions {
  DataFormat format = DataFormat::kAuto;
  /// Arrays stack samples along this axis, counted from the end when negative. Where the model's
  /// input has the array's rank the axis stays (extent 1, or the input's static extent), else it
  /// goes.
  std::optional<int64_t> batch_axis;
  /// Input name and file; a directory holds one file per sample. Little-endian elements in the
  /// model's type and shape; at most one unknown dim, which follows from the size.
  std::vector<std::pair<std::string, std::string>> raw;
  PreprocessOptions preprocess;
  /// Empty, or a file of labels: lines `NAME LABEL` (NAME is a sample's id, its file name, its stem
  /// or its class directory), lines `LABEL` in sample order, or a .npy of integers in sample order.
  std::string labels_file;
  /// What arrays of a compressed archive may take when samples are stacked in it; 0: no limit.
  uint64_t max_memory_bytes = 0;
};

/// For reports: what was found and how it is read.
struct SourceDescription {
  std::string format;  // "directory of .npy", "images in class directories", "random"
  std::string path;    // as given; empty for random and raw
  int64_t count = 0;
  std::vector<std::string> inputs;  // by input: what fills it, and how
  std::vector<std::string> unused;  // arrays that fill none, with their types
  std::string preprocess;           // images: the effective pipeline in order; otherwise empty
  std::vector<std::string> labels;  // one line each: "0 = airplane"; or where labels came from
  bool random = false;
  uint64_t seed = 0;
};

/// A finite sequence of samples. Immutable after opening; read() may be called from many threads
/// and gives the same sample for the same index.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual int64_t size() const = 0;
  virtual Result<Sample> read(int64_t index) const = 0;
  virtual SourceDescription describe() const = 0;
  /// Class names by label; empty where samples have no labels or the labels have no names.
  virtual const std::vector<std::string>& labels() const = 0;
  /// Every sample has a label.
  virtual bool has_labels() const = 0;
};

/// Opens the data at `path` (not used for raw). Reads headers of the first sample and matches its
/// arrays with the inputs: by name, else by unique shape and type. Arrays convert only so:
/// floats to any float type, rounded to nearest even (a finite value must stay finite); integers
/// and bool to each other where every value fits; nothing between the two groups. An array that
/// lacks just the leading batch dim gets a 1 there if the input's first dim is 1 or unknown.
/// Errors: kNotFound, kBadData, kMismatch, kUsage, kUnsupported, kLimit; "no samples" is kBadData.
Result<std::unique_ptr<SampleSource>> open_source(const std::string& path,
                                                  const DataOptions& options,
                                                  std::span<const InputSpec> specs);

/// Inclusive range of the values of an integer input.
struct IntegerBounds {
  int64_t low = 0;
  int64_t high = 0;
};

/// `count` samples of random values: floats from N(0, 1), bool 0 or 1, integers uniform within
/// `bounds` by input name; an integer input without bounds whose name contains "mask" is 0 or 1,
/// any other is an error that names what is missing. All dims must be known. The values depend on
/// nothing but seed, index, and the position, type and shape of the input.
Result<std::unique_ptr<SampleSource>> open_random(
    int64_t count, uint64_t seed, std::span<const InputSpec> specs,
    const std::map<std::string, IntegerBounds>& bounds);

/// Calls fn(worker, index, sample) for every sample; `worker` is in [0, threads) and no two calls
/// with the same worker overlap, so per-worker state needs no lock. Each worker takes the next
/// index, reads and runs it: at most `threads` samples are in memory. Order between samples is not
/// defined; the result must not depend on it. On errors no further sample starts, and the one of
/// the lowest index is returned. threads = 1 runs fn on the calling thread, in order, with the next
/// two samples being read ahead.
Status for_each_sample(const SampleSource& source, int threads,
                       const std::function<Status(int worker, int64_t index, Sample sample)>& fn);

/// The first shapes and ranges, for printing back what was read.
struct InputSummary {
  std::string name;
  DataType dtype = DataType::kUndefined;
  std::vector<int64_t> dims;
  double min = 0, max = 0;  // of the finite values; both 0 when there is none, or for strings
  int64_t non_finite = 0;
};
std::vector<InputSummary> summarize(std::span<const InputSpec> specs, const Sample& sample);

/// "npy", "npz", "safetensors", "pb", "images", "raw", "auto"; anything else is a kUsage error.
Result<DataFormat> parse_data_format(std::string_view text);

/// `x float[?, 3, 224, 224]`, for messages.
std::string format_spec(const InputSpec& spec);

/// File names as people count: digit runs compare as numbers, all else by bytes. A strict order.
bool natural_less(std::string_view a, std::string_view b);

}  // namespace onnxtool
