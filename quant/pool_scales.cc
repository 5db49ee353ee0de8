#include "quant/pool_scales.h"

#include <optional>

#include "libopt/ir/code_type.h"
#include "libopt/target/pool_limits.h"

namespace onnxtool {
namespace {

// Pixels of one channel; nullopt where the shape leaves them open.
std::optional<int64_t> pixels_of(const Value& v) {
  if (!v.type().shape || v.type().shape->size() < 3) return std::nullopt;
  int64_t pixels = 1;
  for (size_t i = 2; i < v.type().shape->size(); ++i) {
    const auto extent = (*v.type().shape)[i].value;
    if (!extent || *extent <= 0 || *extent >= kPoolPixelsEnd / pixels) return std::nullopt;
    pixels *= *extent;
  }
  return pixels;
}

class Bounder {
 public:
  Bounder(const Placement& placement, std::vector<TensorParams>& params)
      : placement_(placement), params_(params) {
    for (size_t i = 0; i < placement.tensors.size(); ++i) index_[placement.tensors[i].value] = i;
  }

  bool bound(const Node& pool) {
    // Runtimes move a DQ past what only moves elements, and a Q likewise.
    const Value* x = &pool.input(0);
    while (!index_.contains(x) && x->producer() && moves_elements(*x->producer()) &&
           x->producer()->has_input(0))
      x = &x->producer()->input(0);
    const auto at = index_.find(x);
    if (at == index_.end() || !is_8bit(params_[at->second].type)) return false;
    x_scale_ = params_[at->second].params.scale;
    pixels_ = pixels_of(pool.input(0));
    return bound_result(pool.output(0));
  }

 private:
  bool bound_result(const Value& result) {
    bool changed = false;
    std::vector<const Value*> open = {&result};
    while (!open.empty()) {
      const Value& y = *open.back();
      open.pop_back();
      if (const auto at = index_.find(&y); at != index_.end()) {
        changed |= bound_tensor(at->second);
        continue;
      }
      for (const Use& u : y.uses()) {
        if (u.index != 0 || (!moves_elements(*u.user) && !is_activation(*u.user))) continue;
        for (const Value* v : u.user->outputs())
          if (v) open.push_back(v);
      }
    }
    return changed;
  }

  bool bound_tensor(size_t index) {
    if (!is_8bit(params_[index].type)) return false;
    const float y_scale = params_[index].params.scale;
    // Some room, since the ratio is rounded; where extents are open, any must do.
    constexpr float kRoom = 0.99F;
    const float least =
        x_scale_ / (kRoom * kPoolRatioEnd * static_cast<float>(pixels_.value_or(1)));
    const float most =
        x_scale_ / static_cast<float>(pixels_.value_or(kPoolPixelsEnd)) * kRoom / kLeastPoolRatio;
    const float scale = y_scale < least ? least : y_scale > most ? most : y_scale;
    if (scale == y_scale) return false;
    const Value* owner = placement_.tensors[index].range_owner;
    for (size_t i = 0; i < params_.size(); ++i)
      if (placement_.tensors[i].range_owner == owner) params_[i].rescale(scale);
    return true;
  }

  const Placement& placement_;
  std::vector<TensorParams>& params_;
  std::unordered_map<const Value*, size_t> index_;
  float x_scale_ = 1;
  std::optional<int64_t> pixels_;
};

}  // namespace

std::vector<std::string> bound_pool_scales(const Graph& graph, const Placement& placement,
                                           std::vector<TensorParams>& params) {
  std::vector<std::string> notes;
  Bounder bounder(placement, params);
  for (const Node& n : graph.nodes())
    if (n.is("GlobalAveragePool") && n.has_input(0) && n.has_output(0) && bounder.bound(n))
      notes.push_back(n.describe() +
                      ": the scale of its result is at the limit of integer kernels, since its "
                      "averages are far from the size of its input");
  return notes;
}

}  // namespace onnxtool
