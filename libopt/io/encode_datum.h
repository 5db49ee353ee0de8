// Values as files of test data hold them: TensorProto, SequenceProto, MapProto and OptionalProto.
#pragma once

#include <string>

#include "libopt/io/wire.h"
#include "libopt/ir/datum.h"
#include "libopt/ir/types.h"

namespace onnxtool {

/// What decode_datum() reads for a value of `type`, whose kind tells an optional from what it
/// holds. The value must be of that kind, or `type` unknown.
wire::Rope encode_datum(const std::string& name, const Datum& value, const ValueType& type);

}  // namespace onnxtool
