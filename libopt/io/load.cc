#include "libopt/io/load.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "libopt/io/decode.h"
#include "libopt/io/look.h"
#include "libopt/ort/read.h"

namespace onnxtool {
namespace {

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What else people hand over under the name of a model, told by its first bytes.
struct Lookalike {
  size_t offset;
  std::string_view magic;
  std::string_view what, hint;
};
constexpr Lookalike kLookalikes[] = {
    {0, "version https://git-lfs", "a Git LFS pointer, not the file that it stands for",
     "fetch the file: git lfs pull"},
    {0, "PK\x03\x04", "a zip archive",
     "a PyTorch checkpoint must be exported to ONNX; an archive must be unpacked"},
    {0, "\x93NUMPY", "a NumPy array", "give the model's .onnx file; arrays go to --data"},
    {0, "\x89PNG\r\n", "a PNG image", "give the model's .onnx file; images go to --data"},
    {0, "\xff\xd8\xff", "a JPEG image", "give the model's .onnx file; images go to --data"},
    {0, "PK\x05\x06", "an empty zip archive", "give the model's .onnx file"},
    {0, "\x1f\x8b", "compressed by gzip", "unpack it first"},
    {0, "\x89HDF\r\n", "HDF5 (a Keras model?)", "export the model to ONNX"},
    {4, "TFL3", "a TensorFlow Lite model", "export the model to ONNX"},
    {0, "<?xml", "XML (OpenVINO?)", "use the .onnx file that it was made from"},
    {0, "<!DOCTYPE", "a web page", "download the file itself"},
    {0, "<html", "a web page", "download the file itself"},
    {0,
     "\x7f"
     "ELF",
     "a program", "give the model's .onnx file"},
};

}  // namespace

std::optional<Error> recognize_other_format(std::span<const std::byte> content) {
  const std::string_view bytes = text_of(content);
  if (bytes.empty())
    return Error{ErrorCode::kBadModel, "the file is empty, expected an ONNX model",
                 "was it written or downloaded completely?"};
  for (const Lookalike& l : kLookalikes)
    if (bytes.size() > l.offset && bytes.substr(l.offset).starts_with(l.magic))
      return Error{ErrorCode::kBadModel, "is " + std::string(l.what) + ", expected an ONNX model",
                   std::string(l.hint)};
  // A model has a zero byte or a control character early on: field numbers and lengths.
  const std::string_view head = bytes.substr(0, 256);
  const auto is_text = [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\r' || c == '\t';
  };
  if (std::all_of(head.begin(), head.end(), is_text))
    return Error{ErrorCode::kBadModel, "is text, expected an ONNX model",
                 "give the model's .onnx file"};
  return std::nullopt;
}

Result<std::unique_ptr<Model>> load_model(const std::string& path) {
  return look_at_model(path, ExternalData::kRequired);
}

Result<std::unique_ptr<Model>> look_at_model(const std::string& path, ExternalData external) {
  if (path == "-" && ::isatty(STDIN_FILENO))
    return Error{ErrorCode::kUsage, "refusing to read a model from a terminal",
                 "redirect stdin, or name a file"};
  ONNXTOOL_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  const std::string shown = path == "-" ? "stdin" : path;
  DecodeSource source{file->bytes(), file, nullptr};
  if (path != "-") {
    ONNXTOOL_ASSIGN(source.data_directory, DataDirectory::of_model(path));
  }
  if (file->bytes().empty()) return std::move(*recognize_other_format({})).at(shown);
  if (is_ort(file->bytes())) {
    auto model = read_ort(file->bytes(), file);
    if (!model.ok()) return std::move(model).error().at(shown);
    return model;
  }
  auto model = decode_model(source, external);
  if (!model.ok()) {
    if (auto other = recognize_other_format(file->bytes())) return std::move(*other).at(shown);
    return std::move(model).error().at(shown);
  }
  return model;
}

}  // namespace onnxtool
