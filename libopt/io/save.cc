#include "libopt/io/save.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "libopt/io/encode.h"
#include "libopt/io/load.h"
#include "libopt/io/mapped_file.h"
#include "libopt/io/pages.h"
#include "libopt/support/atomic_file.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

// A serialized message must stay below 2^31 bytes; the margin leaves room for runtimes that
// re-serialize.
constexpr uint64_t kMaxModelBytes = (uint64_t{1} << 31) - (uint64_t{1} << 20);
// Smaller tensors stay in the model: shapes and scales are what readers of the graph look at.
constexpr size_t kMinExternalBytes = 1024;
// Runtimes map data files; this aligns every element type and vector.
constexpr uint64_t kDataAlignment = 64;

std::string stem_of(const std::string& path) { return std::filesystem::path(path).stem().string(); }

bool has_default_form(const std::string& name, const std::string& stem) {
  // <stem>.<8 hex>.data
  if (name.size() != stem.size() + 1 + 8 + 5 || !name.starts_with(stem + ".") ||
      !name.ends_with(".data"))
    return false;
  return name.substr(stem.size() + 1, 8).find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Every tensor that may go to the data file, in a fixed order, each once.
void for_each_payload(const Graph& graph, const std::function<void(const Tensor&)>& f) {
  for (const Value* v : graph.initializers()) f(*v->initializer());
  for (const Node& n : graph.nodes()) {
    for (const Attribute& a : n.attributes()) {
      if (const auto* t = a.get<NamedTensor>()) f(t->tensor);
    }
    n.for_each_subgraph([&](Graph& g) { for_each_payload(g, f); });
  }
}

// Neither throws: a name may be too long, or lie in a directory that must not be searched.
bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}
bool is_regular(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

// Whether a data file of this name may go beside the model; an empty name is not known yet.
Status check_data_target(const std::string& path, const std::string& name,
                         const SaveOptions& options) {
  if (path == "-")
    return Error{ErrorCode::kUsage, "the model has external data, which cannot go with '-o -'",
                 "name an output file"};
  if (exists(path) && !is_regular(path))
    return Error{ErrorCode::kUsage, path + ": external data cannot go beside a pipe or device",
                 "name an output file"};
  if (name.empty()) return {};
  if (name.find('/') != std::string::npos || name == "." || name == "..")
    return Error{ErrorCode::kUsage, "external data name '" + name + "' is no plain file name",
                 "it lies beside the model"};
  if (name == std::filesystem::path(path).filename())
    return Error{ErrorCode::kUsage, "external data name '" + name + "' is the model's own",
                 "choose another --external-data name"};
  const std::string data = data_path_of(path, name);
  for (const std::string& p : options.protected_files)
    if (same_file(data, p))
      return Error{ErrorCode::kUsage, data + ": external data would replace input '" + p + "'",
                   "choose another --external-data name"};
  if (options.no_clobber && exists(data))
    return Error{ErrorCode::kWriteFailed, data + ": exists already",
                 "remove it, or leave out --no-clobber"};
  return {};
}

std::string external_file_of(const std::string& path) {
  auto model = load_model(path);
  if (!model.ok() || !(*model)->had_external_data) return {};
  std::string found;
  for_each_payload((*model)->graph(), [&](const Tensor& t) {
    if (const auto* file = dynamic_cast<const MappedFile*>(t.owner().get());
        file && !same_file(file->path(), path))
      found = file->path();
  });
  return found;
}

// The data file of a model that was just replaced, unless somebody else may want it.
void remove_replaced_data(const std::string& data, const std::string& path, const SavedFiles& saved,
                          const SaveOptions& options) {
  if (data.empty() || same_file(data, saved.data_path) ||
      std::ranges::any_of(options.protected_files,
                          [&](const std::string& p) { return same_file(data, p); }) ||
      !has_default_form(std::filesystem::path(data).filename().string(), stem_of(path)))
    return;
  ::unlink(data.c_str());
}

}  // namespace

std::string data_path_of(const std::string& path, const std::string& name) {
  return name.empty() ? "" : (std::filesystem::path(path).parent_path() / name).string();
}

std::vector<std::string> payload_files(const Model& model) {
  std::vector<std::string> out;
  const MappedFile* last = nullptr;
  for_each_payload(model.graph(), [&](const Tensor& t) {
    const auto* file = dynamic_cast<const MappedFile*>(t.owner().get());
    if (!file || file == last) return;
    last = file;
    if (std::find(out.begin(), out.end(), file->path()) == out.end()) out.push_back(file->path());
  });
  return out;
}

Status check_target(const std::string& path, const SaveOptions& options) {
  if (path == "-") {
    if (::isatty(STDOUT_FILENO))
      return Error{ErrorCode::kUsage, "refusing to write a model to a terminal",
                   "use -o FILE, or redirect stdout"};
    if (options.external_data) return check_data_target(path, options.data_name, options);
    return {};
  }
  for (const std::string& p : options.protected_files)
    if (same_file(path, p))
      return Error{ErrorCode::kUsage, path + ": output is the same file as input '" + p + "'",
                   "choose another output name"};
  if (options.no_clobber && exists(path))
    return Error{ErrorCode::kWriteFailed, path + ": exists already",
                 "remove it, or leave out --no-clobber"};
  if (options.external_data) ONNXTOOL_TRY(check_data_target(path, options.data_name, options));
  // A pipe's reader would see an end of file.
  if (std::error_code e; std::filesystem::is_fifo(path, e)) return {};
  if (std::error_code e; std::filesystem::is_character_file(path, e)) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
    const bool terminal = fd >= 0 && ::isatty(fd);
    if (fd >= 0) ::close(fd);
    if (terminal)
      return Error{ErrorCode::kUsage, path + ": refusing to write a model to a terminal",
                   "use -o FILE"};
  }
  // Opening finds out about directories, links and permissions; dropping the file leaves nothing.
  ONNXTOOL_ASSIGN([[maybe_unused]] AtomicFile probe, AtomicFile::create(path));
  return {};
}

Result<SavedFiles> save_model(const Model& model, const std::string& path,
                              const SaveOptions& wanted) {
  SaveOptions options = wanted;
  // Payloads are read until the end, from wherever they lie.
  for (std::string& p : payload_files(model)) options.protected_files.push_back(std::move(p));
  ONNXTOOL_TRY(check_target(path, options));
  SavedFiles saved;
  uint64_t payload = 0;
  for_each_payload(model.graph(), [&](const Tensor& t) { payload += t.size_bytes(); });
  const bool external =
      options.external_data || model.had_external_data || payload > kMaxModelBytes;
  if (external) ONNXTOOL_TRY(check_data_target(path, options.data_name, options));
  // Two tensors may start at one byte and still differ in length.
  std::map<std::pair<const std::byte*, size_t>, ExternalPlace> places;
  std::vector<const Tensor*> order;
  std::string data_name;
  if (external) {
    uint64_t offset = 0;
    Sha256 digest;
    for_each_payload(model.graph(), [&](const Tensor& t) {
      if (t.size_bytes() < kMinExternalBytes || places.contains({t.bytes().data(), t.size_bytes()}))
        return;
      offset = (offset + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
      places[{t.bytes().data(), t.size_bytes()}] = {{}, offset};
      order.push_back(&t);
      digest.add(t.bytes());
      release_pages(t);
      offset += t.size_bytes();
    });
    data_name = options.data_name.empty()
                    ? stem_of(path) + "." + digest.hex().substr(0, 8) + ".data"
                    : options.data_name;
    ONNXTOOL_TRY(check_data_target(path, data_name, options));
    for (auto& [data, place] : places) place.location = data_name;
  }
  const wire::Rope rope = encode_model(model, [&](const Tensor& t) -> const ExternalPlace* {
    const auto it = t.size_bytes() < kMinExternalBytes
                        ? places.end()
                        : places.find({t.bytes().data(), t.size_bytes()});
    return it == places.end() ? nullptr : &it->second;
  });
  if (rope.size() > kMaxModelBytes)
    return Error{ErrorCode::kLimit,
                 path + ": the model's own file would have " + std::to_string(rope.size()) +
                     " bytes, more than protobuf's 2 GB",
                 {}};

  const std::string replaced_data =
      path != "-" && is_regular(path) ? external_file_of(path) : std::string();
  std::optional<AtomicFile> data_file;
  std::optional<UncommittedFile> uncommitted;
  if (!order.empty()) {
    saved.data_path = data_path_of(path, data_name);
    ONNXTOOL_ASSIGN(AtomicFile f, AtomicFile::create(saved.data_path));
    data_file.emplace(std::move(f));
    static constexpr std::byte kPadding[kDataAlignment] = {};
    for (const Tensor* t : order) {
      const uint64_t at = places[{t->bytes().data(), t->size_bytes()}].offset;
      ONNXTOOL_TRY(data_file->write(std::span(kPadding).first(at - saved.data_bytes)));
      ONNXTOOL_TRY(data_file->write(t->bytes()));
      release_pages(*t);
      saved.data_bytes = at + t->size_bytes();
    }
  }
  ONNXTOOL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  for (const auto& piece : rope.pieces()) ONNXTOOL_TRY(file.write(piece.bytes()));
  if (data_file) {
    if (!exists(saved.data_path)) uncommitted.emplace(saved.data_path);
    ONNXTOOL_TRY(options.no_clobber ? data_file->commit_new() : data_file->commit());
  }
  ONNXTOOL_TRY(options.no_clobber ? file.commit_new() : file.commit());
  if (uncommitted) uncommitted->keep();
  saved.model_bytes = rope.size();
  remove_replaced_data(replaced_data, path, saved, options);
  return saved;
}

Result<SavedFiles> save_unchanged(const std::string& source, const std::string& path,
                                  const SaveOptions& options) {
  ONNXTOOL_TRY(check_target(path, options));
  ONNXTOOL_ASSIGN(const auto file, MappedFile::open(source));
  const std::string replaced_data =
      path != "-" && is_regular(path) ? external_file_of(path) : std::string();
  ONNXTOOL_ASSIGN(AtomicFile out, AtomicFile::create(path));
  ONNXTOOL_TRY(out.write(file->bytes()));
  ONNXTOOL_TRY(options.no_clobber ? out.commit_new() : out.commit());
  const SavedFiles saved{{}, file->bytes().size(), 0};
  remove_replaced_data(replaced_data, path, saved, options);
  return saved;
}

}  // namespace onnxtool
