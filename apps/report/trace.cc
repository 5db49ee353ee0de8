#include "apps/report/trace.h"

#include <nlohmann/json.hpp>

namespace onnxtool {

std::string render_trace(const std::vector<TraceProcess>& processes,
                         const std::vector<TraceEvent>& events) {
  using Json = nlohmann::ordered_json;
  const auto dump = [](const Json& j) {
    return j.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  // An event a line, rendered one by one: a tree of a million of them would take a gigabyte.
  std::string out = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [";
  const char* separator = "\n";
  for (const TraceProcess& p : processes) {
    out += separator + dump({{"name", "process_name"},
                             {"ph", "M"},
                             {"pid", p.id},
                             {"tid", 1},
                             {"args", {{"name", p.name}}}});
    separator = ",\n";
  }
  for (const TraceEvent& e : events) {
    // Microseconds, as the format wants.
    out += separator + dump({{"name", e.name},
                             {"cat", e.category},
                             {"ph", "X"},
                             {"pid", e.process},
                             {"tid", e.thread},
                             {"ts", static_cast<double>(e.start_ns) / 1e3},
                             {"dur", static_cast<double>(e.duration_ns) / 1e3},
                             {"args", {{"node", e.detail}}}});
    separator = ",\n";
  }
  return out + "\n]}\n";
}

}  // namespace onnxtool
