// See validate.h. The file's header here; graphs, tensors and attributes, and types in their own
// files.

#include "libopt/ort/validate.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "libopt/ort/read.h"
#include "libopt/ort/validate_parts.h"
#include "libopt/target/runtime.h"

namespace onnxtool {
namespace ort_validation {

bool Faults::spend(uint64_t work) {
  if (work_ == 0) return false;
  if (work < work_) {
    work_ -= work;
    return true;
  }
  work_ = 0;
  must("file", "its tables share so much that checking them would take too long");
  return false;
}

void Faults::add(OrtFault fault) {
  constexpr size_t kMost = 1000;
  if (size_t& kept = fault.fatal ? fatal_ : wasteful_; kept == kMost)
    ++(fault.fatal ? found_.left_out : found_.waste_left_out);
  else
    ++kept, found_.list.push_back(std::move(fault));
}

namespace {

constexpr int kMaxDepth = 64, kMaxTables = 1'000'000;
constexpr size_t kMaxBytes = size_t{1} << 31;

/// False: nothing of the file can be read.
bool check_container(Faults& faults, std::span<const std::byte> bytes) {
  if (bytes.size() >= kMaxBytes) {
    faults.must("file", "has " + std::to_string(bytes.size()) +
                            " bytes, and the format ends below 2,147,483,648");
    return false;
  }
  if (!is_ort(bytes)) {
    faults.must("file", "the identifier ORTM is absent at byte 4");
    return false;
  }
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                                 kMaxDepth, kMaxTables);
  if (fb::VerifyInferenceSessionBuffer(verifier)) return true;
  faults.must(
      "file",
      "FlatBuffers' verifier refuses it: an offset or size is wrong, tables are nested more than " +
          std::to_string(kMaxDepth) + " deep, or there are more than a million");
  return false;
}

void check_version(FileFacts& file, const fb::InferenceSession& session) {
  const std::string_view text = view(session.ort_version());
  int version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc() || end != text.data() + text.size())
    file.faults.must("header", "the format version is " + quoted(text) + ", expected a number");
  else if (version < 5)
    file.faults.must("header", "the format version is " + std::to_string(version) +
                                   ": minimal builds since 1.13 load 5 and 6");
  else if (version > 6)
    file.faults.must("header",
                     "the format version is " + std::to_string(version) + ": 6 is the newest");
  file.format_version = version;
}

void check_opsets(FileFacts& file, const fb::Model& model) {
  if (!model.opset_import()) return file.faults.must("header", "opset_import is absent");
  const RuntimeRelease& newest = all_runtimes().back();
  for (const fb::OperatorSetId* id : *model.opset_import()) {
    if (!id->domain()) {
      file.faults.must("header", "an opset import has no domain");
      continue;
    }
    const std::string_view domain = view(id->domain()) == "ai.onnx" ? "" : view(id->domain());
    if (!file.opsets.emplace(domain, id->version()).second)
      file.faults.must("header", "the opset of " + quoted(domain) + " is imported twice");
    const int64_t most = domain.empty()           ? newest.opset
                         : domain == "ai.onnx.ml" ? newest.ml_opset
                                                  : std::numeric_limits<int>::max();
    if (id->version() < 1 || id->version() > most)
      file.faults.must("header", "opset " + std::to_string(id->version()) + " of " +
                                     quoted(domain) + " is none that " + std::string(newest.name) +
                                     " knows");
  }
  if (!file.opsets.contains(""))
    file.faults.must(
        "header",
        "the opset of ai.onnx is not imported: layout changes at load insert its operators");
  if (!file.opsets.contains("com.microsoft"))
    file.faults.must(
        "header",
        "the opset of com.microsoft is not imported: layout changes at load insert its operators");
}

void check_metadata(FileFacts& file, const fb::Model& model) {
  if (!model.metadata_props()) return;
  std::unordered_set<std::string_view> seen;
  for (const fb::StringStringEntry* entry : *model.metadata_props()) {
    if (!entry->key())
      file.faults.must("header", "a metadata entry has no key");
    else if (!seen.insert(view(entry->key())).second)
      file.faults.advise("header", "metadata key " + quoted(view(entry->key())) +
                                       " stands twice: the first counts");
    if (!entry->value())
      file.faults.must("header", "metadata entry " + quoted(view(entry->key())) + " has no value");
  }
}

void check_entry(FileFacts& file, const fb::OpIdKernelTypeStrArgsEntry& entry,
                 const std::string& place) {
  const std::string_view id = view(entry.op_id());
  const size_t first = id.find(':'), last = id.rfind(':');
  int version = 0;
  const char* const end = id.data() + id.size();
  const auto [stop, error] =
      std::from_chars(last == id.npos ? end : id.data() + last + 1, end, version);
  if (std::ranges::count(id, ':') != 2 || error != std::errc() || stop != end)
    return file.faults.must(place, "is not domain:operator:version");
  if (!entry.kernel_type_str_args())
    return file.faults.must(place, "kernel_type_str_args is absent");
  std::unordered_map<std::string_view, const fb::KernelTypeStrArgsEntry*> found;
  for (const fb::KernelTypeStrArgsEntry* args : *entry.kernel_type_str_args()) {
    if (!args->kernel_type_str())
      file.faults.must(place, "an entry has no kernel type string");
    else if (!found.emplace(view(args->kernel_type_str()), args).second)
      file.faults.must(
          place, "kernel type string " + quoted(view(args->kernel_type_str())) + " stands twice");
    if (!args->args())
      file.faults.must(place, "args of " + quoted(view(args->kernel_type_str())) + " is absent");
  }
  const OrtSchema* schema =
      find_ort_schema(id.substr(0, first), id.substr(first + 1, last - first - 1), version);
  if (!schema || schema->since_version != version) return;  // custom, or of another release
  for (const OrtTypeArgs& expected : ort_type_args(*schema)) {
    const auto at = found.find(expected.name);
    if (at == found.end()) {
      file.faults.must(place, "kernel type string " + quoted(expected.name) + " is absent");
      continue;
    }
    if (!at->second->args()) continue;
    std::multiset<std::pair<bool, int64_t>> want, have;
    for (const int i : expected.inputs) want.emplace(false, i);
    for (const int i : expected.outputs) want.emplace(true, i);
    for (const fb::ArgTypeAndIndex* a : *at->second->args())
      have.emplace(a->arg_type() == fb::ArgType::OUTPUT, a->index());
    if (want != have)
      file.faults.must(place, "kernel type string " + quoted(expected.name) +
                                  " stands for other parameters than in the schema");
  }
}

}  // namespace

void check_resolver(FileFacts& file, const fb::InferenceSession& session) {
  const fb::KernelTypeStrResolver* resolver = session.kernel_type_str_resolver();
  if (!resolver || !resolver->op_kernel_type_str_args())
    return file.faults.must("resolver",
                            "kernel_type_str_resolver is absent: no kernel can be found");
  std::set<std::string, std::less<>> seen;
  std::string_view previous;
  bool sorted = true;
  for (const fb::OpIdKernelTypeStrArgsEntry* entry : *resolver->op_kernel_type_str_args()) {
    const std::string_view id = view(entry->op_id());
    if (!entry->op_id()) {
      file.faults.must("resolver", "an entry has no op_id");
      continue;
    }
    const std::string place = "resolver: " + quoted(id);
    if (!seen.emplace(id).second) file.faults.must(place, "stands twice");
    sorted = sorted && previous <= id;
    previous = id;
    check_entry(file, *entry, place);
  }
  if (!sorted) file.faults.advise("resolver", "op ids are not sorted");
  for (const std::string& id : file.op_ids)
    if (!seen.contains(id))
      file.faults.must("resolver", "the entry of " + quoted(id) + " is absent");
}

}  // namespace ort_validation

bool OrtFaults::any_fatal() const { return std::ranges::any_of(list, &OrtFault::fatal); }

OrtFaults validate_ort(std::span<const std::byte> bytes) {
  using namespace ort_validation;
  Faults faults(bytes.size());
  if (!check_container(faults, bytes)) return faults.take();
  const fb::InferenceSession& session = *fb::GetInferenceSession(bytes.data());
  FileFacts file{faults};
  check_version(file, session);
  if (!session.model()) {
    faults.must("header", "the model is absent");
    return faults.take();
  }
  const fb::Model& model = *session.model();
  if (model.ir_version() < 1)
    faults.must("header", "ir_version is " + std::to_string(model.ir_version()) +
                              ": it decides which initializers are constant");
  check_opsets(file, model);
  check_metadata(file, model);
  if (!model.graph()) {
    faults.must("header", "the graph is absent");
    return faults.take();
  }
  check_graphs(file, *model.graph());
  check_resolver(file, session);
  if (file.misaligned > 0)
    faults.advise(file.first_misaligned,
                  "raw_data does not start at a multiple of 16 bytes, here and in " +
                      number(static_cast<int64_t>(file.misaligned) - 1) +
                      " others: it is copied instead of used in place");
  if (file.has_floats8 && file.format_version < 6)
    faults.must("header",
                "8-bit floats need format version 6, found " + std::to_string(file.format_version));
  OrtFaults found = faults.take();
  if (found.any_fatal()) return found;
  Faults late(bytes.size());  // inference rests on all that was checked
  check_types_and_kernels(late, bytes);
  for (OrtFault& f : late.take().list) found.list.push_back(std::move(f));
  return found;
}

Status require_valid_ort(std::span<const std::byte> bytes) {
  const OrtFaults found = validate_ort(bytes);
  const auto first = std::ranges::find_if(found.list, &OrtFault::fatal);
  if (first == found.list.end()) return {};
  const auto others =
      static_cast<size_t>(std::ranges::count_if(found.list, &OrtFault::fatal)) - 1 + found.left_out;
  return Error{ErrorCode::kBadModel,
               "the .ort file would not load: " + first->place + ": " + first->message +
                   (others ? " (and " + std::to_string(others) + " more faults)" : ""),
               {}};
}

}  // namespace onnxtool
