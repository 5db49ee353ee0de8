// Models that are only looked at: their external data need not be there.
#pragma once

#include <memory>
#include <string>

#include "libopt/io/decode.h"

namespace onnxtool {

/// What becomes of external data. A tensor without its data is an unread one (ir/unread.h).
enum class ExternalData : uint8_t {
  kRequired,    // a file that is not there is an error
  kWhereThere,  // what lies in such a file is unread
  kUnread,      // no file is opened
  kNone,        // of a tensor by itself: an error
};

/// As load_model() and decode_model(). With unread tensors a model cannot be run or saved.
Result<std::unique_ptr<Model>> look_at_model(const std::string& path, ExternalData external);
Result<std::unique_ptr<Model>> decode_model(const DecodeSource& source, ExternalData external);

}  // namespace onnxtool
