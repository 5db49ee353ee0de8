#include "quant/prepare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "calib/exec/folder.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/convert_opset.h"
#include "libopt/ir/code_type.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/inline_calls.h"
#include "libopt/rewrite/visit.h"
#include "libopt/support/checked.h"
#include "libopt/target/obstacles.h"
#include "passes/deduplicate.h"
#include "passes/pass.h"
#include "quant/float8.h"
#include "quant/hoist_activations.h"
#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

// Inputs at which a layer has its parameters.
bool is_parameter(const Use& use) {
  const Node& n = *use.user;
  if (n.is("Conv") || n.is("ConvTranspose") || n.is("Gemm"))
    return use.index == 1 || use.index == 2;
  if (n.is("MatMul")) return use.index == 1;
  return n.is("BatchNormalization") && use.index >= 1;
}

// A weight that callers may override cannot be stored as integers: such defaults become constants,
// as exporters meant them that listed every initializer among the inputs. Other defaults stay what
// they are.
int freeze_parameters(Graph& graph) {
  int count = 0;
  for (Value* v : graph.initializers()) {
    if (!v->is_graph_input() || v->is_graph_output() || v->type().dtype != DataType::kFloat)
      continue;
    if (!std::any_of(v->uses().begin(), v->uses().end(), is_parameter)) continue;
    graph.remove_input(*v);
    ++count;
  }
  return count;
}

// Whether layers read it as a weight, at the end of a chain of nodes that only move its elements.
bool ends_as_weight(const Node& node) {
  const bool moves = node.is("Transpose") || node.is("Reshape") || node.is("Squeeze") ||
                     node.is("Unsqueeze") || node.is("Flatten") || node.is("Identity");
  if (!moves || !node.has_output(0) || node.output(0).is_graph_output()) return false;
  const std::vector<Use>& uses = node.output(0).uses();
  return !uses.empty() && std::all_of(uses.begin(), uses.end(), [&](const Use& use) {
    return is_parameter(use) || (use.index == 0 && ends_as_weight(*use.user));
  });
}

bool reads_constants(const Node& node) {
  return std::ranges::all_of(node.inputs(), [](const Value* v) { return !v || v->constant(); });
}

// A weight that is moved before use, as a table that embeds tokens and classifies them, stays a
// node in files that must not grow. As integers it is a quarter of its size, and a weight that a
// node computes could not be quantized per channel. onnxruntime's quantizer keeps one copy of such
// tables: then `tables` is false.
int fold_moved_weights(Graph& graph, Folder& folder, bool tables) {
  int count = 0;
  for (Node& node : graph.nodes()) {
    if (!ends_as_weight(node) || !reads_constants(node)) continue;
    const auto gathers = [](const Use& u) { return u.index == 0 && u.user->is("Gather"); };
    if (!tables && std::ranges::any_of(node.input(0).uses(), gathers)) continue;
    if (node.input(0).constant()->dtype() != DataType::kFloat) continue;
    auto result = folder.evaluate(node);
    if (!result.ok()) continue;  // it stays what it is
    Rewriter(graph).make_constant(node.output(0), std::move((*result)[0]));
    ++count;
  }
  return count;
}

// Likewise, but only where no element moves, so that nothing is copied, however large it is.
void fold_reshaped_weights(Graph& graph) {
  visit_nodes(graph, [&](Node& node) {
    node.for_each_subgraph(fold_reshaped_weights);
    const bool reshapes =
        node.is("Reshape") || node.is("Squeeze") || node.is("Unsqueeze") || node.is("Flatten");
    if (!reshapes || !node.has_input(0) || !ends_as_weight(node)) return;
    // What the file declares of a shape that callers choose is no more than a claim.
    if (!reads_constants(node)) return;
    const Tensor* w = node.input(0).constant();
    const auto dims = node.output(0).type().static_dims();
    if (!w || !is_float(w->dtype()) || !node.input(0).has_one_use() || !dims ||
        checked_product(*dims) != w->count())
      return;
    Rewriter rw(graph);
    rw.make_constant(node.output(0), w->reshaped(*dims));
    rw.sweep();
  });
}

// Without padding there is none to count; but integer kernels of some runtimes count what ceil_mode
// adds behind the input as well, if they are told to count padding.
void drop_idle_count_include_pad(Graph& graph) {
  for (Node& node : graph.nodes()) {
    if (!node.is("AveragePool") || !node.attr<int64_t>("count_include_pad", 0)) continue;
    const std::string padding = node.attr<std::string>("auto_pad", "NOTSET");
    if (padding != "NOTSET" && padding != "VALID") continue;
    const Attribute* pads = node.attribute("pads");
    const auto* values = pads ? pads->get<std::vector<int64_t>>() : nullptr;
    if (values && std::ranges::any_of(*values, [](int64_t p) { return p != 0; })) continue;
    node.remove_attribute("count_include_pad");
  }
}

// Of two in a row the second is enough, and its name is the one that others know.
void drop_idle_relus(Graph& graph) {
  for (Node& node : graph.nodes()) {
    if (!node.is("Relu") || !node.has_input(0)) continue;
    Node* before = node.input(0).producer();
    if (!before || !before->is("Relu") || &before->graph() != &graph || !before->has_input(0) ||
        !before->output(0).has_one_use() || before->output(0).is_graph_output())
      continue;
    Rewriter rw(graph, &node);
    rw.set_input(node, 0, &before->input(0));
    rw.remove(*before);
  }
}

// Of two operands it is an Add, which has integer kernels. What selections name keeps its operator.
std::set<std::string> sums_to_adds(Graph& graph, const QuantizeOptions& options) {
  std::set<std::string> results;
  for (Node& node : graph.nodes()) {
    if (!node.is("Sum") || node.num_inputs() != 2 || !node.has_input(0) || !node.has_input(1) ||
        !node.has_output(0) || options.exclude.matches(node))
      continue;
    const OverrideValues wished = options.overrides.of(node);
    Rewriter rw(graph, &node);
    rw.set_op(node, "Add");
    if (options.overrides.of(node) == wished)
      results.insert(node.output(0).name());
    else  // it was named by its operator
      rw.set_op(node, "Sum");
  }
  return results;
}

// onnxruntime puts an AveragePool's attributes on its integer kernel, which has no dilations: a
// model with them does not load, whatever they are.
void drop_idle_dilations(Graph& graph) {
  for (Node& node : graph.nodes()) {
    if (node.is("AveragePool") && !dilated_pool(node)) node.remove_attribute("dilations");
  }
}

// nullopt: it is no float32 constant, or leaves the range.
std::optional<Tensor> times(const Value& v, float factor) {
  const Tensor* t = v.constant();
  if (!t || t->dtype() != DataType::kFloat) return std::nullopt;
  std::vector<float> values = t->values<float>();
  for (float& x : values)
    if (x *= factor; !std::isfinite(x)) return std::nullopt;
  return Tensor::from(t->dims(), values);
}

// alpha goes into the weights and beta into the bias: integer kernels have neither factor.
void fold_gemm_factors(Graph& graph) {
  std::map<std::pair<const Value*, float>, Value*> made;  // of weights that several nodes read
  for (Node& node : graph.nodes()) {
    if (!node.is("Gemm") || !node.has_input(1)) continue;
    Rewriter rw(graph, &node);
    const auto fold = [&](const char* attribute, int input) {
      const float factor = node.attr<float>(attribute, 1);
      if (factor == 1 || std::isnan(factor)) return;  // NaN has no place in the order of keys
      if (node.has_input(input)) {
        const Value& old = node.input(input);
        Value*& scaled = made[{&old, factor}];
        if (!scaled) {
          auto tensor = times(old, factor);
          if (!tensor) return;
          scaled = &rw.add_constant(*std::move(tensor), old.name() + "_" + attribute);
        }
        rw.set_input(node, input, scaled);
      }
      rw.remove_attribute(node, attribute);
    };
    fold("alpha", 1);
    fold("beta", 2);
  }
}

Preparation before(const Model& model) {
  Preparation p;
  p.opset_before = model.opset("");
  p.ir_before = model.ir_version;
  p.nodes_before = model.graph().num_nodes();
  return p;
}

void after(const Model& model, Preparation& p) {
  p.opset_after = model.opset("");
  p.ir_after = model.ir_version;
  p.nodes_after = model.graph().num_nodes();
}

void free_parameters(Model& model, Preparation& p) {
  if (const int promoted = promote_initializers(model))
    p.notes.push_back(
        std::to_string(promoted) +
        " initializers are constants now, no longer graph inputs (IR < 4 had to list them)");
  if (const int frozen = freeze_parameters(model.graph()))
    p.notes.push_back(std::to_string(frozen) +
                      " weights that were inputs with a default are constants now");
}

Status raise_opset(Model& model, int needed, Preparation& p) {
  ONNXTOOL_ASSIGN(const ConversionReport converted, convert_opset(model, needed));
  for (const std::string& change : converted.changes)
    p.notes.push_back("opset " + std::to_string(needed) + ": " + change);
  return {};
}

bool has_layers(const Function& function) {
  for (const Node& n : function.body->nodes()) {
    const OpHandler* h = find_handler(n);
    if (h && h->role == Role::kCore) return true;
  }
  return false;
}

Status inline_functions(Model& model, Preparation& p) {
  ONNXTOOL_TRY(inline_functions(model));
  p.notes.emplace_back("calls of functions are inlined");
  return {};
}

// onnxruntime's own preparation has folded what it folds and left what it leaves (an Identity that
// gives a graph output); the rest is quantized. Ours takes out idle operators, which would part
// layers from what they fuse with. So do the Transposes that converters from layouts with channels
// last put around convolutions, and what they leave in that layout between them.
std::vector<const PassInfo*> folding_passes(bool ort_compat, bool moves_transposes) {
  std::vector<const PassInfo*> passes;
  for (const PassInfo* p : preparation_pipeline()) {
    const bool is_left =
        p == &kFoldAddIntoConv || p == &kFoldMulIntoConv || p == &kEliminateIdentity;
    if (!ort_compat || !is_left) passes.push_back(p);
    if (!ort_compat && p == &kEliminateIdentity) passes.push_back(&kEliminateNoOp);
  }
  if (moves_transposes) passes.insert(passes.end(), {&kFuseTransposes, &kPushTransposes});
  return passes;
}

bool is_weight(const Value& v) {
  return std::ranges::any_of(v.uses(), [](const Use& u) {
    const OpHandler* h = find_handler(*u.user);
    return h && h->role == Role::kCore && h->weight_input == u.index;
  });
}

// Steps behind layers whose constants others share: each gets its own, since the steps would run in
// float and part the layers. What comes out equal is one again. For weights that become integers.
void fold_behind_shared(Model& model) {
  constexpr std::array<const PassInfo*, 3> kFolds = {&kFoldAddIntoConv, &kFoldBatchNorm,
                                                     &kFoldMulIntoConv};
  PassState state;
  PassContext context;
  context.state = &state;
  constexpr int64_t kTimes = 3;  // as integers a quarter each: no more than the floats were
  for (const Value* v : model.graph().initializers())
    if (is_weight(*v))
      context.max_growth_bytes += kTimes * static_cast<int64_t>(v->initializer()->size_bytes());
  run_passes(model, kFolds, context);
  constexpr std::array<const PassInfo*, 1> kOnce = {&kDeduplicateInitializers};
  if (state.grown_bytes > 0) run_passes(model, kOnce, {});
}

// nullptr: layers stay in float, and what they share is not copied.
Status fold_model(Model& model, const QuantizeOptions* options) {
  const bool ort_compat = options && options->ort_compat;
  ONNXTOOL_TRY(infer_graph(model.graph()));
  const auto folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  const std::vector<const PassInfo*> passes = folding_passes(ort_compat, options && !ort_compat);
  run_passes(model, passes, context);
  if (fold_moved_weights(model.graph(), *folder, !ort_compat)) run_passes(model, passes, context);
  if (options && !ort_compat) fold_behind_shared(model);
  ONNXTOOL_TRY(infer_graph(model.graph()));
  if (!ort_compat) deduplicate_nodes(model.graph());
  drop_idle_count_include_pad(model.graph());
  drop_idle_dilations(model.graph());
  if (!ort_compat || !options->activation_symmetric) drop_idle_relus(model.graph());
  return {};
}

}  // namespace

void restore_sums(Graph& graph, const std::set<std::string>& sums,
                  const std::set<const Node*>& integer) {
  for (const std::string& result : sums) {
    Value* v = graph.find(result);
    Node* add = v ? v->producer() : nullptr;
    if (add && add->is("Add") && !integer.contains(add)) Rewriter(graph, add).set_op(*add, "Sum");
  }
}

Result<Preparation> prepare_model(Model& model, const QuantizeOptions& options) {
  Preparation p = before(model);
  // A body is shared by its calls, whose tensors have ranges of their own.
  if (std::ranges::any_of(model.functions, has_layers)) ONNXTOOL_TRY(inline_functions(model, p));
  free_parameters(model, p);
  const bool floats = is_quantized_float(options.activation_type);  // and so weights
  const auto given = options.overrides.activation_types();
  const bool wide =
      !floats && (!is_8bit(options.activation_type) || !is_8bit(options.weight_type) ||
                  !std::ranges::all_of(given, is_8bit));
  const bool channels = options.per_channel || options.overrides.asks_for_channels();
  const int needed = wide                                   ? kAllTypesOpset
                     : floats                               ? kFloat8Opset
                     : channels && !options.no_opset_change ? kPerChannelOpset
                                                            : kPerTensorOpset;
  if (model.opset("") < needed) {
    if (options.no_opset_change)
      return Error{ErrorCode::kUnsupported,
                   "opset " + std::to_string(model.opset("")) + " has no QuantizeLinear" +
                       (wide || floats ? " for these types" : "") + ", which needs " +
                       std::to_string(needed),
                   "leave out --no-opset-change"};
    ONNXTOOL_TRY(raise_opset(model, needed, p));
  }
  if (!options.ort_compat) p.sums = sums_to_adds(model.graph(), options);
  ONNXTOOL_TRY(fold_model(model, &options));
  if (!options.ort_compat) hoist_activations(model.graph(), *options.target);
  fold_gemm_factors(model.graph());
  after(model, p);
  return p;
}

Result<Preparation> prepare_weights(std::unique_ptr<Model>& model, int least_opset,
                                    bool no_opset_change, bool fold) {
  Preparation p = before(*model);
  free_parameters(*model, p);
  if (!model->functions.empty()) {
    std::unique_ptr<Model> inlined = model->clone();
    ONNXTOOL_TRY(inline_functions(*inlined, p));
    model = std::move(inlined);
  }
  if (model->opset("") < least_opset) {
    if (no_opset_change)
      return Error{ErrorCode::kUnsupported,
                   "opset is " + std::to_string(model->opset("")) + ", and this form needs " +
                       std::to_string(least_opset),
                   "leave out --no-opset-change"};
    ONNXTOOL_TRY(raise_opset(*model, least_opset, p));
  }
  if (fold) {
    ONNXTOOL_TRY(fold_model(*model, nullptr));
  } else {
    // Exporters write one for every weight that several layers share; it reads nothing.
    constexpr std::array<const PassInfo*, 1> kPasses = {&kEliminateIdentity};
    run_passes(*model, kPasses, {});
    ONNXTOOL_TRY(infer_graph(model->graph()));
    fold_reshaped_weights(model->graph());
  }
  after(*model, p);
  return p;
}

}  // namespace onnxtool
