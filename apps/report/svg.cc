#include "apps/report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>

#include "apps/report/report.h"

namespace onnxtool {
namespace {

constexpr double kWidth = 1000, kMapHeight = 420, kLabel = 15, kLeastSide = 3;

struct Frame {
  double x, y, w, h;
};

// Sizes by the parts of their paths.
struct Tree {
  std::string label;
  double size = 0;
  std::map<std::string, Tree> children;
};

Tree tree_of(const Treemap& map) {
  Tree root{"all", 0, {}};
  for (const Treemap::Leaf& leaf : map.leaves) {
    Tree* at = &root;
    at->size += static_cast<double>(leaf.size);
    for (const std::string& part : path_parts(leaf.path)) {
      Tree& next = at->children[part];
      next.label = part;
      next.size += static_cast<double>(leaf.size);
      at = &next;
    }
  }
  return root;
}

// Squarified, after Bruls, Huizing and van Wijk: rows along the shorter side, each as long as boxes
// get closer to squares.
std::vector<std::pair<const Tree*, Frame>> squarified(const Tree& tree, Frame frame) {
  std::vector<const Tree*> rest;
  double left = 0;
  for (const auto& [name, child] : tree.children)
    if (child.size > 0) {
      rest.push_back(&child);
      left += child.size;
    }
  std::ranges::stable_sort(rest, [](const Tree* a, const Tree* b) { return a->size > b->size; });
  std::vector<std::pair<const Tree*, Frame>> out;
  for (size_t from = 0; from < rest.size();) {
    const double side = std::min(frame.w, frame.h), scale = frame.w * frame.h / left;
    double sum = 0, worst = INFINITY;
    size_t to = from;
    for (; to < rest.size(); ++to) {
      const double thick = (sum + rest[to]->size) * scale / side;
      const double bad = std::max(thick * thick / (rest[to]->size * scale),
                                  rest[from]->size * scale / (thick * thick));
      if (bad > worst) break;
      worst = bad;
      sum += rest[to]->size;
    }
    const double thick = sum * scale / side;
    const bool upright = frame.w >= frame.h;
    double along = 0;
    for (; from < to; ++from) {
      const double length = side * rest[from]->size / sum;
      out.emplace_back(rest[from], upright ? Frame{frame.x, frame.y + along, thick, length}
                                           : Frame{frame.x + along, frame.y, length, thick});
      along += length;
    }
    (upright ? frame.x : frame.y) += thick;
    (upright ? frame.w : frame.h) -= thick;
    left -= sum;
  }
  return out;
}

// The same colour for the same name, as in the page.
unsigned hue_of(const std::string& label) {
  uint32_t hash = 2166136261;
  for (const char c : label) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
  return hash % 360;
}

std::string opening(double height) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"11\">\n",
      kWidth, height);
}

// `path`: of what the box holds, from the outermost box.
void draw(std::string& out, const Tree& tree, const Frame& f, int depth, const std::string& path,
          const std::string& unit) {
  const bool leaf = tree.children.empty();
  const std::string fill = leaf ? fmt::format("hsl({},48%,76%)", hue_of(tree.label))
                                : fmt::format("hsl(215,22%,{}%)", std::max(70, 92 - 6 * depth));
  out += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\" "
      "stroke=\"#fff\"><title>{}</title></rect>\n",
      f.x, f.y, f.w, f.h, fill,
      escape_markup((depth ? path : tree.label) + ": " +
                    format_with_unit(static_cast<int64_t>(tree.size), unit)));
  if (f.w > 46 && f.h > kLabel) {
    const auto room = static_cast<size_t>(f.w / 7);
    std::string label = printable(tree.label);
    if (label.size() > room) label = label.substr(0, room > 2 ? room - 2 : 0) + "..";
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", f.x + 4, f.y + 12,
                       escape_markup(label));
  }
  if (leaf || f.w < 4 * kLeastSide || f.h < kLabel + 2 * kLeastSide) return;
  for (const auto& [child, part] :
       squarified(tree, {f.x + 2, f.y + kLabel, f.w - 4, f.h - kLabel - 2}))
    if (part.w >= kLeastSide && part.h >= kLeastSide)
      draw(out, *child, part, depth + 1, depth ? path + "/" + child->label : child->label, unit);
}

}  // namespace

std::string svg_of(const Treemap& map) {
  std::string out = opening(kMapHeight);
  draw(out, tree_of(map), {0, 0, kWidth, kMapHeight}, 0, {}, map.unit);
  return out + "</svg>\n";
}

std::string svg_of(const Curve& curve) {
  constexpr double kHeight = 190, kLeft = 110, kRight = 8, kTop = 12, kBottom = 8;
  constexpr const char* kColours[] = {"#1565c0", "#c4540a", "#2e7d32", "#7b1fa2"};
  double low = 0, high = 0;
  for (const Curve::Series& s : curve.series)
    for (const double v : s.values)
      if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  if (high == low) high = low + 1;
  const auto count = static_cast<double>(curve.places.size());
  const auto x = [&](size_t i) {
    const double part = count > 1 ? static_cast<double>(i) / (count - 1) : 0.5;
    return kLeft + (kWidth - kLeft - kRight) * part;
  };
  const auto y = [&](double v) {
    return kTop + (kHeight - kTop - kBottom) * (1 - (v - low) / (high - low));
  };
  std::string out = opening(kHeight);
  for (const double tick : {low, (low + high) / 2, high})
    out += fmt::format(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#e3e6ea\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
        kLeft, kWidth - kRight, y(tick), kLeft - 6, y(tick) + 4,
        escape_markup(format_with_unit(tick, curve.unit)));
  for (size_t s = 0; s < curve.series.size(); ++s) {
    std::string path;
    bool drawn = false;
    for (size_t i = 0; i < curve.series[s].values.size(); ++i) {
      const double v = curve.series[s].values[i];
      if (!std::isfinite(v)) {
        drawn = false;
        continue;
      }
      path +=
          fmt::format(fmt::runtime(drawn ? "L{:.1f} {:.1f}" : "M{:.1f} {:.1f}h0.1"), x(i), y(v));
      drawn = true;
    }
    out += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>\n", path,
                       kColours[s % std::size(kColours)]);
  }
  return out + "</svg>\n";
}

}  // namespace onnxtool
