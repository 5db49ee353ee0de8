// Range files: what calibration learnt, kept so that quantize can be rerun, with another calibrator
// too, without running the model; and the calibration files of onnxruntime and TensorRT.
//
// Functions take and return text: reading and writing files atomically is the caller's.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "calib/ranges/calibrator.h"
#include "calib/ranges/summary.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// What a range file is keyed by. Digests are opaque text here.
struct RangeKey {
  std::string model;       // digest of the model that ran
  std::string data;        // digest of the calibration data, all of it even when sharded
  std::string options;     // digest of what else shapes the values: preprocessing, dims, precision
  std::string kernel_set;  // "cpu", "dnnl", "cuda"
  std::string isa;         // what the kernel set dispatched to
  bool operator==(const RangeKey&) const = default;
};

struct RangeFile {
  RangeKey key;
  /// Shards of the data that are in, ascending, 0-based, out of shard_count. {0} of 1: everything.
  int shard_count = 1;
  std::vector<int> shards = {0};
  uint64_t samples = 0;
  std::map<std::string, Summary> tensors;

  bool complete() const { return static_cast<int>(shards.size()) == shard_count; }
};

/// JSON, the same bytes for the same content: names in byte order, one tensor a line, counts as
/// run-length text. Bit-exact round trip.
std::string save_ranges(const RangeFile& file);

/// Everything is checked; errors say which tensor and why (kBadData).
Result<RangeFile> load_ranges(std::string_view json);

/// Refuses a file made for something else, naming each key that differs with both values
/// (kMismatch), or one that lacks shards. Empty members of `expected` are not compared.
Status check_ranges(const RangeFile& file, const RangeKey& expected);

/// Joins shards. Refuses parts that differ in a digest, shard count or tensors, that hold a shard
/// twice, or, unless `mix_isa`, that ran on other kernels or another ISA. Bit-identical to one run.
Result<RangeFile> merge_ranges(std::vector<RangeFile> parts, bool mix_isa = false);

/// onnxruntime's calibration cache (TensorsData, calibration_method MinMax) as its quantize_static
/// reads from calibration_cache_path. The limits are rounded to float.
std::string save_onnxruntime_ranges(const std::map<std::string, Range>& ranges);
/// Reads that form, and the bare table that write_calibration_table leaves (calibration.json).
/// Tensors that have no lowest and highest (method Distribution) are an error.
Result<std::map<std::string, Range>> load_onnxruntime_ranges(std::string_view json);

/// TensorRT's calibration cache: a header line, then `name: XXXXXXXX`, the hexadecimal binary32
/// pattern of absmax / 127. Range::max() on loading is scale x 127 on both sides.
/// Names that hold a line break cannot be written (kUnsupported).
Result<std::string> save_tensorrt_ranges(const std::map<std::string, Range>& ranges);
Result<std::map<std::string, Range>> load_tensorrt_ranges(std::string_view text);

}  // namespace onnxtool
