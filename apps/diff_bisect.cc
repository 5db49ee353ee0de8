#include "apps/diff_bisect.h"

#include <fmt/format.h>

#include "apps/isolated_files.h"

namespace onnxtool {
Status write_first_divergence(const IsolatedLayer& layer, const std::string& path, bool replace,
                              Section& section) {
  ONNXTOOL_ASSIGN(AtomicDirectory directory, AtomicDirectory::create(path, replace));
  ONNXTOOL_TRY(write_isolated_model(*layer.model, directory, "model.onnx", "--bisect"));
  ONNXTOOL_TRY(write_isolated_data(directory, layer.sample, layer.inputs, {layer.expected}));
  ONNXTOOL_TRY(directory.commit());
  section.fields.push_back(
      {"bisect", "first divergence alone",
       fmt::format("{} ({} nodes; sample '{}', {})", path, layer.model->graph().num_nodes(),
                   layer.sample, format_with_unit(layer.sqnr_db, "dB")),
       "", Audience::kPeople});
  section.fields.push_back({"bisect_path", "", path, "", Audience::kPrograms});
  section.fields.push_back({"bisect_sample", "", layer.sample, "", Audience::kPrograms});
  section.fields.push_back({"bisect_db", "", layer.sqnr_db, "", Audience::kPrograms});
  return {};
}

}  // namespace onnxtool
