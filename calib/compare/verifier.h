// The Verifier on the built-in executor.
//
// Before and after run on the same seeded inputs (trial_inputs.h). Inputs on which the original
// fails are discarded and counted, and those for which its outputs are not as it declares them. NaN
// at the same place on both sides is equal.
//
//   exact     every element has the same bits. Where they differ on kernels for this machine's
//             instruction set, the portable kernels decide, which also fold constants.
//   rounding  floats: |after - before| is at most 4 units, a unit being that of the least precise
//   type
//             which the model computes in (2^-23 for float, 2^-10 for float16, 2^-8 where values
//             are quantized), times the largest value of the tensor. Beyond that a double-precision
//             run judges (oracle.h): no error after is above 16 x the largest error before + 64
//             units. Where the oracle cannot run: at most 2^13 units, and 2^-6 of the largest
//             value. Everything else (integers, bool, strings): equal, but for a share of 1 %, or
//             twice the share at which the original itself differs from the oracle: an argmax of
//             near ties is decided by rounding.
//
// Nodes that the executor cannot run, and random ones, are cut out of both (cut_out.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "libopt/rewrite/verifier.h"

namespace onnxtool {

struct VerifierOptions {
  /// Sets of inputs to compare on.
  int wanted_inputs = 3;
  /// Sets to try: those on which the original fails are discarded.
  int max_attempts = 8;
  /// What all of it may cost: an inference of one side is 1, of the oracle 2. A set that only the
  /// oracle could judge is left out where that is spent.
  int max_inferences = 8;
  int threads = 1;
  /// Told before each set when set: how many were compared, of how many wanted.
  std::function<void(int64_t, int64_t)> on_progress = {};
};

/// At most 8 single inferences of extra time: three sets on both sides, or two with an oracle.
VerifierOptions quick_verification(int threads);
/// More sets, and the oracle may judge all of them.
VerifierOptions full_verification(int threads);

/// For models made from `original`, of which it keeps a copy (weights are shared).
std::unique_ptr<Verifier> make_verifier(const Model& original, const VerifierOptions& options);

}  // namespace onnxtool
