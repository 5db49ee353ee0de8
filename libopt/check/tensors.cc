// Findings about stored values: element types, sizes, fields, sparse tensors, external data.
#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>

#include "libopt/check/family.h"
#include "libopt/support/ascii.h"
#include "libopt/support/checked.h"
#include "libopt/support/sha1.h"

namespace onnxtool::check {
namespace {

using outline::Tensor;

struct DataField {
  const char* name;
  uint64_t count;
};

std::array<DataField, 7> fields_of(const Tensor& t) {
  return {{{"float_data", t.floats},
           {"int32_data", t.int32s},
           {"string_data", t.strings},
           {"int64_data", t.int64s},
           {"raw_data", t.raw.size()},
           {"double_data", t.doubles},
           {"uint64_data", t.uint64s}}};
}

// The field that the standard assigns to the type, and how many of its entries `count` elements
// take.
DataField expected_field(DataType type, uint64_t count) {
  switch (type) {
    case DataType::kFloat: return {"float_data", count};
    case DataType::kComplex64: return {"float_data", 2 * count};
    case DataType::kDouble: return {"double_data", count};
    case DataType::kComplex128: return {"double_data", 2 * count};
    case DataType::kInt64: return {"int64_data", count};
    case DataType::kUint32:
    case DataType::kUint64: return {"uint64_data", count};
    case DataType::kString: return {"string_data", count};
    default:
      return {"int32_data", bits_of(type) >= 8
                                ? count
                                : (count * static_cast<uint64_t>(bits_of(type)) + 31) / 32};
  }
}

class TensorChecker {
 public:
  TensorChecker(const OutlineView& view, Findings& out) : view_(view), out_(out) {}

  // False where something is wrong with it.
  bool tensor(const Tensor& t, const std::string& place) {
    const auto fail = [&](RuleId id, const std::string& what) {
      out_.add(id, place, "tensor '" + std::string(t.name) + "' " + what, t.offset);
      return false;
    };
    if (!t.data_type || *t.data_type == 0) return fail(RuleId::kTensorType, "has no element type");
    const auto type = static_cast<DataType>(*t.data_type);
    if (name(type) == "undefined")
      return fail(RuleId::kTensorType,
                  "has the unknown element type " + std::to_string(*t.data_type));
    if (t.segment)
      return fail(RuleId::kTensorField, "is a segment of a larger one, which no runtime supports");
    const auto count = checked_product(t.dims);
    // As in decode_model(): no later product of sizes can overflow.
    if (!count || *count > (int64_t{1} << 56))
      return fail(RuleId::kTensorDims, "has impossible dims " + format_dims(t.dims));
    const auto fields = fields_of(t);
    const auto used =
        std::ranges::count_if(fields, [](const DataField& f) { return f.count != 0; });
    const uint64_t bytes =
        type == DataType::kString ? 0 : size_bytes_of(type, static_cast<uint64_t>(*count));
    if (t.external) {
      if (used)
        return fail(RuleId::kTensorField, "is stored in another file, but has data here too");
      return external(t, bytes, place);
    }
    if (*count == 0 && used)
      return fail(RuleId::kTensorSize,
                  "has data, but no elements: its dims are " + format_dims(t.dims));
    if (*count == 0) return true;
    if (used == 0)
      return fail(RuleId::kTensorField, "has no data, expected " + std::to_string(*count) +
                                            " elements of " + std::string(name(type)));
    if (used > 1) return fail(RuleId::kTensorField, "has data in more than one field");
    if (!t.raw.empty()) {
      if (type == DataType::kString)
        return fail(RuleId::kTensorField, "holds strings in raw_data, expected string_data");
      if (t.raw.size() == bytes) return true;
      return fail(RuleId::kTensorSize, "has " + std::to_string(t.raw.size()) + " bytes, expected " +
                                           std::to_string(bytes) + " for " +
                                           std::string(name(type)) + format_dims(t.dims));
    }
    const DataField expected = expected_field(type, static_cast<uint64_t>(*count));
    const DataField& found =
        *std::ranges::find_if(fields, [](const DataField& f) { return f.count != 0; });
    if (std::string_view(found.name) != expected.name)
      return fail(RuleId::kTensorField, "holds " + std::string(name(type)) + " in " + found.name +
                                            ", expected " + expected.name);
    // Packed types have a byte an entry in files of some writers; decode_model() judges these.
    if (found.count < expected.count ||
        (found.count > expected.count && bits_of(type) != 4 && bits_of(type) != 2))
      return fail(RuleId::kTensorSize, "has " + std::to_string(found.count) + " entries in " +
                                           found.name + ", expected " +
                                           std::to_string(expected.count));
    return true;
  }

  void sparse(const outline::SparseTensor& s, const std::string& place) {
    const std::string shown =
        "sparse tensor '" + std::string(s.values ? s.values->name : std::string_view()) + "' ";
    const auto fail = [&](const std::string& what) {
      out_.add(RuleId::kSparseTensor, place, shown + what, s.offset);
    };
    if (!s.values) return fail("has no values");
    if (!tensor(*s.values, place)) return;
    if (s.values->dims.size() != 1)
      return fail("has values of rank " + std::to_string(s.values->dims.size()) + ", expected 1");
    const int64_t nnz = s.values->dims[0];
    if (s.dims.empty()) return fail("has no dims");
    if (std::ranges::any_of(s.dims, [](int64_t d) { return d <= 0; }))
      return fail("has dims " + format_dims(s.dims) + ", expected positive ones");
    const auto dense = checked_product(s.dims);
    if (!dense) return fail("has impossible dims " + format_dims(s.dims));
    if (!s.indices) return nnz ? fail("has values, but no indices") : void();
    const Tensor& indices = *s.indices;
    if (!tensor(indices, place)) return;
    if (indices.data_type != static_cast<int64_t>(DataType::kInt64))
      return fail("has indices of another type than int64");
    const auto rank = static_cast<int64_t>(s.dims.size());
    const bool linear = indices.dims.size() == 1;
    if (!linear && indices.dims.size() != 2)
      return fail("has indices of rank " + std::to_string(indices.dims.size()) +
                  ", expected 1 or 2");
    if (indices.dims[0] != nnz || (!linear && indices.dims[1] != rank))
      return fail("has indices " + format_dims(indices.dims) + ", expected [" +
                  std::to_string(nnz) + (linear ? "]" : ", " + std::to_string(rank) + "]"));
    if (const auto fault = bad_index(s, linear, *dense)) fail(*fault);
  }

  // Whether every byte of the data files belongs to one tensor. Call at the end.
  void data_files() {
    // Writers align tensors, to 64 KiB at most.
    constexpr uint64_t kAlignment = 65536;
    for (auto& [name, file] : files_) {
      const std::string place = "file '" + name + "'";
      std::sort(file.ranges.begin(), file.ranges.end());
      uint64_t at = 0, holes = 0;
      const Range* previous = nullptr;
      for (const Range& r : file.ranges) {
        // The very same bytes for two tensors are a saving, not a mistake.
        const bool same = previous && previous->begin == r.begin && previous->end == r.end;
        if (r.begin < at && r.begin < r.end && !same)
          out_.add(RuleId::kExternalOverlap, place,
                   "tensors '" + std::string(previous->tensor) + "' and '" + std::string(r.tensor) +
                       "' overlap at byte " + std::to_string(r.begin));
        if (r.begin > at && r.begin - at > kAlignment) holes += r.begin - at;
        if (!previous || r.end > at) previous = &r;
        at = std::max(at, r.end);
      }
      if (file.size > at && file.size - at > kAlignment) holes += file.size - at;
      if (holes)
        out_.add(RuleId::kExternalHole, place,
                 std::to_string(holes) + " of " + std::to_string(file.size) +
                     " bytes belong to no tensor");
      if (view_.options.read_weights && !file.checksums.empty()) check_digest(name, file);
    }
  }

 private:
  // In bounds and ascending.
  static std::optional<std::string> bad_index(const outline::SparseTensor& s, bool linear,
                                              int64_t dense) {
    const std::vector<int64_t> all = index_values(*s.indices);
    const size_t width = linear ? 1 : s.dims.size();
    int64_t previous = -1;
    for (size_t i = 0; i + width <= all.size(); i += width) {
      int64_t at = 0;
      for (size_t j = 0; j < width; ++j) {
        const int64_t extent = linear ? dense : s.dims[j];
        if (all[i + j] < 0 || all[i + j] >= extent)
          return "has index " + std::to_string(all[i + j]) + " at entry " +
                 std::to_string(i / width) + ", expected 0 to " + std::to_string(extent - 1);
        at = at * extent + all[i + j];
      }
      if (at <= previous)
        return "has indices that do not ascend at entry " + std::to_string(i / width);
      previous = at;
    }
    return std::nullopt;
  }

  static std::vector<int64_t> index_values(const Tensor& t) {
    if (t.raw.empty()) return t.int64_data;
    std::vector<int64_t> out(t.raw.size() / sizeof(int64_t));
    std::memcpy(out.data(), t.raw.data(), out.size() * sizeof(int64_t));
    return out;
  }

  bool external(const Tensor& t, uint64_t bytes, const std::string& place) {
    const std::string shown = "tensor '" + std::string(t.name) + "': ";
    const auto fail = [&](RuleId id, const std::string& what, std::string hint = {}) {
      out_.add(id, place, shown + what, t.offset, std::move(hint));
      return false;
    };
    std::optional<std::string> location;
    std::string checksum;
    uint64_t offset = 0;
    std::optional<uint64_t> length;
    for (const auto& [key, value] : t.external_data) {
      if (key == "location") location = std::string(value);
      if (key == "checksum") checksum = to_lower(value);
      if (key != "location" && key != "offset" && key != "length" && key != "checksum" &&
          key != "basepath")
        out_.add(view_.options.runtime ? RuleId::kRuntimeExternalKey : RuleId::kExternalUnknownKey,
                 place, shown + "external data has the unknown key '" + std::string(key) + "'",
                 t.offset);
      if (key != "offset" && key != "length") continue;
      uint64_t number = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
      if (value.empty() || error != std::errc() || end != value.data() + value.size())
        return fail(RuleId::kExternalEntry, "external data " + std::string(key) + " is '" +
                                                std::string(value) +
                                                "', expected a number of bytes");
      if (key == "offset")
        offset = number;
      else
        length = number;
    }
    if (!location) return fail(RuleId::kExternalEntry, "external data has no location");
    if (!view_.source.data_directory)
      return fail(
          RuleId::kExternalPath,
          "is stored in the file '" + *location + "', but the model was not read from a directory",
          "give the model as a file instead of through a pipe");
    const auto opened = view_.source.data_directory->open(*location);
    if (!opened.ok()) {
      const bool missing = opened.error().code == ErrorCode::kNotFound;
      return fail(missing ? RuleId::kExternalMissing : RuleId::kExternalPath,
                  opened.error().message, missing ? std::string() : opened.error().hint);
    }
    const uint64_t size = (*opened)->bytes().size();
    if (t.data_type == static_cast<int64_t>(DataType::kString))
      return fail(RuleId::kTensorField, "strings cannot be stored in another file");
    if (length.value_or(0) && *length != bytes)  // 0: as none, as in ONNX Runtime
      return fail(RuleId::kExternalRange, "external data length is " + std::to_string(*length) +
                                              " bytes, expected " + std::to_string(bytes));
    if (offset > size || bytes > size - offset)
      return fail(RuleId::kExternalRange, "external data at offset " + std::to_string(offset) +
                                              " needs " + std::to_string(bytes) + " bytes, but '" +
                                              *location + "' has " + std::to_string(size));
    auto& file = files_[names_.try_emplace(opened->get(), *location).first->second];
    file.size = size;
    if (!checksum.empty()) file.checksums.emplace(std::move(checksum), t.name);
    file.ranges.push_back({offset, offset + bytes, t.name});
    return true;
  }

  struct Range {
    uint64_t begin, end;
    std::string_view tensor;
    bool operator<(const Range& o) const {
      return std::pair(begin, end) < std::pair(o.begin, o.end);
    }
  };
  struct DataFile {
    uint64_t size = 0;
    std::map<std::string, std::string>
        checksums;  // in lower case, and the first tensor that has it
    std::vector<Range> ranges;
  };
  // Reads the whole file. Source: onnx's documentation of external data.
  void check_digest(const std::string& name, const DataFile& file) {
    const auto opened = view_.source.data_directory->open(name);
    if (!opened.ok()) return;  // it was there a moment ago
    const std::string found = sha1_hex((*opened)->bytes());
    for (const auto& [expected, tensor] : file.checksums)
      if (expected != found)
        out_.add(RuleId::kExternalDigest, "file '" + name + "'",
                 "the SHA-1 is " + found + ", tensor '" + tensor + "' expects " + expected);
  }

  std::map<std::string, DataFile> files_;
  std::map<const MappedFile*, std::string> names_;  // as the first location of each file has it

  const OutlineView& view_;
  Findings& out_;
};

}  // namespace

void check_tensors(const OutlineView& view, Findings& out) {
  TensorChecker checker(view, out);
  const auto initializers = [&](const outline::Graph& g, const std::string& place) {
    for (const Tensor& t : g.initializers) checker.tensor(t, place);
    for (const outline::SparseTensor& s : g.sparse_initializers) checker.sparse(s, place);
  };
  const auto nodes = [&](const std::vector<outline::Node>& list) {
    for_each_node(list, [&](const outline::Node& n, const std::string& place, int) {
      for (const outline::Attribute& a : n.attributes) {
        for (const Tensor& t : a.tensors) checker.tensor(t, place);
        for (const outline::SparseTensor& s : a.sparse) checker.sparse(s, place);
        for (const auto& g : a.graphs) initializers(*g, place + ": " + std::string(a.name));
      }
    });
  };
  if (view.model.graph) {
    initializers(*view.model.graph, "");
    nodes(view.model.graph->nodes);
  }
  for (const outline::Function& f : view.model.functions) nodes(f.nodes);
  checker.data_files();
}

}  // namespace onnxtool::check
