#include "calib/ranges/device_counts.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace onnxtool {
namespace {

bool counts_type(DataType type) {
  return type == DataType::kFloat || type == DataType::kFloat16 || type == DataType::kBfloat16 ||
         type == DataType::kDouble;
}

Summary::Header header_of(const DeviceTally& c) {
  Summary::Header h{c.zeros, c.nan, c.positive_infinity, c.negative_infinity, c.finite, 0, 0};
  if (!c.finite) return h;
  h.min = std::bit_cast<float>(DeviceTally::pattern(~c.lowest_complement));
  h.max = std::bit_cast<float>(DeviceTally::pattern(c.highest));
  return h;
}

}  // namespace

Result<DeviceZeros> DeviceZeros::make(const DeviceApi& device, size_t size_bytes) {
  DeviceZeros made(device, device.allocate(size_bytes));
  if (!made.data_)
    return Error{ErrorCode::kOutOfMemory, "the device is out of memory for the counts of values",
                 "use --device cpu, or --calibrator minmax, which keeps no histograms"};
  const std::vector<std::byte> zeros(size_bytes);
  ONNXTOOL_TRY(device.to_device(made.data_, zeros.data(), size_bytes));
  ONNXTOOL_TRY(device.finish());  // other threads count here next
  return made;
}

DeviceZeros::DeviceZeros(DeviceZeros&& o) noexcept
    : device_(o.device_), data_(std::exchange(o.data_, nullptr)) {}

Result<uint64_t*> DeviceTables::of(const DeviceApi& device, size_t watch) {
  if (mode_ == Summary::Mode::kMinMax) return nullptr;
  const std::lock_guard lock(mutex_);
  std::unique_ptr<DeviceZeros>& table = tables_[watch];
  if (!table) {
    ONNXTOOL_ASSIGN(DeviceZeros made,
                    DeviceZeros::make(device, DeviceTally::kBuckets * sizeof(uint64_t)));
    table = std::make_unique<DeviceZeros>(std::move(made));
    device_ = &device;
  }
  return static_cast<uint64_t*>(table->data());
}

Result<std::vector<Summary::Count>> DeviceTables::counts(size_t watch) const {
  std::vector<Summary::Count> out;
  if (!tables_[watch]) return out;
  std::vector<uint64_t> table(DeviceTally::kBuckets);
  ONNXTOOL_TRY(
      device_->to_host(table.data(), tables_[watch]->data(), table.size() * sizeof table[0]));
  for (uint32_t i = 0; i < table.size(); ++i)
    if (table[i]) out.push_back({i, table[i]});
  return out;
}

Result<bool> DeviceCounts::observe(const DeviceApi& device, size_t watch, const ConstView& value) {
  if (!device.count || !counts_type(value.dtype)) return false;
  if (!counts_) {
    ONNXTOOL_ASSIGN(DeviceZeros made,
                    DeviceZeros::make(device, watched_ * sizeof(DeviceTally)));
    counts_ = std::make_unique<DeviceZeros>(std::move(made));
    device_ = &device;
  }
  ONNXTOOL_ASSIGN(uint64_t* const table, tables_.of(device, watch));
  auto* counts = static_cast<DeviceTally*>(counts_->data());
  ONNXTOOL_TRY(device.count(counts + watch, table, value));
  if (std::find(seen_.begin(), seen_.end(), watch) == seen_.end()) seen_.push_back(watch);
  return true;
}

Result<std::vector<DeviceCounts::Part>> DeviceCounts::take_sample() {
  std::vector<Part> out;
  if (seen_.empty()) return out;
  std::vector<DeviceTally> counts(watched_);
  const size_t size = watched_ * sizeof counts[0];
  ONNXTOOL_TRY(device_->to_host(counts.data(), counts_->data(), size));
  for (const size_t watch : seen_) out.push_back({watch, header_of(counts[watch])});
  seen_.clear();
  counts.assign(watched_, DeviceTally{});
  ONNXTOOL_TRY(device_->to_device(counts_->data(), counts.data(), size));
  ONNXTOOL_TRY(device_->finish());  // the next sample may run on another thread
  return out;
}

}  // namespace onnxtool
