// Attributes whose values are words of a list: those that no list has. Bounds in the wrong order.
#include <algorithm>
#include <ranges>

#include "libopt/analysis/clip.h"
#include "libopt/check/family.h"
#include "libopt/ir/model.h"
#include "libopt/ir/walk.h"

namespace onnxtool::check {
namespace {

struct Choice {
  std::string_view operators, attribute;  // operators with a bar between them
  std::string_view values;                // those of the standard, likewise
  // What ONNX Runtime loads beside them: a list that starts with a bar, so that an empty part is
  // the empty word; `*`: anything.
  std::string_view loaded = {};
  int first_opset = 1, last_opset = 1000;
};

constexpr std::string_view kAny = "*";

// Standard: the operators' descriptions. `loaded`: measured with ONNX Runtime 1.31.
constexpr Choice kChoices[] = {
    {"AveragePool|Conv|ConvInteger|ConvTranspose|LpPool|MaxPool|QLinearConv", "auto_pad",
     "NOTSET|SAME_UPPER|SAME_LOWER|VALID", "|"},
    {"Pad", "mode", "constant|reflect|edge|wrap"},
    {"Resize|Upsample", "mode", "nearest|linear|cubic"},
    {"Resize", "coordinate_transformation_mode",
     "half_pixel|half_pixel_symmetric|pytorch_half_pixel|align_corners|asymmetric|"
     "tf_half_pixel_for_nn|tf_crop_and_resize"},
    {"Resize", "nearest_mode", "round_prefer_floor|round_prefer_ceil|floor|ceil", "|"},
    {"GridSample", "mode", "bilinear|nearest|bicubic", {}, 1, 19},
    {"GridSample", "mode", "linear|nearest|cubic", {}, 20},
    {"GridSample", "padding_mode", "zeros|border|reflection"},
    {"RoiAlign", "mode", "avg|max", "|AVG|MAX"},
    {"RoiAlign", "coordinate_transformation_mode", "half_pixel|output_half_pixel", kAny},
    {"GRU|LSTM|RNN", "direction", "forward|reverse|bidirectional"},
    {"DepthToSpace", "mode", "DCR|CRD"},
    {"BitShift", "direction", "LEFT|RIGHT"},
    {"Cast", "round_mode", "up|down|nearest"},
    {"Gelu", "approximate", "none|tanh", kAny},
    {"ScatterElements|ScatterND", "reduction", "none|add|mul|min|max", kAny},
    {"NegativeLogLikelihoodLoss|SoftmaxCrossEntropyLoss", "reduction", "none|sum|mean", kAny},
    {"TensorScatter", "mode", "linear|circular"},
    {"StringNormalizer", "case_change_action", "NONE|LOWER|UPPER"},
    {"TfIdfVectorizer", "mode", "TF|IDF|TFIDF"},
    {"LinearClassifier|LinearRegressor|SVMClassifier|SVMRegressor|TreeEnsembleClassifier|"
     "TreeEnsembleRegressor",
     "post_transform", "NONE|SOFTMAX|LOGISTIC|SOFTMAX_ZERO|PROBIT"},
    {"SVMClassifier|SVMRegressor", "kernel_type", "LINEAR|POLY|RBF|SIGMOID"},
    {"TreeEnsembleClassifier|TreeEnsembleRegressor", "aggregate_function", "AVERAGE|SUM|MIN|MAX"},
    {"Normalizer", "norm", "MAX|L1|L2"},
};

bool has_word(std::string_view list, std::string_view word) {
  if (list.empty()) return false;
  return std::ranges::any_of(list | std::views::split('|'), [&](const auto& part) {
    return std::string_view(part.begin(), part.end()) == word;
  });
}

std::string enumerated(std::string_view list) {
  std::string out;
  for (const char c : list) out += c == '|' ? std::string(", ") : std::string(1, c);
  return out;
}

class Choices {
 public:
  Choices(const CheckOptions& options, Findings& out) : options_(options), out_(out) {}

  void check(const Graph& graph, const std::string& where) {
    for_each_node(graph, [&](const Node& n) {
      if (n.domain().empty() || n.domain() == "ai.onnx.ml") check(n, where);
    });
  }

 private:
  void check(const Node& n, const std::string& where) {
    for (const Choice& c : kChoices) {
      const Attribute* a = n.attribute(c.attribute);
      const auto* word = a ? a->get<std::string>() : nullptr;
      if (!word || has_word(c.values, *word)) continue;
      if (n.opset() < c.first_opset || n.opset() > c.last_opset ||
          !has_word(c.operators, n.op_type()))
        continue;
      // What rounds to the nearest is asked of no other interpolation.
      if (c.attribute == "nearest_mode" && n.attr<std::string>("mode", "nearest") != "nearest")
        continue;
      const bool refused = options_.runtime && c.loaded != kAny && !has_word(c.loaded, *word);
      out_.add(refused ? RuleId::kRuntimeAttribute : RuleId::kUnlistedValue, where + n.describe(),
               "attribute '" + std::string(c.attribute) + "' is '" + *word + "', expected " +
                   enumerated(c.values));
    }
    if (!options_.runtime || !n.is("Clip") || n.opset() < 6 || n.opset() >= 11) return;
    const std::optional<ClipBounds> bounds = clip_bounds(n);
    if (bounds && bounds->low > bounds->high)
      out_.add(RuleId::kRuntimeAttribute, where + n.describe(), "attribute 'min' is above 'max'");
  }

  const CheckOptions& options_;
  Findings& out_;
};

}  // namespace

void check_choices(const Model& model, const CheckOptions& options, Findings& out) {
  Choices choices(options, out);
  choices.check(model.graph(), "");
  for (const Function& f : model.functions)
    choices.check(*f.body, "function '" + f.domain + "." + f.name + "': ");
}

}  // namespace onnxtool::check
