// Sections of the report of `onnxtool quantize`.
#pragma once

#include <string>

#include "apps/report/report.h"
#include "libopt/io/save.h"
#include "quant/quantize.h"

namespace onnxtool {

/// Files, sizes, and what preparation changed. `path` is the model's; `saved` is nullptr where
/// nothing was written.
Section model_section(const std::string& path, const Model& original, const Quantizer& quantizer,
                      const SavedFiles* saved, const std::string& output);

/// What runs on integers, what stays float and why; ranges and the predicted graph once there is a
/// result.
Section quantization_section(const Quantizer& quantizer, const Quantizer::Output* result);

/// Outputs of both models compared on `data`, and accuracy where it is labelled.
Section accuracy_section(const ModelComparison& compared, const std::string& data, bool labelled);

/// Layers by their error, the largest first.
Section layers_section(std::vector<LayerError> errors, int64_t samples);

}  // namespace onnxtool
