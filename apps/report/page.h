// Style and script of html reports: the files in apps/report/page, written into the program.
#pragma once

#include <string_view>

namespace onnxtool {

/// All of page/*.css.
extern const std::string_view kPageStyle;
/// All of page/*.js, in the order of their names.
extern const std::string_view kPageScript;

}  // namespace onnxtool
