// Range files of other tools: onnxruntime's calibration JSON and TensorRT's calibration cache. They
// hold one range a tensor, and nothing of what was observed.
//
// Functions take and return text, as those for our own files (range_file.h).
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "calib/ranges/calibrator.h"
#include "libopt/support/status.h"

namespace onnxtool {

enum class RangeForm : uint8_t { kOnnxtool, kOrt, kTrt };

/// "onnxtool", "ort", "trt".
std::string_view name(RangeForm form);

/// By content: what begins as TensorRT's cache or as our own does, else onnxruntime's.
RangeForm detect_ranges(std::string_view text);

struct ForeignRanges {
  RangeForm form = RangeForm::kOrt;
  std::map<std::string, Range> ranges;
};
/// Either of the two; a file that holds no tensor is kBadData.
Result<ForeignRanges> load_foreign_ranges(std::string_view text);

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
