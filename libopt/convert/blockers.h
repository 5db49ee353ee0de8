// Nodes that a conversion stops at, by reason.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace onnxtool::convert {

class Blockers {
 public:
  void add(const std::string& reason, const std::string& node) {
    const auto it = std::ranges::find(found_, reason, &Found::first);
    if (it == found_.end())
      found_.emplace_back(reason, node);
    else
      it->second += ", " + node;
  }
  bool empty() const { return found_.empty(); }
  /// `node 'a' (Op), node 'b' (Op): reason; ...`, reasons in order of appearance.
  std::string text() const {
    std::string out;
    for (const auto& [reason, nodes] : found_)
      out += (out.empty() ? "" : "; ") + nodes + ": " + reason;
    return out;
  }

 private:
  using Found = std::pair<std::string, std::string>;  // reason, nodes
  std::vector<Found> found_;
};

/// `Op: change (3 nodes)`, by change in order of appearance.
class Changes {
 public:
  void add(std::string change) {
    const auto it = std::ranges::find(counts_, change, &Counted::first);
    if (it == counts_.end())
      counts_.emplace_back(std::move(change), 1);
    else
      ++it->second;
  }
  std::vector<std::string> lines() const {
    std::vector<std::string> out;
    for (const auto& [change, count] : counts_)
      out.push_back(change + " (" + std::to_string(count) + (count == 1 ? " node)" : " nodes)"));
    return out;
  }

 private:
  using Counted = std::pair<std::string, int>;
  std::vector<Counted> counts_;
};

}  // namespace onnxtool::convert
