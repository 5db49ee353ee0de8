// SequenceProto, MapProto and OptionalProto, as files of test data hold them.
#pragma once

#include "libopt/io/decode.h"
#include "libopt/ir/datum.h"

namespace onnxtool {

/// Decodes the message that `type` calls for; a TensorProto where it is unknown.
Result<Datum> decode_datum(const DecodeSource& source, const ValueType& type);

}  // namespace onnxtool
