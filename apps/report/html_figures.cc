#include "apps/report/html_figures.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace onnxtool {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json facts_json(const Diagram::Facts& facts) {
  Json out = Json::array();
  for (const auto& [key, value] : facts) out.push_back({printable(key), printable(value)});
  return out;
}

Json to_json(const Histogram& h) {
  return {{"low", number(h.low)}, {"high", number(h.high)}, {"counts", h.counts}};
}

Json to_json(const Treemap& t) {
  Json leaves = Json::array();
  for (const Treemap::Leaf& l : t.leaves) leaves.push_back({printable(l.path), l.size});
  return {{"kind", "treemap"},
          {"title", printable(t.title)},
          {"unit", printable(t.unit)},
          {"leaves", std::move(leaves)}};
}

Json to_json(const Curve& c) {
  Json series = Json::array();
  for (const Curve::Series& s : c.series) {
    Json values = Json::array();
    for (const double v : s.values) values.push_back(number(v));
    series.push_back({{"label", printable(s.label)}, {"values", std::move(values)}});
  }
  Json places = Json::array();
  for (const std::string& p : c.places) places.push_back(printable(p));
  return {{"kind", "curve"},
          {"title", printable(c.title)},
          {"unit", printable(c.unit)},
          {"places", std::move(places)},
          {"series", std::move(series)}};
}

Json to_json(const Diagram& d) {
  Json nodes = Json::array(), values = Json::array();
  for (const Diagram::Node& n : d.nodes)
    nodes.push_back({{"label", printable(n.label)},
                     {"name", printable(n.name)},
                     {"group", printable(n.group)},
                     {"inputs", n.inputs},
                     {"outputs", n.outputs},
                     {"facts", facts_json(n.facts)}});
  for (const Diagram::Value& v : d.values) {
    values.push_back({{"name", printable(v.name)}, {"facts", facts_json(v.facts)}});
    if (v.histogram) values.back()["histogram"] = to_json(*v.histogram);
  }
  return {{"kind", "diagram"},
          {"title", printable(d.title)},
          {"nodes", std::move(nodes)},
          {"values", std::move(values)}};
}

}  // namespace

std::string figures_json(const Report& report, const RenderOptions& options) {
  Json all = Json::array();
  for (const Section& s : report.sections)
    if (!s.timing || !options.reproducible)
      for (const Figure& f : s.figures)
        all.push_back(std::visit([](const auto& figure) { return to_json(figure); }, f));
  // A name that holds "</script>" must not end the element.
  std::string out;
  for (const char c : all.dump()) out += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return out;
}

}  // namespace onnxtool
