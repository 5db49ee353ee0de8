// Models and encoders of ai.onnx.ml. Expected values are computed by hand; hostile attributes are
// errors.
#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

using Floats = std::vector<float>;
using Strings = std::vector<std::string>;

// One tree over two features: x0 <= 0.5 ? (x1 == 2 ? leaf 3 : leaf 4) : leaf 2.
OneNode tree(std::vector<Given> more, const Tensor& x, std::string op = "TreeEnsembleRegressor") {
  OneNode node{std::move(op), 3, {x}, {}, 1, "ai.onnx.ml"};
  node.attributes = {{"nodes_treeids", Dims{0, 0, 0, 0, 0}},
                     {"nodes_nodeids", Dims{0, 1, 2, 3, 4}},
                     {"nodes_featureids", Dims{0, 1, 0, 0, 0}},
                     {"nodes_truenodeids", Dims{1, 3, 0, 0, 0}},
                     {"nodes_falsenodeids", Dims{2, 4, 0, 0, 0}},
                     {"nodes_values", Floats{0.5f, 2, 0, 0, 0}},
                     {"nodes_modes", Strings{"BRANCH_LEQ", "BRANCH_EQ", "LEAF", "LEAF", "LEAF"}}};
  for (Given& g : more) {
    std::erase_if(node.attributes,
                  [&](const Given& old) { return std::string_view(old.first) == g.first; });
    node.attributes.push_back(std::move(g));
  }
  return node;
}

std::vector<Given> targets() {
  return {{"target_treeids", Dims{0, 0, 0}},
          {"target_nodeids", Dims{2, 3, 4}},
          {"target_ids", Dims{0, 0, 0}},
          {"target_weights", Floats{10, 20, 30}}};
}

std::vector<Given> with(std::vector<Given> list, Given g) {
  list.push_back(std::move(g));
  return list;
}

const Tensor kRows = Tensor::from<float>({3, 2}, Floats{1, 2, 0, 2, 0.5f, 3});

}  // namespace

TEST_CASE("ml: a tree sends each row to its leaf") {
  CHECK(doubles<float>(run_node(tree(targets(), kRows))[0]) == std::vector<double>{10, 20, 30});
  // NaN takes the false branch, or the true one where the node says so.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor missing = Tensor::from<float>({1, 2}, Floats{nan, nan});
  CHECK(doubles<float>(run_node(tree(targets(), missing))[0]) == std::vector<double>{10});
  const auto tracked = with(targets(), {"nodes_missing_value_tracks_true", Dims{1, 0, 0, 0, 0}});
  CHECK(doubles<float>(run_node(tree(tracked, missing))[0]) == std::vector<double>{30});
}

TEST_CASE("ml: a tree that is none is an error") {
  const auto says = [&](Given g, const char* what) {
    CHECK(mentions(error_of(tree(with(targets(), std::move(g)), kRows)), what));
  };
  says({"nodes_truenodeids", Dims{1, 0, 0, 0, 0}}, "is reached twice");
  says({"nodes_truenodeids", Dims{0, 3, 0, 0, 0}}, "is reached twice");
  says({"nodes_truenodeids", Dims{9, 3, 0, 0, 0}}, "which does not exist");
  says({"nodes_falsenodeids", Dims{2, 4}}, "nodes_falsenodeids has 2 elements, expected 5");
  says({"nodes_modes", Strings{"BRANCH_LEQ", "MAYBE", "LEAF", "LEAF", "LEAF"}}, "'MAYBE'");
  says({"nodes_nodeids", Dims{0, 1, 2, 3, 3}}, "listed twice");
  says({"nodes_featureids", Dims{0, -1, 0, 0, 0}}, "compares feature -1");
  says({"nodes_featureids", Dims{0, std::numeric_limits<int64_t>::max(), 0, 0, 0}},
       "compares feature 9223372036854775807");
  says({"nodes_featureids", Dims{0, 2, 0, 0, 0}}, "has 2 features, but the trees read 3");
  says({"target_ids", Dims{0, 0, 7}}, "votes for 7 of 1");
  says({"target_nodeids", Dims{2, 3, 40}}, "which does not exist");
  says({"n_targets", int64_t{1} << 60}, "n_targets");
  says({"base_values", Floats{1, 2}}, "base_values has 2 elements");
  says({"post_transform", std::string("MAGIC")}, "MAGIC");
}

TEST_CASE("ml: a binary tree classifier has one score for two classes") {
  std::vector<Given> classes = {{"class_treeids", Dims{0, 0, 0}},
                                {"class_nodeids", Dims{2, 3, 4}},
                                {"class_ids", Dims{0, 0, 0}},
                                {"class_weights", Floats{0.75f, 0.25f, 1}},
                                {"classlabels_strings", Strings{"no", "yes"}}};
  OneNode node = tree(classes, kRows, "TreeEnsembleClassifier");
  node.outputs = 2;
  auto out = run_once(node, 1, cpu_kernel_set(), 1);
  REQUIRE(out.ok());
  CHECK((*out)[0].strings() == Strings{"yes", "no", "yes"});
  CHECK(doubles<float>((*out)[1]) == std::vector<double>{0.25, 0.75, 0.75, 0.25, 0, 1});
  // With a negative weight the score is a margin.
  node = tree(with(classes, {"class_weights", Floats{-2, 3, 1}}), kRows, "TreeEnsembleClassifier");
  node.outputs = 2;
  out = run_once(node, 1, cpu_kernel_set(), 1);
  REQUIRE(out.ok());
  CHECK((*out)[0].strings() == Strings{"no", "yes", "yes"});
  CHECK(doubles<float>((*out)[1]) == std::vector<double>{2, -2, -3, 3, -1, 1});
}

TEST_CASE("ml: a classifier of trees without votes gives the first label") {
  OneNode node = tree({{"class_treeids", Dims{}},
                       {"class_nodeids", Dims{}},
                       {"class_ids", Dims{}},
                       {"class_weights", Floats{}},
                       {"classlabels_strings", Strings{"no", "yes"}}},
                      kRows, "TreeEnsembleClassifier");
  node.outputs = 2;
  const auto out = run_once(node, 1, cpu_kernel_set(), 1);
  REQUIRE(out.ok());
  CHECK((*out)[0].strings() == Strings{"no", "no", "no"});
  CHECK(doubles<float>((*out)[1]) == std::vector<double>(6));
}

TEST_CASE("ml: TreeEnsemble-5 tells nodes from leaves and knows sets") {
  const auto arrays = [](Dims true_ids, Dims roots) {
    return OneNode{
        "TreeEnsemble",
        5,
        {Tensor::from<float>({3, 1}, Floats{1, 4, 9})},
        {{"tree_roots", std::move(roots)},
         {"nodes_featureids", Dims{0}},
         {"nodes_truenodeids", std::move(true_ids)},
         {"nodes_falsenodeids", Dims{1}},
         {"nodes_trueleafs", Dims{1}},
         {"nodes_falseleafs", Dims{1}},
         {"leaf_targetids", Dims{1, 0}},
         {"n_targets", int64_t{2}},
         {"nodes_modes", NamedTensor{"", Tensor::from<uint8_t>({1}, std::vector<uint8_t>{6})}},
         {"nodes_splits", NamedTensor{"", Tensor::from<float>({1}, Floats{0})}},
         {"leaf_weights", NamedTensor{"", Tensor::from<float>({2}, Floats{5, 7})}},
         {"membership_values",
          NamedTensor{"", Tensor::from<float>(
                              {3}, Floats{9, 1, std::numeric_limits<float>::quiet_NaN()})}}},
        1,
        "ai.onnx.ml"};
  };
  CHECK(doubles<float>(run_node(arrays({0}, {0}))[0]) == std::vector<double>{0, 5, 7, 0, 0, 5});
  CHECK(mentions(error_of(arrays({2}, {0})), "branch to a node that does not exist"));
  CHECK(mentions(error_of(arrays({0}, {1})), "tree_roots has 1"));
}

TEST_CASE("ml: linear models") {
  OneNode node{"LinearRegressor",
               1,
               {kRows},
               {{"coefficients", Floats{1, 2, 3, 4}},
                {"intercepts", Floats{0.5f, -1}},
                {"targets", int64_t{2}}},
               1,
               "ai.onnx.ml"};
  CHECK(doubles<float>(run_node(node)[0]) == std::vector<double>{5.5, 10, 4.5, 7, 7, 12.5});
  node.inputs = {Tensor::from<float>({1, 3}, Floats{1, 2, 3})};
  CHECK(mentions(error_of(node), "has 3 features, expected 2"));
  node.attributes[2].second = int64_t{3};
  CHECK(mentions(error_of(node), "coefficients has 4 elements, expected a multiple of 3"));
}

TEST_CASE("ml: support vectors vote by pairs of classes") {
  OneNode node{"SVMClassifier",
               1,
               {Tensor::from<float>({2, 1}, Floats{2, -2})},
               {{"support_vectors", Floats{1, -1}},
                {"coefficients", Floats{1, 1}},
                {"rho", Floats{0}},
                {"vectors_per_class", Dims{1, 1}},
                {"classlabels_ints", Dims{5, 6}},
                {"kernel_type", std::string("LINEAR")}},
               2,
               "ai.onnx.ml"};
  // coefficients (1, 1) of the vectors 1 and -1: the decision is x - x = 0, so nobody is preferred
  // to class 6.
  CHECK(run_node(node)[0].to_ints() == Dims{6, 6});
  node.attributes[1].second = Floats{1, -1};  // now 2x
  const auto out = run_node(node);
  CHECK(out[0].to_ints() == Dims{5, 6});
  CHECK(doubles<float>(out[1]) == std::vector<double>{-4, 4, 4, -4});
  node.attributes[3].second = Dims{1, 1000};
  CHECK(mentions(error_of(node), "vectors_per_class has 1000"));
  node.attributes[3].second = Dims{1, 1};
  node.attributes[1].second = Floats{1};
  CHECK(mentions(error_of(node), "coefficients has 1 elements, expected at least 2"));
}

TEST_CASE("ml: encoders map values, and the default where there is none") {
  OneNode node{"LabelEncoder",
               2,
               {Tensor::from_strings({3}, {"b", "x", "a"})},
               {{"keys_strings", Strings{"a", "b"}}, {"values_int64s", Dims{7, 8}}},
               1,
               "ai.onnx.ml"};
  const auto run = [](const OneNode& n) {
    auto out = run_once(n, 1, cpu_kernel_set(), 1);
    REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message));
    return (*out)[0];
  };
  CHECK(run(node).to_ints() == Dims{8, -1, 7});
  node.attributes[1].second = Dims{7};
  CHECK(mentions(error_of(node), "2 keys and 1 values"));
  node = {"OneHotEncoder",
          1,
          {Tensor::from<int64_t>({2}, Dims{4, 9})},
          {{"cats_int64s", Dims{9, 4}}, {"zeros", int64_t{0}}},
          1,
          "ai.onnx.ml"};
  CHECK(doubles<float>(run(node)) == std::vector<double>{0, 1, 1, 0});
  node.inputs = {Tensor::from<int64_t>({2}, Dims{4, 3})};
  CHECK(mentions(error_of(node), "element 1 is in no category"));
  node = {"ArrayFeatureExtractor",
          1,
          {kRows, Tensor::from<int64_t>({1}, Dims{2})},
          {},
          1,
          "ai.onnx.ml"};
  CHECK(mentions(error_of(node), "index 2 is out of range for 2 columns"));
}

}  // namespace onnxtool::testing
