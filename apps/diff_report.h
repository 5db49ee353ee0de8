// What `diff` found, as sections and findings of a report.
#pragma once

#include <string>
#include <vector>

#include "apps/report/report.h"
#include "calib/compare/gates.h"

namespace onnxtool {

/// A table of outputs for people, one of every metric for programs.
Section outputs_section(const ModelComparison& comparison, const SampleSource& source);

Section gates_section(const std::vector<GateResult>& gates, const Band& band);

/// Accuracy of both sides; only where labels were compared.
Section accuracy_section(const ClassAccuracy& accuracy);

/// Every gate as a check.
std::vector<Check> gate_checks(const std::vector<GateResult>& gates);

/// One finding for every gate that did not hold and every output that could not be compared.
/// has_layers: both sides are models, whose layers --per-layer can compare.
std::vector<Finding> comparison_findings(const ModelComparison& comparison,
                                         const OutputPairing& pairing,
                                         const std::vector<GateResult>& gates,
                                         const SampleSource& source, bool has_layers);

}  // namespace onnxtool
