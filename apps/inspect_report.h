// What inspect says of a model, as sections of a report.
#pragma once

#include <string>
#include <vector>

#include "apps/report/report.h"
#include "libopt/ir/model.h"
#include "libopt/target/target.h"

namespace onnxtool {

/// How many rows people see of long tables; 0: all.
struct InspectLimits {
  size_t rows = 10;
};

Section model_summary(const Model& model, const std::string& path);
Section inputs_and_outputs(const Model& model);
Section operators(const Model& model, const InspectLimits& limits);
Section layers(const Model& model, const InspectLimits& limits);
Section largest_tensors(const Model& model, const InspectLimits& limits);
Section memory_over_time(const Model& model, const InspectLimits& limits);
/// What runs on integers on the target; without quantization one line.
Section quantization_state(const Model& model, const Target& target);

/// One node, found by its name or by the name of an output. Errors list close names.
Result<Section> node_panel(const Model& model, const std::string& name);
/// One constant with statistics and digest, or one value with its type, maker and readers.
Result<Section> tensor_panel(const Model& model, const std::string& name);

/// The graph to walk through, subgraphs included, with histograms of constants: for forms that
/// draw.
Section graph_drawing(const Model& model);

/// Two models side by side: sizes, work, memory, and operators whose number changed.
Section before_and_after(const Model& before, const Model& after, const Target& target);
/// min, max, mean and so on of every constant with numbers, and the digest of its bytes.
Section constant_statistics(const Model& model, const InspectLimits& limits);

/// Takes back the names of extents of inner values and outputs: with inputs settled, numbers say
/// more. What operators make that nobody knows keeps them.
void forget_inner_shapes(Graph& graph);

/// What people call a node: its name, else its first output's.
std::string shown_name(const Node& node);
/// An attribute's value in short; long lists are cut.
std::string short_attribute(const Attribute& attribute);

/// The main graph in Graphviz's language.
std::string dot_text(const Model& model);

}  // namespace onnxtool
