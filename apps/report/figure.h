// Drawings of a report. The html form draws them; what they show stands in tables for every other
// form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace onnxtool {

/// Equal steps from the smallest to the largest value.
struct Histogram {
  double low = 0, high = 0;
  std::vector<int64_t> counts;
};

/// Boxes within boxes whose areas are sizes. A path's parts between '/' are the boxes around it.
struct Treemap {
  struct Leaf {
    std::string path;
    int64_t size = 0;
  };
  std::string title, unit;
  std::vector<Leaf> leaves;
};

/// The parts of a leaf's path, at most 32: the last holds the rest. Names are a file's, and so
/// deep, and no deeper, does it help to look.
std::vector<std::string> path_parts(const std::string& path);

/// Lines over a row of named places. Values that are not finite are gaps.
struct Curve {
  struct Series {
    std::string label;
    std::vector<double> values;  // as many as places
  };
  std::string title, unit;
  std::vector<std::string> places;
  std::vector<Series> series;
};

/// A graph to walk through: boxes that values connect, in groups that open and close.
struct Diagram {
  using Facts = std::vector<std::pair<std::string, std::string>>;
  struct Value {
    std::string name;
    Facts facts;
    std::optional<Histogram> histogram;
  };
  struct Node {
    std::string label, name;
    std::string group;  // path with '/'; empty: the whole
    /// Indices into `values`; -1 is an input that was left out. A value has at most one maker.
    std::vector<int32_t> inputs, outputs;
    Facts facts;
  };
  std::string title;
  std::vector<Node> nodes;
  std::vector<Value> values;
};

using Figure = std::variant<Treemap, Curve, Diagram>;

}  // namespace onnxtool
