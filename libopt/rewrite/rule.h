// What the driver knows of a pass, and what a pass may ask of the world.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/ir/selector.h"
#include "libopt/rewrite/match.h"
#include "libopt/rewrite/rewriter.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// kBasic writes the standard's operators, kExtended those of com.microsoft too, kAll what suits
/// files that the runtime loads as they are (.ort).
enum class Level : uint8_t { kBasic, kExtended, kAll };

/// kExact: the same bits. kRounding: real arithmetic is the same, floating-point rounding may move.
/// kStep: results that are integer codes may be another step. A verifier may find that too far for
/// a model: then the driver leaves the pass out.
enum class Exactness : uint8_t { kExact, kRounding, kStep };

/// Computes nodes whose inputs are all constant: the executor behind an interface, since libopt
/// runs nothing itself.
class Folder {
 public:
  virtual ~Folder() = default;
  /// The node's outputs (absent ones are empty tensors), by the `cpu` kernels with fixed order and
  /// no ISA dispatch. An error means "cannot be computed here", with the reason.
  virtual Result<std::vector<Tensor>> evaluate(const Node& node) = 0;
};

struct PassInfo;
struct PassContext;

/// Whether the standard's operators of `version` may stand beside the node. A match asks this last:
/// where all but the version fits and the model may be raised to it, the driver raises it once no
/// pass finds anything else, to the least version that all matches ask for, and begins anew.
bool has_opset(const Node& node, int version, const PassContext& context);

/// Growth that is worth a node less whatever the limit says: a shape of rank 4 takes 32 bytes and
/// its header, while a Shape node with short names takes as little as 20. Without it small models
/// would keep their shape arithmetic.
inline constexpr int64_t kNegligibleGrowth = 64;

/// What a run notes while passes run.
struct PassState {
  /// The pass that runs; the driver sets it.
  const PassInfo* running = nullptr;
  /// What of the growth that the context allows is used up (passes/growth.h counts).
  int64_t grown_bytes = 0;
  /// What of the growth that the context allows is not asked for, but was saved by other passes.
  int64_t savings_bytes = 0;
  /// Whether a fold was refused for it.
  bool refused_growth = false;
  /// The version that has_opset() was asked for since the last sweep began.
  int wanted_opset = 0;
  /// Why the driver could not raise the model to that; empty: it could, or need not.
  std::string opset_obstacle = {};
};

/// What a pass gets besides the node.
struct PassContext {
  Folder* folder = nullptr;
  /// Told of near misses when set: (pass, node, reason).
  std::function<void(const PassInfo&, const Node&, const char*)> on_near_miss;
  /// Bytes by which folding may make the file larger, over what it frees.
  int64_t max_growth_bytes = 0;
  /// Whether operators may be written that only onnxruntime's CPU provider has: com.microsoft's,
  /// and its LayerNormalization of opsets before the standard's.
  bool ort_cpu = false;
  /// Whether the user named the passes to run: then those write, too, what onnxruntime's CPU
  /// provider is slower with.
  bool asked_for = false;
  /// What has_opset() may raise the model's ai.onnx to; 0: it stays.
  int allowed_opset = 0;
  /// Whether nodes are told which of the original they were made of (analysis/provenance.h).
  bool provenance = false;
  /// Nodes that no pass may touch.
  const Selector* keep = nullptr;
  /// Told of each rewrite when set: the pass, and the node as it was called before.
  std::function<void(const PassInfo&, const std::string&)> on_rewrite;
  /// Told before each pass of a sweep when set: how many of them are done, of how many.
  std::function<void(int64_t, int64_t)> on_progress;
  /// After so many rewrites nothing more is done (the driver bisects by it); negative: no bound.
  int64_t max_rewrites = -1;
  /// Set while passes run. Given to the driver it goes on from there and leaves there what it
  /// noted; else the driver has one of its own.
  PassState* state = nullptr;
};

/// One pass. `run` is offered every node whose op is among `roots` (every node when roots is empty)
/// and returns whether it changed the graph. It may remove that node and nodes before it.
struct PassInfo {
  std::string_view name;     // kebab-case, as in --passes
  std::string_view summary;  // one line, for help and docs
  std::array<std::string_view, 24> roots =
      {};  // op types of ai.onnx, or "com.microsoft.Gelu"; empty strings end the list
  Level level = Level::kBasic;
  Exactness exactness = Exactness::kExact;
  bool (*run)(const Node&, Rewriter&, const PassContext&) = nullptr;
  /// Instead of `run`, for what needs sight of a whole graph (without its subgraphs, which are
  /// offered before it): asks before each rewrite, naming its object, and stops at a no.
  void (*run_graph)(Graph&, const PassContext&,
                    const std::function<bool(const std::string&)>& may_rewrite) = nullptr;
  /// Waits until all others find nothing: it hides from them what they go by.
  bool last = false;
};

/// Ties a match and a rewrite into PassInfo::run. A match takes the context too where file growth
/// decides.
template <auto match, auto rewrite>
bool run_rule(const Node& node, Rewriter& rewriter, const PassContext& context) {
  const auto found = [&] {
    if constexpr (std::is_invocable_v<decltype(match), const Node&, const PassContext&>)
      return match(node, context);
    else
      return match(node);
  }();
  if (!found) {
    if (found.reason() && context.on_near_miss)
      context.on_near_miss(*context.state->running, node, found.reason());
    return false;
  }
  rewrite(*found, rewriter);
  return true;
}

}  // namespace onnxtool
