#include "calib/exec/captures.h"

#include <unordered_set>

#include "libopt/ir/reads.h"

namespace onnxtool {

std::vector<const Value*> captured_values(const Graph& outer, const Graph& sub) {
  std::vector<const Value*> values;
  std::unordered_set<const Value*> seen;
  const auto add = [&](const Value& v) {
    if (seen.insert(&v).second) values.push_back(&v);
  };
  reads::for_each_outer_read(sub, outer, add);
  return values;
}

}  // namespace onnxtool
