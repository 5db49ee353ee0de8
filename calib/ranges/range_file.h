// Range files: what calibration learnt, kept so that quantize can be rerun, with another calibrator
// too, without running the model.
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

/// What a range file is keyed by.
struct RangeKey {
  std::string model;       // digest of the model that ran
  std::string data;        // DataDigest of the samples that are in: of a shard, then of its alone
  std::string options;     // what else shapes the values, as flags: preprocessing, dims, ...
  std::string kernel_set;  // "cpu", "dnnl", "cuda"
  std::string isa;         // what the kernel set dispatched to
  bool operator==(const RangeKey&) const = default;
};

struct RangeFile {
  RangeKey key;
  /// Shards of the data that are in, ascending, 0-based, out of shard_count. {0} of 1: everything.
  int shard_count = 1;
  std::vector<int> shards = {0};
  uint64_t samples = 0;      // that are in
  uint64_t all_samples = 0;  // of the whole data
  std::map<std::string, Summary> tensors;
  /// By tensor, those of each sample that is in, in the order of the whole data; none where they
  /// were not kept.
  std::map<std::string, std::vector<Extremes>> extremes;

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

/// Joins shards. Refuses parts that differ in model, options, number of all samples, shard count or
/// tensors, that hold a shard twice, or, unless `mix_isa`, that ran on other kernels or another
/// ISA. With all shards in, the bytes are those of one run. Some may still be missing; complete()
/// says so. Messages call parts by their names, else by number.
Result<RangeFile> merge_ranges(std::vector<RangeFile> parts, bool mix_isa = false,
                               const std::vector<std::string>& names = {});

}  // namespace onnxtool
