// Models as files are, given to check.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "libopt/analysis/seam.h"
#include "libopt/check/check.h"
#include "libopt/io/encode.h"

namespace onnxtool::testing {

inline CheckResult check_bytes(std::string file, const CheckOptions& options = {}) {
  struct Bytes final : Storage {
    std::string text;
  };
  auto bytes = std::make_shared<Bytes>();
  bytes->text = std::move(file);
  return check_model({std::as_bytes(std::span(bytes->text)), bytes, nullptr}, options);
}

/// The bytes of a model that is given as text; fails the test where it is none.
inline std::string encoded_text(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  return encode_model(**model).flatten();
}

}  // namespace onnxtool::testing
