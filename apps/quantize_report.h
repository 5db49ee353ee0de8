// Sections of the report of `onnxtool quantize`.
#pragma once

#include <string>

#include "apps/quantize_method.h"
#include "apps/report/report.h"
#include "libopt/io/save.h"
#include "quant/quantize.h"

namespace onnxtool {

/// Files, sizes, and what preparation changed. `path` is the model's; `saved` is nullptr where
/// nothing was written.
Section model_section(const std::string& path, const Model& original, const QuantizeMethod& method,
                      const SavedFiles* saved, const std::string& output);

/// Counts of `decisions` by what became of them, as fields and tables that every method reports.
struct NodeTables {
  int64_t quantized = 0, in_float = 0;
  Table why;    // for people: reasons, the most frequent first
  Table nodes;  // for programs: all of them
};
NodeTables node_tables(const std::vector<NodeDecision>& decisions);

/// Of static quantization: what runs on integers, what stays float and why; ranges and the
/// predicted graph once there is a result.
Section static_section(const Quantizer& quantizer, const Quantizer::Output* result);

/// Outputs of both models compared on `data`, and accuracy where it is labelled.
Section accuracy_section(const ModelComparison& compared, const std::string& data, bool labelled);

/// Layers by their error, the largest first.
Section layers_section(std::vector<LayerError> errors, int64_t samples);

}  // namespace onnxtool
