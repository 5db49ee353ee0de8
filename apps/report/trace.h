// Timelines in the form that Chrome's tracing page and Perfetto read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace onnxtool {

struct TraceEvent {
  std::string name, category;  // of the bar: operator; kernel set
  std::string detail;          // shown when it is chosen
  int process = 1, thread = 1;
  int64_t start_ns = 0, duration_ns = 0;
};

struct TraceProcess {
  int id = 1;
  std::string name;
};

/// JSON object form, complete events.
std::string render_trace(const std::vector<TraceProcess>& processes,
                         const std::vector<TraceEvent>& events);

}  // namespace onnxtool
