#include "libopt/ir/model.h"

namespace onnxtool {

int Model::opset(std::string_view domain) const {
  if (domain == "ai.onnx") domain = "";
  for (const OpsetImport& o : opsets)
    if (o.domain == domain || (domain.empty() && o.domain == "ai.onnx"))
      return static_cast<int>(o.version);
  return 0;
}

void Model::set_opset(std::string_view domain, int64_t version) {
  for (OpsetImport& o : opsets)
    if (o.domain == domain || (domain.empty() && o.domain == "ai.onnx")) {
      o.version = version;
      return;
    }
  opsets.push_back({std::string(domain), version});
}

}  // namespace onnxtool
