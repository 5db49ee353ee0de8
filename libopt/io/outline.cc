#include "libopt/io/outline.h"

#include <algorithm>

#include "libopt/io/wire.h"

namespace onnxtool::outline {
namespace {

using wire::Bytes;
using wire::Field;
using wire::Reader;
using wire::WireType;

// As decode_model(): recursion must stay bounded.
constexpr int kMaxDepth = 30;

// Where the reader is, as text: built only when a fault is found.
struct Place {
  const Place* parent;
  const char* name;
  size_t index;
  std::string text() const {
    const std::string own =
        std::string(name) + (index == SIZE_MAX ? "" : "[" + std::to_string(index) + "]");
    return parent ? parent->text() + "." + own : own;
  }
};

class OutlineReader {
 public:
  OutlineReader(Bytes file, size_t max_faults) : file_(file), max_faults_(max_faults) {}

  Model model() {
    fields(file_, nullptr, [&](const Field& f, size_t) {
      if (f.type == WireType::kVarint && f.number == 1) out_.ir_version = f.int64();
      if (f.type != WireType::kBytes) return;
      if (f.number == 7) {
        if (!out_.graph) out_.graph = std::make_unique<Graph>();
        const Place place{nullptr, "graph", SIZE_MAX};
        graph(f.bytes, *out_.graph, &place, 0);
      }
      if (f.number == 8) out_.opsets.push_back(opset(f.bytes, nullptr));
      if (f.number == 14) out_.metadata.push_back(entry(f.bytes, nullptr));
      if (f.number == 25) {
        const Place place{nullptr, "functions", out_.functions.size()};
        out_.functions.push_back(function(f.bytes, &place));
      }
    });
    return std::move(out_);
  }

 private:
  uint64_t offset_of(Bytes bytes) const {
    return static_cast<uint64_t>(bytes.data() - file_.data());
  }

  void fault(Fault::Kind kind, uint64_t offset, const Place* place, std::string message) {
    if (out_.faults.size() < max_faults_)
      out_.faults.push_back({kind, offset, place ? place->text() : "", std::move(message)});
  }

  // Calls f(field, how many of this number came before) for each field of the message, up to a
  // fault.
  template <class F>
  void fields(Bytes message, const Place* place, F&& f) {
    Reader reader(message);
    size_t at = 0;
    size_t counts[32] = {};
    while (!reader.done()) {
      auto field = reader.next();
      if (!field.ok()) {
        // Only the whole file can be cut off: a part of it that ends too early has a wrong length.
        const bool truncated =
            reader.ran_out() && message.data() + message.size() == file_.data() + file_.size();
        std::string what = field.error().message;
        what = what.substr(what.find(": ") + 2);
        return fault(truncated ? Fault::Kind::kTruncated : Fault::Kind::kMalformed,
                     offset_of(message) + at, place, std::move(what));
      }
      at += field->raw.size();
      f(*field, field->number < 32 ? counts[field->number]++ : 0);
    }
  }

  void ints(const Field& f, std::vector<int64_t>& out, const Place* place) {
    if (f.type != WireType::kVarint && f.type != WireType::kBytes) return;  // unknown to protobuf
    if (!wire::append_ints(f, out).ok())
      fault(Fault::Kind::kMalformed, offset_of(f.raw), place, "bad packed integers");
  }

  // How many numbers a repeated field adds.
  uint64_t count(const Field& f, size_t width, const Place* place) {
    if (f.type != WireType::kBytes) return 1;
    if (width) {
      if (f.bytes.size() % width)
        fault(Fault::Kind::kMalformed, offset_of(f.raw), place, "packed numbers are cut off");
      return f.bytes.size() / width;
    }
    if (!f.bytes.empty() && std::to_integer<int>(f.bytes.back()) >= 0x80)
      fault(Fault::Kind::kMalformed, offset_of(f.raw), place, "bad packed integers");
    return static_cast<uint64_t>(
        std::ranges::count_if(f.bytes, [](std::byte b) { return std::to_integer<int>(b) < 0x80; }));
  }

  std::pair<std::string_view, std::string_view> entry(Bytes message, const Place* place) {
    std::pair<std::string_view, std::string_view> out;
    fields(message, place, [&](const Field& f, size_t) {
      if (f.type != WireType::kBytes) return;
      if (f.number == 1) out.first = wire::text(f.bytes);
      if (f.number == 2) out.second = wire::text(f.bytes);
    });
    return out;
  }

  OpsetImport opset(Bytes message, const Place* place) {
    OpsetImport out;
    fields(message, place, [&](const Field& f, size_t) {
      if (f.number == 1 && f.type == WireType::kBytes) out.domain = wire::text(f.bytes);
      if (f.number == 2 && f.type == WireType::kVarint) out.version = f.int64();
    });
    return out;
  }

  Tensor tensor(Bytes message, const Place* place, bool keep_ints = false) {
    Tensor t;
    t.offset = offset_of(message);
    fields(message, place, [&](const Field& f, size_t) {
      const bool bytes = f.type == WireType::kBytes;
      switch (f.number) {
        case 1: ints(f, t.dims, place); break;
        case 2:
          if (!bytes) t.data_type = static_cast<int32_t>(f.int64());
          break;
        case 3: t.segment = true; break;
        case 4: t.floats += count(f, 4, place); break;
        case 5: t.int32s += count(f, 0, place); break;
        case 6: ++t.strings; break;
        case 7:
          t.int64s += count(f, 0, place);
          if (keep_ints) ints(f, t.int64_data, place);
          break;
        case 8:
          if (bytes) t.name = wire::text(f.bytes);
          break;
        case 9:
          if (bytes) t.raw = f.bytes;
          break;
        case 10: t.doubles += count(f, 8, place); break;
        case 11: t.uint64s += count(f, 0, place); break;
        case 13:
          if (bytes) t.external_data.push_back(entry(f.bytes, place));
          break;
        case 14:
          if (!bytes) t.external = f.int64() == 1;
          break;
        default: break;
      }
    });
    return t;
  }

  SparseTensor sparse(Bytes message, const Place* place) {
    SparseTensor s;
    s.offset = offset_of(message);
    fields(message, place, [&](const Field& f, size_t) {
      const bool bytes = f.type == WireType::kBytes;
      const Place inner{place, f.number == 1 ? "values" : "indices", SIZE_MAX};
      if (f.number == 1 && bytes) s.values = tensor(f.bytes, &inner);
      if (f.number == 2 && bytes) s.indices = tensor(f.bytes, &inner, true);
      if (f.number == 3) ints(f, s.dims, place);
    });
    return s;
  }

  Type type(Bytes message, const Place* place, int depth = 0) {
    Type t;
    const auto inner = [&](Bytes m, Type::Case kind, bool map) {
      t.kind = kind;
      fields(m, place, [&](const Field& f, size_t) {
        t.has_key |= map && f.number == 1;
        if (f.number != (map ? 2u : 1u)) return;
        t.has_element = true;
        // Deeper nesting is refused when the model is read.
        if (f.type == WireType::kBytes && depth < kMaxDepth)
          t.inner = std::make_shared<const Type>(type(f.bytes, place, depth + 1));
      });
    };
    fields(message, place, [&](const Field& f, size_t) {
      if (f.type != WireType::kBytes) return;
      switch (f.number) {
        case 1:
        case 8:
          t.kind = f.number == 1 ? Type::Case::kTensor : Type::Case::kSparseTensor;
          fields(f.bytes, place, [&](const Field& g, size_t) {
            if (g.number == 1 && g.type == WireType::kVarint)
              t.has_element = true, t.element = static_cast<int32_t>(g.int64());
            if (g.number == 2 && g.type == WireType::kBytes)
              t.has_shape = true, shape(g.bytes, t, place);
          });
          break;
        case 4: inner(f.bytes, Type::Case::kSequence, false); break;
        case 5: inner(f.bytes, Type::Case::kMap, true); break;
        case 9: inner(f.bytes, Type::Case::kOptional, false); break;
        case 7:
          t.kind = Type::Case::kOpaque;
          fields(f.bytes, place,
                 [&](const Field& g, size_t) { t.has_name |= g.number == 2 && !g.bytes.empty(); });
          break;
        default: break;
      }
    });
    return t;
  }

  void shape(Bytes message, Type& t, const Place* place) {
    fields(message, place, [&](const Field& f, size_t) {
      if (f.number != 1 || f.type != WireType::kBytes) return;
      std::optional<int64_t>& extent = t.extents.emplace_back();
      fields(f.bytes, place, [&](const Field& g, size_t) {
        if (g.number == 1 && g.type == WireType::kVarint) extent = g.int64();
        if (g.number == 2) extent.reset();
      });
    });
  }

  ValueInfo value_info(Bytes message, const Place* place) {
    ValueInfo v;
    v.offset = offset_of(message);
    fields(message, place, [&](const Field& f, size_t) {
      if (f.type != WireType::kBytes) return;
      if (f.number == 1) v.name = wire::text(f.bytes);
      if (f.number == 2) v.type = type(f.bytes, place);
    });
    return v;
  }

  Attribute attribute(Bytes message, const Place* place, int depth) {
    Attribute a;
    a.offset = offset_of(message);
    const auto has = [&](AttributeKind kind) {
      if (std::ranges::find(a.fields, kind) == a.fields.end()) a.fields.push_back(kind);
    };
    fields(message, place, [&](const Field& f, size_t index) {
      const bool bytes = f.type == WireType::kBytes;
      switch (f.number) {
        case 1:
          if (bytes) a.name = wire::text(f.bytes);
          break;
        case 2:
          if (f.type == WireType::kFixed32) has(AttributeKind::kFloat);
          break;
        case 3:
          if (f.type == WireType::kVarint) has(AttributeKind::kInt);
          break;
        case 4:
          if (bytes) has(AttributeKind::kString);
          break;
        case 5:
        case 10:
          if (!bytes) break;
          a.tensors.push_back(tensor(f.bytes, place));
          has(f.number == 5 ? AttributeKind::kTensor : AttributeKind::kTensors);
          break;
        case 6:
        case 11: {
          if (!bytes) break;
          const Place inner{place, f.number == 6 ? "g" : "graphs",
                            f.number == 6 ? SIZE_MAX : index};
          a.graphs.push_back(std::make_unique<Graph>());
          graph(f.bytes, *a.graphs.back(), &inner, depth + 1);
          has(f.number == 6 ? AttributeKind::kGraph : AttributeKind::kGraphs);
          break;
        }
        case 7:
          if (count(f, 4, place)) has(AttributeKind::kFloats);
          break;
        case 8:
          if (count(f, 0, place)) has(AttributeKind::kInts);
          break;
        case 9:
          if (bytes) has(AttributeKind::kStrings);
          break;
        case 14:
          if (bytes) has(AttributeKind::kType);
          break;
        case 15:
          if (bytes) has(AttributeKind::kTypes);
          break;
        case 20:
          if (f.type == WireType::kVarint) a.type = f.int64();
          break;
        case 21:
          if (bytes) a.ref = wire::text(f.bytes), a.has_ref = true;
          break;
        case 22:
        case 23:
          if (!bytes) break;
          a.sparse.push_back(sparse(f.bytes, place));
          has(f.number == 22 ? AttributeKind::kSparseTensor : AttributeKind::kSparseTensors);
          break;
        default: break;
      }
    });
    return a;
  }

  Node node(Bytes message, const Place* place, int depth) {
    Node n;
    n.offset = offset_of(message);
    fields(message, place, [&](const Field& f, size_t) {
      if (f.type != WireType::kBytes) return;
      switch (f.number) {
        case 1: n.inputs.push_back(wire::text(f.bytes)); break;
        case 2: n.outputs.push_back(wire::text(f.bytes)); break;
        case 3: n.name = wire::text(f.bytes); break;
        case 4: n.op_type = wire::text(f.bytes); break;
        case 5: {
          const Place inner{place, "attribute", n.attributes.size()};
          n.attributes.push_back(attribute(f.bytes, &inner, depth));
          break;
        }
        case 7: n.domain = wire::text(f.bytes); break;
        case 8: n.overload = wire::text(f.bytes); break;
        default: break;
      }
    });
    return n;
  }

  void graph(Bytes message, Graph& g, const Place* place, int depth) {
    if (depth > kMaxDepth)
      return fault(Fault::Kind::kTooDeep, offset_of(message), place,
                   "subgraphs are nested more than " + std::to_string(kMaxDepth) + " deep");
    g.offset = offset_of(message);
    fields(message, place, [&](const Field& f, size_t index) {
      if (f.type != WireType::kBytes) return;
      const auto at = [&](const char* name) { return Place{place, name, index}; };
      switch (f.number) {
        case 1: {
          const Place p = at("node");
          g.nodes.push_back(node(f.bytes, &p, depth));
          break;
        }
        case 2: g.name = wire::text(f.bytes); break;
        case 5: {
          const Place p = at("initializer");
          g.initializers.push_back(tensor(f.bytes, &p));
          break;
        }
        case 11: {
          const Place p = at("input");
          g.inputs.push_back(value_info(f.bytes, &p));
          break;
        }
        case 12: {
          const Place p = at("output");
          g.outputs.push_back(value_info(f.bytes, &p));
          break;
        }
        case 13: {
          const Place p = at("value_info");
          g.value_info.push_back(value_info(f.bytes, &p));
          break;
        }
        case 15: {
          const Place p = at("sparse_initializer");
          g.sparse_initializers.push_back(sparse(f.bytes, &p));
          break;
        }
        default: break;
      }
    });
  }

  Function function(Bytes message, const Place* place) {
    Function fn;
    fn.offset = offset_of(message);
    fields(message, place, [&](const Field& f, size_t index) {
      if (f.type != WireType::kBytes) return;
      switch (f.number) {
        case 1: fn.name = wire::text(f.bytes); break;
        case 4: fn.inputs.push_back(wire::text(f.bytes)); break;
        case 5: fn.outputs.push_back(wire::text(f.bytes)); break;
        case 6: fn.attributes.push_back(wire::text(f.bytes)); break;
        case 7: {
          const Place p{place, "node", index};
          fn.nodes.push_back(node(f.bytes, &p, 0));
          break;
        }
        case 9: fn.opsets.push_back(opset(f.bytes, place)); break;
        case 10: fn.domain = wire::text(f.bytes), fn.has_domain = true; break;
        case 11: {
          const Place p{place, "attribute_proto", index};
          fn.attribute_defaults.push_back(attribute(f.bytes, &p, 0));
          break;
        }
        case 13: fn.overload = wire::text(f.bytes); break;
        default: break;
      }
    });
    return fn;
  }

  Bytes file_;
  size_t max_faults_;
  Model out_;
};

}  // namespace

Model read(std::span<const std::byte> file, size_t max_faults) {
  return OutlineReader(file, max_faults).model();
}

}  // namespace onnxtool::outline
