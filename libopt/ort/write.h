// A model as a .ort file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/ort/fusion_records.h"
#include "libopt/ort/operators.h"
#include "libopt/support/atomic_file.h"
#include "libopt/support/status.h"

namespace onnxtool {

struct OrtWriteOptions {
  int format_version = 6;  // 5 is the same without 8-bit floats
  std::vector<OrtCustomOperator> custom_operators;
  /// Written beside the nodes that they fuse.
  std::vector<OrtFusionRecord> fusions;
};

/// A file laid out but for its payloads, which stay where they are until it is written.
class OrtFile {
 public:
  uint64_t size_bytes() const { return size_; }
  uint64_t payload_bytes() const;
  /// FlatBuffers tables, of which readers accept a million.
  int tables() const { return tables_; }
  /// Shapes of values inside of the graphs were left out to stay below that.
  bool shapes_left_out() const { return shapes_left_out_; }
  Status write(AtomicFile& file) const;
  /// The whole file in memory, for tests and validators of small models.
  std::vector<std::byte> flatten() const;

 private:
  friend class OrtLayout;
  struct Payload {
    uint64_t at;  // of its length, which stands before it
    Tensor tensor;
  };
  template <class F>
  Status emit(const F& write) const;

  std::vector<std::byte> tables_bytes_;
  std::vector<Payload> payloads_;  // in the order of the file
  uint64_t size_ = 0;
  int tables_ = 0;
  bool shapes_left_out_ = false;
};

/// Lays out a model that prepare_for_ort() has seen. All that a minimal build of the runtime needs
/// is in the file: the type of every value, edges, implicit inputs, versions, counts and defaults
/// of operators, the kernel type strings. Payloads over 127 bytes start at multiples of 32 bytes,
/// so that the runtime can use them in place. The same model gives the same bytes. Errors: a value
/// of unknown type or of one that the format cannot hold, and the format's limits, with the sizes
/// found.
Result<OrtFile> lay_out_ort(const Model& model, const OrtWriteOptions& options);

}  // namespace onnxtool
