// Entries of metadata by their keys.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// The value of the first entry with the key; nullptr: there is none.
inline const std::string* find_property(const Properties& properties, std::string_view key) {
  const auto it = std::ranges::find(properties, key,
                                    [](const auto& p) { return std::string_view(p.first); });
  return it == properties.end() ? nullptr : &it->second;
}

/// Replaces all entries with the key by one at the end, or by none where the text is empty.
inline void put_property(Properties& properties, std::string_view key, const std::string& text) {
  std::erase_if(properties, [&](const auto& p) { return p.first == key; });
  if (!text.empty()) properties.emplace_back(key, text);
}

}  // namespace onnxtool
