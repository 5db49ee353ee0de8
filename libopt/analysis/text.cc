// ONNX's text form, through onnx's parser and printer.

#include "libopt/analysis/seam.h"
#include "libopt/analysis/seam_internal.h"
#include "libopt/io/decode.h"
#include "libopt/io/encode.h"
#include "onnx/defs/parser.h"
#include "onnx/defs/printer.h"

namespace onnxtool {
namespace {

class StringStorage final : public Storage {
 public:
  explicit StringStorage(std::string s) : text(std::move(s)) {}
  std::string text;
};

}  // namespace

Result<std::unique_ptr<Model>> parse_text(const std::string& text) {
  onnx::ModelProto proto;
  std::string message;
  ONNXTOOL_TRY(seam::guarded("text", [&] {
    const auto status = onnx::OnnxParser::Parse(proto, text);
    if (!status.IsOK()) message = status.ErrorMessage();
  }));
  if (!message.empty()) return Error{ErrorCode::kBadModel, "text: " + seam::tidy(message), {}};
  const auto storage = std::make_shared<const StringStorage>(proto.SerializeAsString());
  return decode_model({std::as_bytes(std::span(storage->text)), storage, nullptr});
}

std::string print_text(const Model& model) {
  onnx::ModelProto proto;
  const bool parsed = proto.ParseFromString(encode_model(model).flatten());
  ONNXTOOL_CHECK(parsed);
  return onnx::ProtoToString(proto);
}

}  // namespace onnxtool
