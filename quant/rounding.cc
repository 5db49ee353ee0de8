#include "quant/rounding.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "libopt/rewrite/rewriter.h"
#include "quant/adaround.h"
#include "quant/input_moments.h"
#include "quant/pair_limit.h"

namespace onnxtool {
namespace {

// Of the moments that are held at a time; with each part the samples run once more.
constexpr int64_t kPartBytes = int64_t{512} << 20;
// Multiplications of the search, of a layer and of all together; with fewer steps than the least it
// finds nothing.
constexpr double kLayerMacs = 1e11, kModelMacs = 2e12;
constexpr double kMinSteps = 30, kMaxSteps = 600;
// Deeper layers would take gigabytes and hours.
constexpr int64_t kMaxDepth = 8192;

// How a weight's elements form matrices: one for each group, rows being output channels.
struct WeightLayout {
  int64_t groups = 1, rows = 0, depth = 0;  // rows: of one group
  bool across = false;                      // stored [depth, rows]
  size_t at(int64_t group, int64_t row, int64_t k) const {
    return static_cast<size_t>(across ? k * rows + row : (group * rows + row) * depth + k);
  }
};

std::optional<WeightLayout> layout_of(const Node& layer, const Tensor& w) {
  WeightLayout l;
  if (w.count() == 0) return {};
  if (layer.is("Conv") && w.rank() >= 3) {
    l.groups = layer.attr<int64_t>("group", 1);
    if (l.groups < 1 || w.dims()[0] % l.groups) return {};
    l.rows = w.dims()[0] / l.groups;
    l.depth = w.count() / w.dims()[0];
  } else if ((layer.is("Gemm") || layer.is("MatMul")) && w.rank() == 2) {
    l.across = !layer.attr<int64_t>("transB", 0);
    l.rows = w.dims()[l.across ? 1 : 0];
    l.depth = w.dims()[l.across ? 0 : 1];
  } else {
    return {};
  }
  return l.depth <= kMaxDepth ? std::optional(l) : std::nullopt;
}

// The DequantizeLinear of a layer's weights, whose integers nobody else reads.
Node* weights_of(const Graph& graph, const std::string& result) {
  const Value* v = graph.find(result);
  const Node* layer = v ? v->producer() : nullptr;
  Node* dq = layer && layer->num_inputs() > 1 && layer->has_input(1)
                 ? const_cast<Node*>(layer->input(1).producer())
                 : nullptr;
  if (!dq || !dq->is("DequantizeLinear") || dq->num_inputs() < 3 || !dq->has_input(2)) return {};
  for (int i = 0; i < 3; ++i)
    if (!dq->input(i).constant()) return nullptr;
  const DataType type = dq->input(0).constant()->dtype();
  const bool bytes = type == DataType::kInt8 || type == DataType::kUint8;
  return bytes && dq->input(0).has_one_use() ? dq : nullptr;
}

struct Job {
  std::string result;
  const Node* layer;  // of the reference
  const Node* dq;     // of the quantized model
  WeightLayout layout;
  Tensor weights;                 // float
  std::vector<int64_t> partners;  // of a row's weights, as Rounding has them
};

// A row's weights lie as [channels, taps].
std::vector<int64_t> partners_of(PairOrder order) {
  order.outer = order.inner = 1;
  std::vector<int64_t> partners(static_cast<size_t>(order.depth()), -1);
  for_each_pair(order, [&](size_t a, size_t b) {
    partners[a] = static_cast<int64_t>(b);
    partners[b] = static_cast<int64_t>(a);
  });
  return partners;
}

std::vector<Job> jobs_of(const Placement& placement, const Graph& quantized, bool adds_pairs) {
  std::vector<Job> jobs;
  for (const IntegerNode& n : placement.nodes) {
    if (n.handler->role != Role::kCore || n.handler->weight_input != 1 || !n.node->has_input(1))
      continue;
    const Tensor* w = n.node->input(1).constant();
    if (!w || w->dtype() != DataType::kFloat) continue;
    const std::string& result = n.node->output(0).name();
    const Node* dq = weights_of(quantized, result);
    const auto layout = layout_of(*n.node, *w);
    if (!dq || !layout || dq->input(0).constant()->dims() != w->dims()) continue;
    std::vector<int64_t> partners;
    if (adds_pairs && dq->input(0).constant()->dtype() == DataType::kInt8)
      if (const auto order = pair_order(*n.node, w->dims())) partners = partners_of(*order);
    jobs.push_back({result, n.node, dq, *layout, *w, std::move(partners)});
  }
  return jobs;
}

class Rounder {
 public:
  /// macs: what the search may take.
  Rounder(const Job& job, const InputMoments& moments, double macs)
      : job_(job), moments_(moments), macs_(macs), floats_(job.weights.values<float>()) {
    const Tensor& q = *job.dq->input(0).constant();
    out_.scales = job.dq->input(1).constant()->values<float>();
    out_.codes.assign(q.bytes().begin(), q.bytes().end());
    zero_points_ = job.dq->input(2).constant()->to_ints();
    is_signed_ = q.dtype() == DataType::kInt8;
    // A range that was narrowed on purpose stays so.
    for (size_t i = 0; i < out_.codes.size(); ++i) {
      lowest_ = std::min(lowest_, code(i));
      highest_ = std::max(highest_, code(i));
    }
  }

  RoundedWeights run() {
    RoundingNoise all;
    if (lowest_ == highest_) return std::move(out_);
    const size_t square = static_cast<size_t>(job_.layout.depth * job_.layout.depth);
    for (int64_t g = 0; g < job_.layout.groups; ++g) {
      Rounding r = group(g);
      const auto first = moments_.sums.begin() + static_cast<ptrdiff_t>(square) * g;
      const RoundingNoise noise =
          round_adaptively(r, {first, first + static_cast<ptrdiff_t>(square)});
      all.signal += noise.signal;
      all.nearest += noise.nearest;
      all.chosen += noise.chosen;
      store(g, r);
    }
    out_.nearest_db = 10 * std::log10(all.signal / all.nearest);
    out_.chosen_db = 10 * std::log10(all.signal / all.chosen);
    return std::move(out_);
  }

 private:
  int code(size_t i) const {
    const auto byte = static_cast<uint8_t>(out_.codes[i]);
    return is_signed_ ? static_cast<int8_t>(byte) : byte;
  }
  size_t channel(int64_t g, int64_t row) const {
    return out_.scales.size() == 1 ? 0 : static_cast<size_t>(g * job_.layout.rows + row);
  }

  Rounding group(int64_t g) const {
    const WeightLayout& l = job_.layout;
    Rounding r;
    r.rows = l.rows;
    r.depth = l.depth;
    r.lowest = lowest_;
    r.highest = highest_;
    r.partners = job_.partners;
    const auto depth = static_cast<double>(l.depth);
    const double steps = macs_ / (static_cast<double>(l.groups * l.rows) * depth * depth);
    r.steps = steps < kMinSteps ? 0 : static_cast<int64_t>(std::min(steps, kMaxSteps));
    for (int64_t row = 0; row < l.rows; ++row) {
      r.scales.push_back(out_.scales[channel(g, row)]);
      r.zero_points.push_back(static_cast<int>(zero_points_[channel(g, row)]));
      for (int64_t k = 0; k < l.depth; ++k) {
        r.weights.push_back(floats_[l.at(g, row, k)]);
        r.codes.push_back(code(l.at(g, row, k)));
      }
    }
    return r;
  }

  void store(int64_t g, const Rounding& r) {
    size_t i = 0;
    for (int64_t row = 0; row < r.rows; ++row)
      for (int64_t k = 0; k < r.depth; ++k)
        out_.codes[job_.layout.at(g, row, k)] =
            static_cast<std::byte>(static_cast<uint8_t>(r.codes[i++]));
  }

  const Job& job_;
  const InputMoments& moments_;
  double macs_;
  std::vector<float> floats_;
  std::vector<int64_t> zero_points_;
  bool is_signed_ = true;
  int lowest_ = 0, highest_ = 0;
  RoundedWeights out_;
};

}  // namespace

Result<RoundedLayers> round_layers(const Placement& placement, const Graph& reference,
                                   const Graph& quantized, const SampleSource& source,
                                   const RunOptions& run, bool adds_pairs) {
  const std::vector<Job> jobs = jobs_of(placement, quantized, adds_pairs);
  RoundedLayers out;
  const double macs = std::min(kLayerMacs, kModelMacs / static_cast<double>(jobs.size() + 1));
  for (size_t first = 0; first < jobs.size();) {
    std::vector<LayerInput> inputs;
    int64_t bytes = 0;
    for (size_t i = first; i < jobs.size() && bytes < kPartBytes; ++i) {
      const WeightLayout& l = jobs[i].layout;
      inputs.push_back({&jobs[i].layer->input(0), jobs[i].layer, l.depth, l.groups});
      bytes += l.groups * l.depth * l.depth * int64_t{sizeof(float)};
    }
    ONNXTOOL_ASSIGN(const auto moments, collect_moments(reference, inputs, source, run));
    for (size_t i = 0; i < moments.size(); ++i) {
      const Job& job = jobs[first + i];
      out[job.result] = Rounder(job, moments[i], macs).run();
    }
    first += moments.size();
  }
  return out;
}

void apply_roundings(Model& quantized, const RoundedLayers& layers) {
  for (const auto& [result, rounded] : layers) {
    const Node* dq = weights_of(quantized.graph(), result);
    if (!dq || dq->input(1).constant()->values<float>() != rounded.scales) continue;
    const Tensor& old = *dq->input(0).constant();
    if (old.size_bytes() != rounded.codes.size()) continue;
    Rewriter(quantized.graph())
        .set_constant(dq->input(0), Tensor::from_bytes(old.dtype(), old.dims(), rounded.codes));
  }
}

}  // namespace onnxtool
