// Shapes are known only when a model runs: what is compiled for them is kept here, per node.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

/// From dims to whatever a node prepared for them. Any number of threads may call get() at a time;
/// the first one with new dims makes the entry while the others wait.
template <class Entry>
class ShapeCache {
 public:
  using Key = std::vector<int64_t>;

  /// `make` returns a Result<Entry>; it runs under the lock.
  template <class Make>
  Result<std::shared_ptr<const Entry>> get(const Key& key, Make&& make) {
    {
      const std::shared_lock lock(mutex_);
      if (auto found = find(key)) return found;
    }
    const std::unique_lock lock(mutex_);
    if (auto found = find(key)) return found;
    ONNXTOOL_ASSIGN(Entry made, make());
    auto entry = std::make_shared<const Entry>(std::move(made));
    if (entries_.size() == kMost) entries_.erase(entries_.begin());
    entries_.emplace_back(key, entry);
    return entry;
  }

 private:
  // A model fed with ever new sequence lengths must not grow without bound; one that alternates
  // between a few dozen never compiles twice.
  static constexpr size_t kMost = 64;

  std::shared_ptr<const Entry> find(const Key& key) const {
    const auto it = std::find_if(entries_.begin(), entries_.end(),
                                 [&](const auto& e) { return e.first == key; });
    return it == entries_.end() ? nullptr : it->second;
  }

  std::shared_mutex mutex_;
  std::vector<std::pair<Key, std::shared_ptr<const Entry>>> entries_;
};

}  // namespace onnxtool
