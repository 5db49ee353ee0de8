#include "libopt/io/reread.h"

#include <span>
#include <string>

#include "libopt/io/decode.h"
#include "libopt/io/encode.h"

namespace onnxtool {

Result<std::unique_ptr<Model>> reread(const Model& model) {
  struct Bytes final : Storage {
    std::string text;
  };
  auto bytes = std::make_shared<Bytes>();
  bytes->text = encode_model(model).flatten();
  return decode_model({std::as_bytes(std::span(bytes->text)), bytes, nullptr});
}

}  // namespace onnxtool
