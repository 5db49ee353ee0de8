#include "apps/diff_bisect.h"

#include <fmt/format.h>

#include "calib/data/write.h"
#include "libopt/io/encode.h"

namespace onnxtool {
namespace {

// Protobuf's own bound.
constexpr size_t kMostBytes = (size_t{1} << 31) - 1;

Status write_model(const Model& model, const AtomicDirectory& directory) {
  const std::string bytes = encode_model(model).flatten();
  if (bytes.size() > kMostBytes)
    return Error{ErrorCode::kLimit, "--bisect: the layer's constants take more than 2 GB", {}};
  return directory.write("model.onnx", std::as_bytes(std::span(bytes)));
}

}  // namespace

Status write_first_divergence(const IsolatedLayer& layer, const std::string& path, bool replace,
                              Section& section) {
  ONNXTOOL_ASSIGN(AtomicDirectory directory, AtomicDirectory::create(path, replace));
  ONNXTOOL_TRY(write_model(*layer.model, directory));
  const SampleWriter writer(directory, TensorFileFormat::kPb, {layer.expected.name}, 1);
  ONNXTOOL_TRY(writer.write(0, layer.sample, layer.inputs, {layer.expected.tensor}));
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
