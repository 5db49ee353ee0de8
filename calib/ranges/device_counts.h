// Summaries of values that lie on a device: counted there, fetched when they are asked for.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "calib/exec/kernel.h"
#include "calib/ranges/summary.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Memory of a device, zeros at first.
class DeviceZeros {
 public:
  static Result<DeviceZeros> make(const DeviceApi& device, size_t size_bytes);
  ~DeviceZeros() {
    if (data_) device_->release(data_);
  }
  DeviceZeros(DeviceZeros&& o) noexcept;
  DeviceZeros& operator=(DeviceZeros&&) = delete;
  void* data() const { return data_; }

 private:
  DeviceZeros(const DeviceApi& device, void* data) : device_(&device), data_(data) {}
  const DeviceApi* device_;
  void* data_;
};

/// The histograms of watched values, which all workers count in: 1 MiB each on the device, from a
/// value's first sample on.
class DeviceTables {
 public:
  DeviceTables(size_t watched, Summary::Mode mode) : mode_(mode), tables_(watched) {}
  /// nullptr where the mode keeps none. From any thread.
  Result<uint64_t*> of(const DeviceApi& device, size_t watch);
  /// The counts of one value; empty where it never lay there. Once all runs have ended.
  Result<std::vector<Summary::Count>> counts(size_t watch) const;
  Summary::Mode mode() const { return mode_; }

 private:
  Summary::Mode mode_;
  std::mutex mutex_;
  const DeviceApi* device_ = nullptr;
  std::vector<std::unique_ptr<DeviceZeros>> tables_;
};

/// What one worker's samples held, apart from the histograms.
class DeviceCounts {
 public:
  DeviceCounts(DeviceTables& tables, size_t watched) : tables_(tables), watched_(watched) {}
  /// false: the device does not count such values.
  Result<bool> observe(const DeviceApi& device, size_t watch, const ConstView& value);
  /// The watched values that this sample's run counted on the device, in order, with what they
  /// held (no histogram). Once per run, after it has ended.
  struct Part {
    size_t watch;
    Summary::Header held;
  };
  Result<std::vector<Part>> take_sample();

 private:
  DeviceTables& tables_;
  size_t watched_;
  const DeviceApi* device_ = nullptr;
  std::unique_ptr<DeviceZeros> counts_;  // one DeviceTally for each watched value
  std::vector<size_t> seen_;             // in this run
};

}  // namespace onnxtool
