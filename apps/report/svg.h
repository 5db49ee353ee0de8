// Figures as pictures of their own, for documents: SVG that loads nothing and runs nothing.
#pragma once

#include <string>

#include "apps/report/figure.h"

namespace onnxtool {

std::string svg_of(const Treemap& map);
std::string svg_of(const Curve& curve);

}  // namespace onnxtool
