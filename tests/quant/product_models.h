// Models of products whose weights are quantized without samples, and what became of them.
#pragma once

#include "tests/quant/small_models.h"

namespace onnxtool::testing {

/// Weights w [64, 32] and v [32, 64], a bias b [32] and a column c [3, 1].
inline std::string product_model(const std::string& body, int opset = 13,
                                 const std::string& inputs = "float[3,64] x") {
  return "<ir_version: 8, opset_import: [\"\" : " + std::to_string(opset) + "]> g (" + inputs +
         ") => (float y) <float[64,32] w = {" + numbers(2048) + "}, float[32,64] v = {" +
         numbers(2048, 0.5) + "}, float[32] b = {" + numbers(32) +
         "}, float[3,1] c = {1.0, 2.0, 3.0}> { " + body + " }";
}

inline void count_ops(const Graph& graph, std::map<std::string, int>& ops) {
  for (const Node& n : graph.nodes()) {
    ++ops[n.op_type()];
    n.for_each_subgraph([&](Graph& g) { count_ops(g, ops); });
  }
}

template <class Plan>
struct Made {
  Plan model;
  double sqnr_db = 200;            // of the worst output, on random samples
  std::map<std::string, int> ops;  // bodies included
};

/// `plan` takes the model, `run` what that gave. Every node of the result satisfies its schema.
template <class Plan, class Options>
Made<Plan> make_with(const std::string& text, const Options& options,
                     Result<Plan> (*plan)(std::unique_ptr<Model>, const Options&),
                     Status (*run)(Plan&, const Options&)) {
  auto model = parse(text);
  const Status inferred = infer_graph(model->graph());
  REQUIRE_MESSAGE(inferred.ok(), (inferred.ok() ? "" : inferred.error().message));
  auto planned = plan(model->clone(), options);
  REQUIRE_MESSAGE(planned.ok(), (planned.ok() ? "" : planned.error().message));
  Made<Plan> made{*std::move(planned)};
  const Status done = run(made.model, options);
  REQUIRE_MESSAGE(done.ok(), (done.ok() ? "" : done.error().message));
  const Graph& result = made.model.model->graph();
  for (const Node& n : result.nodes())
    if (Status s = check_node(n); !s.ok()) FAIL(s.error().message);
  count_ops(result, made.ops);
  const auto source = random_samples(*model, 2);
  auto compared = compare_models(model->graph(), result, *source, cpu_run(), {});
  REQUIRE_MESSAGE(compared.ok(), (compared.ok() ? "" : compared.error().message));
  for (const auto& [name, m] : compared->outputs)
    made.sqnr_db = std::min(made.sqnr_db, m.value(Metric::kSqnr).value_or(200));
  return made;
}

}  // namespace onnxtool::testing
