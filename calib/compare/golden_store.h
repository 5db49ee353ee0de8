// How the tensors of a golden set's samples are kept below its directory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "calib/compare/golden.h"
#include "libopt/ir/attribute.h"
#include "libopt/support/atomic_directory.h"

namespace onnxtool {

enum class GoldenPart : uint8_t { kInputs, kOutputs };

class GoldenStore {
 public:
  virtual ~GoldenStore() = default;
  /// The tensors `wanted`, in that order. Errors (kBadData): one is missing or has another type.
  virtual Result<std::vector<Tensor>> read(const GoldenSample& sample, GoldenPart part,
                                           const std::vector<GoldenTensor>& wanted) const = 0;
  /// Of all files of the sample, in hex.
  virtual Result<std::string> digest(const GoldenSample& sample) const = 0;
};

std::unique_ptr<GoldenStore> open_golden_store(const std::string& directory, GoldenForm form);

/// Writes one sample under the name `name` and fills in its file and digest.
Status write_golden_sample(const AtomicDirectory& directory, GoldenForm form,
                           const std::string& name, const std::vector<NamedTensor>& inputs,
                           const std::vector<NamedTensor>& outputs, GoldenSample& sample);

/// Whether the directory has ONNX's test data with outputs: output_I.pb of its own, under whatever
/// name, or folders test_data_set_N that have some.
bool has_test_data_sets(const std::string& directory);

/// What the folders of ONNX's test data say of themselves: names and types by the first, no
/// digests, no model. `directory` becomes the one that holds them.
Result<Golden> describe_test_data_sets(std::string& directory);

}  // namespace onnxtool
