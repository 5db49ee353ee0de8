#include "apps/size_tree.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <set>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

struct Part {
  std::string name, path;
  int64_t bytes = 0, constants = 0;
  std::map<std::string, std::unique_ptr<Part>> by_name;
  std::vector<Part*> parts;  // largest first
};

// All but the constant itself.
std::vector<std::string> boxes_of(const std::string& path) {
  std::vector<std::string> out = path_parts(path);
  if (!out.empty()) out.pop_back();
  return out;
}

void add(Part& part, int64_t bytes) {
  part.bytes = checked_add(part.bytes, bytes).value_or(std::numeric_limits<int64_t>::max());
  ++part.constants;
}

// A part that holds one part and nothing else is that part.
void join_chains(Part& part) {
  while (part.by_name.size() == 1 && part.by_name.begin()->second->constants == part.constants &&
         !part.name.empty()) {
    const std::unique_ptr<Part> only = std::move(part.by_name.begin()->second);
    part.name += "/" + only->name;
    part.path = only->path;
    part.by_name = std::move(only->by_name);
  }
  for (const auto& [name, inner] : part.by_name) {
    join_chains(*inner);
    part.parts.push_back(inner.get());
  }
  std::ranges::stable_sort(part.parts, [](Part* a, Part* b) { return a->bytes > b->bytes; });
}

Part tree_of(const Treemap& sizes) {
  Part root;
  for (const Treemap::Leaf& leaf : sizes.leaves) {
    add(root, leaf.size);
    Part* at = &root;
    for (const std::string& box : boxes_of(leaf.path)) {
      auto& inner = at->by_name[box];
      if (!inner) {
        inner = std::make_unique<Part>();
        inner->name = box;
        inner->path = at->path.empty() ? box : at->path + "/" + box;
      }
      at = inner.get();
      add(*at, leaf.size);
    }
  }
  join_chains(root);
  return root;
}

// Opens the largest part that is in sight, over and over, while what it holds finds room.
std::set<const Part*> opened(const Part& root, size_t rows) {
  std::set<const Part*> open = {&root};
  std::vector<Part*> in_sight = root.parts;
  size_t used = in_sight.size();
  while (true) {
    const auto largest = std::ranges::max_element(in_sight, {}, [&](const Part* p) {
      return p->parts.empty() || used + p->parts.size() > rows ? int64_t{-1} : p->bytes;
    });
    if (largest == in_sight.end() || (*largest)->parts.empty() ||
        used + (*largest)->parts.size() > rows)
      return open;
    Part* const part = *largest;
    in_sight.erase(largest);
    open.insert(part);
    used += part->parts.size();
    in_sight.insert(in_sight.end(), part->parts.begin(), part->parts.end());
  }
}

class Rows {
 public:
  Rows(const Part& root, const std::set<const Part*>* open, Table& table)
      : total_(root.bytes), open_(open), table_(table) {
    add_parts(root, 0);
  }

 private:
  void add_parts(const Part& part, size_t depth) {
    for (const Part* p : part.parts) {
      const double share =
          total_ > 0 ? 100.0 * static_cast<double>(p->bytes) / static_cast<double>(total_) : 0;
      table_.rows.push_back(
          {open_ ? std::string(2 * depth, ' ') + p->name : p->path, p->bytes, share, p->constants});
      if (!open_ || open_->contains(p)) add_parts(*p, depth + 1);
    }
  }

  int64_t total_;
  const std::set<const Part*>* open_;
  Table& table_;
};

}  // namespace

std::vector<Table> size_tree(const Treemap& sizes, size_t shown) {
  const Part root = tree_of(sizes);
  const bool one = root.parts.size() == 1 && root.parts[0]->parts.empty();
  if (root.parts.empty() || one) return {};
  const std::vector<Column> columns = {{"part", "part", ""},
                                       {"bytes", "bytes", ""},
                                       {"share_percent", "share", "%"},
                                       {"constants", "constants", ""}};
  Table people{"tree_shown", "by part of their names", columns, {}, shown, true, false},
      programs{"tree", "", columns, {}, 0, false};
  const size_t room = shown ? shown : std::numeric_limits<size_t>::max();
  const std::set<const Part*> open = opened(root, room);
  Rows(root, &open, people);
  Rows(root, nullptr, programs);
  std::vector<Table> out;
  out.push_back(std::move(people));
  out.push_back(std::move(programs));
  return out;
}

}  // namespace onnxtool
