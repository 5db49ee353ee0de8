#include "libopt/io/load.h"

#include "libopt/io/decode.h"

namespace onnxtool {

Result<std::unique_ptr<Model>> load_model(const std::string& path) {
  ONNXTOOL_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  DecodeSource source{file->bytes(), file, nullptr};
  if (path != "-") {
    ONNXTOOL_ASSIGN(source.data_directory, DataDirectory::of_model(path));
  }
  if (file->bytes().empty()) return Error{ErrorCode::kBadModel, path + ": the file is empty", {}};
  auto model = decode_model(source);
  if (!model.ok()) return std::move(model).error().at(path);
  return model;
}

}  // namespace onnxtool
