// Whether a rewritten model still computes what the original did: an interface, since libopt runs
// nothing itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libopt/ir/attribute.h"
#include "libopt/ir/model.h"
#include "libopt/rewrite/rule.h"
#include "libopt/support/status.h"

namespace onnxtool {

struct Verification {
  /// False: a breach, and `difference` says where and how far. True is no proof where nothing was
  /// compared.
  bool equal = true;
  std::string difference;
  int64_t inputs = 0;            // sets of inputs on which outputs were compared
  int64_t discarded = 0;         // sets on which the original fails
  int64_t elements = 0;          // of outputs, compared
  int64_t unverified_nodes = 0;  // cut out, since the executor cannot run them
  std::string basis;             // what equal means: "bit by bit", "within ..."
  std::string obstacle;          // why nothing was compared; empty otherwise
  /// Of a breach: those on which the models differ, of the original as far as it can be run.
  std::vector<NamedTensor> breach_inputs;
  bool compared_anything() const { return elements > 0; }
};

class Verifier {
 public:
  virtual ~Verifier() = default;
  /// Compares the model with the original that the verifier was made for. kExact asks for the same
  /// bits, kRounding for results as good as the original's. The model may be changed in its types
  /// only.
  virtual Verification verify(Model& rewritten, Exactness exactness) = 0;
};

}  // namespace onnxtool
