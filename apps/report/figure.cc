#include "apps/report/figure.h"

#include <algorithm>

namespace onnxtool {

std::vector<std::string> path_parts(const std::string& path) {
  constexpr size_t kMaxDepth = 32;
  std::vector<std::string> out;
  for (size_t at = 0; at < path.size();) {
    const size_t end =
        out.size() + 1 < kMaxDepth ? std::min(path.find('/', at), path.size()) : path.size();
    if (end > at) out.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

}  // namespace onnxtool
