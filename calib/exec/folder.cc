#include "calib/exec/folder.h"

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"

namespace onnxtool {
namespace {

class PlanFolder final : public Folder {
 public:
  Result<std::vector<Tensor>> evaluate(const Node& node) override {
    // A model of this one node: the evaluator that runs everything else runs it too.
    Model model;
    model.opsets = node.graph().model().opsets;
    Graph& graph = model.graph();
    std::vector<Value*> inputs, outputs;
    for (const Value* v : node.inputs()) {
      if (!v) {
        inputs.push_back(nullptr);
        continue;
      }
      if (!v->constant())
        return Error{ErrorCode::kUnsupported,
                     node.describe() + ": input '" + v->name() + "' is not constant",
                     {}};
      Value* known = graph.find(v->name());
      inputs.push_back(known ? known : &graph.add_initializer(*v->constant(), v->name()));
    }
    for (const Value* v : node.outputs()) {
      outputs.push_back(v ? &graph.add_value({}, "out") : nullptr);
      if (v) {
        outputs.back()->set_type(v->type());
        graph.add_output(*outputs.back());
      }
    }
    Node& copy = graph.add_node(node.op_type(), node.domain(), node.name(), inputs, outputs);
    for (const Attribute& a : node.attributes()) {
      Attribute b;
      b.name = a.name;
      b.kind = a.kind;
      if (!copy_payload(a, b))
        return Error{ErrorCode::kUnsupported, node.describe() + ": has a subgraph", {}};
      copy.set_attribute(std::move(b));
    }
    PlanOptions options;
    options.kernel_sets = {&cpu_kernel_set_portable()};
    ONNXTOOL_ASSIGN(auto plan, Plan::compile(graph, options));
    RunContext context(plan);
    std::vector<Tensor> results, by_output;
    ONNXTOOL_TRY(context.run({}, &results));
    size_t next = 0;
    for (const Value* v : node.outputs())
      by_output.push_back(v ? std::move(results[next++]) : Tensor());
    return by_output;
  }

 private:
  static bool copy_payload(const Attribute& from, Attribute& to) {
    return std::visit(
        [&](const auto& v) {
          using T = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<T, std::unique_ptr<Graph>> ||
                        std::is_same_v<T, std::vector<std::unique_ptr<Graph>>>) {
            return false;
          } else {
            to.value = v;
            return true;
          }
        },
        from.value);
  }
};

}  // namespace

std::unique_ptr<Folder> make_folder() { return std::make_unique<PlanFolder>(); }

}  // namespace onnxtool
