// What a device can do about work that repeats: launches are recorded once and replayed together.
#pragma once

#include <cstddef>

#include "calib/exec/kernel.h"

namespace onnxtool {

/// Modules of devices may export `extern "C" const RecorderApi* onnxtool_recorder()`. Functions may
/// be called from any thread; begin() and end() of a recording from the same one.
struct RecorderApi {
  /// From now on what this thread asks of the device is recorded and not run. Memory that it gets
  /// meanwhile is the recording's, and lies where it lies in each replay. nullptr: cannot.
  void* (*begin)();
  /// No more of that. False: it cannot be replayed, since something in it had to be run (copies to
  /// the host, waiting) or failed; all of that thread's errors are then forgotten. The recording
  /// stays the caller's.
  bool (*end)(void* recording);
  /// Runs what was recorded, in order with what this thread asks for, by one thread at a time.
  Status (*replay)(void* recording);
  /// From one place of the device's memory to another, in that order too.
  void (*copy)(void* to, const void* from, size_t size_bytes);
  /// When nothing of it runs any more.
  void (*destroy)(void* recording);
};

/// Says what a device's module exports; nullptr is nothing.
void set_recorder(const DeviceApi* device, const RecorderApi* recorder);
/// nullptr: it cannot.
const RecorderApi* recorder_of(const DeviceApi* device);

}  // namespace onnxtool
