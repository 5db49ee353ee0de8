// Figures as data for the scripts of the html form.
#pragma once

#include <string>

#include "apps/report/report.h"

namespace onnxtool {

/// A JSON list of all figures of the report that `options` leave, in the order of sections. Safe
/// inside of a script element.
std::string figures_json(const Report& report, const RenderOptions& options);

}  // namespace onnxtool
