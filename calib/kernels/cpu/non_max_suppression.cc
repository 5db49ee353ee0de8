// NonMaxSuppression-10, 11: per sample and class, boxes in order of their scores (equal ones in
// order of their index), leaving out those that overlap a chosen one by more than iou_threshold.
// Output: rows of (sample, class, box). NaN scores rank below all others.

#include <cmath>
#include <numeric>

#include "calib/kernels/cpu/common.h"

namespace onnxtool {
namespace {

enum Input : int { kBoxes, kScores, kMaxBoxes, kIouThreshold, kScoreThreshold };

struct Box {
  float x1, y1, x2, y2;
  float area() const { return (x2 - x1) * (y2 - y1); }
};

// (y1, x1, y2, x2), any two opposite corners; or (x centre, y centre, width, height).
Box read_box(const float* b, bool centred) {
  if (centred) return {b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2};
  return {std::min(b[1], b[3]), std::min(b[0], b[2]), std::max(b[1], b[3]), std::max(b[0], b[2])};
}

bool overlaps(const Box& a, const Box& b, float threshold) {
  const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (!(width > 0) || !(height > 0)) return false;
  const float common = width * height, area_a = a.area(), area_b = b.area();
  const float together = area_a + area_b - common;
  if (area_a <= 0 || area_b <= 0 || together <= 0) return false;
  return common / together > threshold;
}

struct Problem {
  int64_t boxes = 0, classes = 0;
  int64_t most = 0;
  float iou = 0;
  std::optional<float> lowest;
};

Result<float> threshold(const KernelContext& ctx, int i, std::string_view what) {
  const ConstView& view = ctx.input(i);
  if (view.dtype != DataType::kFloat || view.count != 1)
    return mismatch(std::string(what) + " is " + std::string(name(view.dtype)) + " of shape " +
                    format_dims(view.dims) + ", expected one float");
  return *static_cast<const float*>(view.data);
}

Result<Problem> read_problem(const KernelContext& ctx) {
  const std::span<const int64_t> boxes = ctx.input(kBoxes).dims, scores = ctx.input(kScores).dims;
  const bool fits = boxes.size() == 3 && scores.size() == 3 && boxes[2] == 4 &&
                    boxes[0] == scores[0] && boxes[1] == scores[2] &&
                    ctx.input(kBoxes).dtype == DataType::kFloat &&
                    ctx.input(kScores).dtype == DataType::kFloat;
  if (!fits)
    return mismatch("boxes and scores have shapes " + format_dims(boxes) + " and " +
                    format_dims(scores) + ", expected [N, boxes, 4] and [N, classes, boxes]");
  Problem p;
  p.boxes = boxes[1];
  p.classes = scores[1];
  if (ctx.has_input(kMaxBoxes)) {
    ONNXTOOL_ASSIGN(p.most, integer_scalar(ctx.input(kMaxBoxes), "max_output_boxes_per_class"));
  }
  if (ctx.has_input(kIouThreshold)) {
    ONNXTOOL_ASSIGN(p.iou, threshold(ctx, kIouThreshold, "iou_threshold"));
  }
  if (ctx.has_input(kScoreThreshold)) {
    ONNXTOOL_ASSIGN(p.lowest, threshold(ctx, kScoreThreshold, "score_threshold"));
  }
  return p;
}

// Indices of the chosen boxes of one class.
Dims choose(const Problem& p, const float* boxes, const float* scores, bool centred) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < p.boxes; ++i)
    if (!p.lowest || scores[i] > *p.lowest) order.push_back(i);
  const auto rank = [&](int64_t i) {
    return std::isnan(scores[i]) ? -std::numeric_limits<float>::infinity() : scores[i];
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return rank(a) > rank(b); });
  std::vector<Box> kept;
  Dims chosen;
  for (const int64_t i : order) {
    if (static_cast<int64_t>(chosen.size()) >= p.most) break;
    const Box box = read_box(boxes + 4 * i, centred);
    const bool hidden = std::any_of(kept.begin(), kept.end(),
                                    [&](const Box& other) { return overlaps(box, other, p.iou); });
    if (hidden) continue;
    kept.push_back(box);
    chosen.push_back(i);
  }
  return chosen;
}

Status run(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const Problem p, read_problem(ctx));
  const bool centred = ctx.node().attr_int("center_point_box", 0) != 0;
  const ConstView &boxes = ctx.input(kBoxes), &scores = ctx.input(kScores);
  const int64_t lines = scores.count == 0 ? 0 : scores.count / p.boxes;
  std::vector<Dims> chosen(static_cast<size_t>(lines));
  ctx.parallel(lines, grain_of(16 * p.boxes), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      chosen[static_cast<size_t>(i)] =
          choose(p, static_cast<const float*>(boxes.data) + i / p.classes * p.boxes * 4,
                 static_cast<const float*>(scores.data) + i * p.boxes, centred);
  });
  const size_t rows = std::accumulate(chosen.begin(), chosen.end(), size_t{0},
                                      [](size_t n, const Dims& c) { return n + c.size(); });
  ONNXTOOL_ASSIGN(const MutableView out,
                  ctx.output(0, DataType::kInt64, Dims{static_cast<int64_t>(rows), 3}));
  auto* to = static_cast<int64_t*>(out.data);
  for (int64_t i = 0; i < lines; ++i)
    for (const int64_t box : chosen[static_cast<size_t>(i)]) {
      *to++ = i / p.classes;
      *to++ = i % p.classes;
      *to++ = box;
    }
  return {};
}

}  // namespace

constinit const KernelInfo kNonMaxSuppression{
    .op = "NonMaxSuppression", .types = {DataType::kFloat}, .prepare = needs_inputs<2>, .run = run};

}  // namespace onnxtool
