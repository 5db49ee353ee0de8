#include "apps/isolated_files.h"

#include "calib/data/write.h"
#include "libopt/io/encode.h"

namespace onnxtool {
namespace {

// Protobuf's own bound.
constexpr size_t kMostBytes = (size_t{1} << 31) - 1;

}  // namespace

Status write_isolated_model(const Model& model, const AtomicDirectory& directory,
                            const std::string& name, const std::string& flag) {
  const std::string bytes = encode_model(model).flatten();
  if (bytes.size() > kMostBytes)
    return Error{ErrorCode::kLimit, flag + ": the part's constants take more than 2 GB", {}};
  return directory.write(name, std::as_bytes(std::span(bytes)));
}

Status write_isolated_data(const AtomicDirectory& directory, const std::string& sample,
                           const std::vector<NamedTensor>& inputs,
                           const std::vector<NamedTensor>& expected) {
  std::vector<NamedType> outputs;
  std::vector<Datum> values;
  for (const NamedTensor& t : expected) {
    outputs.push_back({t.name, {}});
    values.push_back(t.tensor);
  }
  return SampleWriter(directory, TensorFileFormat::kPb, std::move(outputs), 1)
      .write(0, sample, inputs, values);
}

}  // namespace onnxtool
