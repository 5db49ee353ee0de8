// The findings as workflow commands, which GitHub shows as annotations of a run.
// Source: docs.github.com, "Workflow commands for GitHub Actions", setting messages.
#include "apps/report/report.h"

namespace onnxtool {
namespace {

// `%` and line ends always; `:` and `,` too inside of properties.
std::string escape(const std::string& text, bool property) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '%')
      out += "%25";
    else if (property && c == ':')
      out += "%3A";
    else if (property && c == ',')
      out += "%2C";
    else
      out += c;
  }
  return out;
}

}  // namespace

std::string render_github(const Report& report, const RenderOptions&) {
  std::string out;
  for (const Finding& f : report.findings) {
    const std::string command = f.severity == "error"     ? "error"
                                : f.severity == "warning" ? "warning"
                                                          : "notice";
    const std::string file = file_of(f, report);
    out += "::" + command + " title=" + escape(f.code, true);
    if (!file.empty()) out += ",file=" + escape(file, true);
    out += "::" + escape((f.place.empty() ? "" : f.place + ": ") + f.message, false) + "\n";
  }
  return out;
}

}  // namespace onnxtool
