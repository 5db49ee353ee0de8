#include "apps/partition_report.h"

#include <algorithm>
#include <map>

#include "apps/inspect_report.h"
#include "libopt/ir/operator_name.h"
#include "libopt/ort/mobile.h"
#include "libopt/ort/provider_kernel.h"

namespace onnxtool {
namespace {

// Operators that are left, with the number of their nodes, and why.
using Left = std::map<std::pair<std::string, std::string>, int64_t>;

struct Cut {
  std::string title, source;
  Partition partition;
  Left left;
};

std::string_view reason(OrtKernel kernel) {
  return kernel == OrtKernel::kOtherTypes ? "no kernel for its types"
         : kernel == OrtKernel::kNone     ? "no kernel"
                                          : "not known to the runtime";
}

Cut cut_by_kernels(const Model& model, const OrtProviderInfo& info, const RuntimeRelease& runtime) {
  const int release = std::clamp(runtime.number(), info.oldest, info.newest);
  Cut cut{std::string(info.full_name),
          "kernels of ort-1." + std::to_string(release) +
              (release < runtime.number() ? ", the newest that is known" : ""),
          {},
          {}};
  cut.partition = partition_graph(model.graph(), [&](const Node& n) {
    const OrtKernel kernel = find_ort_kernel(n, info.id, release);
    if (kernel == OrtKernel::kRuns) return true;
    ++cut.left[{operator_name(n), std::string(reason(kernel))}];
    return false;
  });
  return cut;
}

Cut cut_for(const Model& model, const std::string& provider, const RuntimeRelease& runtime) {
  for (const OrtProviderInfo& info : ort_providers())
    if (info.name == provider) return cut_by_kernels(model, info, runtime);
  Cut cut{provider, "onnxruntime's tables for phones; see --check-mobile", {}, {}};
  MobilePartitions found = *partition_for(model, provider);
  for (const auto& [key, nodes] : found.obstacles)
    cut.left[{key.first, std::string(describe(key.second))}] = nodes;
  cut.partition = std::move(found.partition);
  return cut;
}

Table parts_table(const Partition& p, size_t rows) {
  Table t{"partitions",
          "partitions",
          {{"first", "first node", ""}, {"last", "last node", ""}, {"nodes", "nodes", ""}},
          {},
          rows};
  for (const auto& part : p.parts)
    t.rows.push_back(
        {shown_name(*part.front()), shown_name(*part.back()), static_cast<int64_t>(part.size())});
  return t;
}

Table borders_table(const Partition& p, size_t rows) {
  Table t{"copies",
          "copies at the borders",
          {{"value", "value", ""},
           {"type", "type", ""},
           {"to", "to", ""},
           {"bytes", "bytes", ""},
           {"made_by", "made by", ""}},
          {},
          rows};
  for (const Border& b : p.borders)
    t.rows.push_back({b.value->name(), format_type(b.value->type()),
                      std::string(b.onto_provider ? "provider" : "CPU"),
                      b.bytes ? Scalar(*b.bytes) : Scalar(),
                      b.value->producer() ? Scalar(shown_name(*b.value->producer()))
                                          : Scalar(std::string("graph input"))});
  return t;
}

}  // namespace

std::string partition_providers() {
  std::string out;
  for (const OrtProviderInfo& p : ort_providers())
    if (p.id != OrtProvider::kCpu) out += std::string(p.name) + "|";
  for (const std::string_view name : mobile_providers()) out += std::string(name) + "|";
  out.pop_back();
  return out;
}

Section partition_section(const Model& model, const std::string& provider,
                          const RuntimeRelease& runtime, size_t shown_rows) {
  const Cut cut = cut_for(model, provider, runtime);
  const Partition& p = cut.partition;
  int64_t copies[2] = {0, 0}, bytes[2] = {0, 0}, unknown = 0;
  for (const Border& b : p.borders) {
    ++copies[b.onto_provider];
    bytes[b.onto_provider] += b.bytes.value_or(0);
    unknown += !b.bytes;
  }
  Section s{"partition", "Partition", {}, {}, {}, false};
  s.fields.push_back({"provider", "provider", cut.title, ""});
  s.fields.push_back({"source", "by", cut.source, ""});
  s.fields.push_back({"taken", "nodes taken", int64_t{p.taken}, ""});
  s.fields.push_back({"nodes", "of", int64_t{p.nodes}, ""});
  s.fields.push_back({"partition_count", "partitions", static_cast<int64_t>(p.parts.size()), ""});
  s.fields.push_back({"copies_in", "copies to the provider", copies[1], ""});
  s.fields.push_back({"bytes_in", "of", bytes[1], "bytes"});
  s.fields.push_back({"copies_out", "copies to the CPU", copies[0], ""});
  s.fields.push_back({"bytes_out", "of", bytes[0], "bytes"});
  if (unknown) {
    s.fields.push_back({"unknown_copies", "of unknown size", unknown, ""});
    s.notes.push_back("settle extents with --dim or --input-shape to have the bytes of all copies");
  }
  if (provider == "xnnpack")
    s.notes.push_back("XNNPACK computes on the CPU: its borders cost changes of layout, no copies");
  Table left{"left",
             "left to the CPU",
             {{"op", "operator", ""}, {"nodes", "nodes", ""}, {"reason", "because of", ""}},
             {},
             shown_rows};
  for (const auto& [key, nodes] : cut.left) left.rows.push_back({key.first, nodes, key.second});
  s.tables = {std::move(left), parts_table(p, shown_rows), borders_table(p, shown_rows)};
  return s;
}

}  // namespace onnxtool
