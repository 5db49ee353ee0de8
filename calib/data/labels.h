// Class labels given in a file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

/// What `--labels` names: either a label per name, or a label per sample in their order.
struct LabelFile {
  std::string path;
  bool in_order = false;
  std::map<std::string, int, std::less<>> by_name;
  std::vector<int> by_index;

  /// The label of a sample: in order by its index, else by its id, its file name, the file name
  /// without extension, or its directory (its class), whichever is in the file first.
  std::optional<int> find(int64_t index, const std::string& id) const;
};

/// Lines `NAME LABEL` (spaces, a tab or a comma between; NAME may hold spaces) or lines `LABEL`;
/// empty lines are skipped. Or a .npy of integers. Labels are 0 or more. Errors name the line.
Result<LabelFile> read_labels(const std::string& path);

}  // namespace onnxtool
