#include "calib/compare/golden_store.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <set>

#include "calib/data/arrays.h"
#include "calib/data/safetensors.h"
#include "calib/data/write.h"
#include "libopt/io/decode.h"
#include "libopt/io/encode.h"
#include "libopt/io/mapped_file.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSet = "test_data_set_";

std::string_view word(GoldenPart part) { return part == GoldenPart::kInputs ? "input" : "output"; }

Error wrong_type(const std::string& path, const GoldenTensor& wanted, DataType found) {
  return bad_data(path + ": tensor '" + wanted.name + "' is " + std::string(name(found)) +
                  ", expected " + std::string(name(wanted.dtype)));
}

// DIR/samples/NAME.safetensors holds "input/<name>" and "output/<name>".
class SafetensorsStore final : public GoldenStore {
 public:
  explicit SafetensorsStore(std::string directory) : directory_(std::move(directory)) {}

  Result<std::vector<Tensor>> read(const GoldenSample& sample, GoldenPart part,
                                   const std::vector<GoldenTensor>& wanted) const override {
    const std::string path = path_of(sample);
    ONNXTOOL_ASSIGN(const auto arrays, open_safetensors(path));
    std::vector<Tensor> out;
    for (const GoldenTensor& w : wanted) {
      const std::string stored = std::string(word(part)) + "/" + w.name;
      const auto it = std::ranges::find(arrays, stored, &StoredArray::name);
      if (it == arrays.end()) return bad_data(path + ": no tensor '" + stored + "'");
      if (it->dtype != w.dtype) return wrong_type(path, w, it->dtype);
      ONNXTOOL_ASSIGN(Tensor t, load_array(*it, std::nullopt));
      out.push_back(std::move(t));
    }
    return out;
  }

  Result<std::string> digest(const GoldenSample& sample) const override {
    ONNXTOOL_ASSIGN(const auto file, DataFile::open(path_of(sample)));
    ONNXTOOL_ASSIGN(const auto bytes, file->read_all());
    Sha256 d;
    d.add(bytes);
    return d.hex();
  }

 private:
  std::string path_of(const GoldenSample& s) const { return directory_ + "/samples/" + s.file; }
  std::string directory_;
};

std::string tensor_file(GoldenPart part, size_t index) {
  return std::string(word(part)) + "_" + std::to_string(index) + ".pb";
}

Result<std::shared_ptr<const MappedFile>> open_pb(const std::string& path) {
  return MappedFile::open(path);
}

Result<NamedTensor> read_pb(const std::string& path) {
  ONNXTOOL_ASSIGN(const std::shared_ptr<const MappedFile> file, open_pb(path));
  auto decoded = decode_tensor({file->bytes(), file, nullptr});
  if (decoded.ok()) return decoded;
  Error error = std::move(decoded).error().at(path + ": not a readable TensorProto");
  if (error.hint.empty())
    error.hint = "sets hold tensors: sequences and maps cannot be compared here";
  error.code = ErrorCode::kBadData;
  return error;
}

// How many of input_0.pb, input_1.pb, ... a folder has. A gap is an error: a file behind it would
// never be read.
Result<size_t> count_files(const std::string& folder, GoldenPart part) {
  std::error_code e;
  size_t count = 0, behind_last = 0;
  const std::string prefix = std::string(word(part)) + "_";
  for (fs::directory_iterator it(folder, e), end; !e && it != end; it.increment(e)) {
    const std::string file = it->path().filename().string();
    if (!file.starts_with(prefix)) continue;
    size_t index = 0;
    std::from_chars(file.data() + prefix.size(), file.data() + file.size(), index);
    std::error_code unread;
    if (file != tensor_file(part, index) || !it->is_regular_file(unread)) continue;
    ++count;
    behind_last = std::max(behind_last, index + 1);
  }
  if (count != behind_last)
    return bad_data(folder + ": " + tensor_file(part, behind_last - 1) + " is there, but only " +
                        std::to_string(count - 1) + " of the " + std::to_string(behind_last - 1) +
                        " files before it",
                    "restore the missing ones, or number the files from 0 on");
  return count;
}

// Results are compared where they lie, and in a message they lie anywhere.
Tensor aligned(Tensor t) {
  constexpr size_t kAlignment = 16;  // of every numeric type
  if (t.dtype() == DataType::kString ||
      reinterpret_cast<uintptr_t>(t.bytes().data()) % kAlignment == 0)
    return t;
  return Tensor::from_bytes(t.dtype(), t.dims(), {t.bytes().begin(), t.bytes().end()});
}

// DIR/test_data_set_N/input_I.pb and output_I.pb.
class TestDataStore final : public GoldenStore {
 public:
  explicit TestDataStore(std::string directory) : directory_(std::move(directory)) {}

  Result<std::vector<Tensor>> read(const GoldenSample& sample, GoldenPart part,
                                   const std::vector<GoldenTensor>& wanted) const override {
    const std::string folder = directory_ + "/" + sample.file;
    ONNXTOOL_ASSIGN(const size_t count, count_files(folder, part));
    std::vector<Tensor> out;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const std::string path = folder + "/" + tensor_file(part, i);
      ONNXTOOL_ASSIGN(NamedTensor t, read_pb(path));
      if (t.tensor.dtype() != wanted[i].dtype) return wrong_type(path, wanted[i], t.tensor.dtype());
      out.push_back(aligned(std::move(t.tensor)));
    }
    if (count != wanted.size())
      return bad_data(folder + ": " + std::to_string(count) + " files of " +
                      std::string(word(part)) + "s, expected " + std::to_string(wanted.size()));
    return out;
  }

  Result<std::string> digest(const GoldenSample& sample) const override {
    const std::string folder = directory_ + "/" + sample.file;
    Sha256 d;
    for (const GoldenPart part : {GoldenPart::kInputs, GoldenPart::kOutputs}) {
      ONNXTOOL_ASSIGN(const size_t count, count_files(folder, part));
      for (size_t i = 0; i < count; ++i) {
        ONNXTOOL_ASSIGN(const std::shared_ptr<const MappedFile> file,
                        open_pb(folder + "/" + tensor_file(part, i)));
        d.add(tensor_file(part, i) + " " + std::to_string(file->bytes().size()) + "\n");
        d.add(file->bytes());
      }
    }
    return d.hex();
  }

 private:
  std::string directory_;
};

Result<std::vector<GoldenTensor>> describe(const std::string& folder, GoldenPart part) {
  ONNXTOOL_ASSIGN(const size_t count, count_files(folder, part));
  std::vector<GoldenTensor> out;
  for (size_t i = 0; i < count; ++i) {
    ONNXTOOL_ASSIGN(const NamedTensor t, read_pb(folder + "/" + tensor_file(part, i)));
    out.push_back({t.name.empty() ? std::string(word(part)) + "_" + std::to_string(i) : t.name,
                   t.tensor.dtype()});
  }
  return out;
}

// With a gap too, which whoever reads them is told of.
bool has_outputs(const std::string& folder) {
  const auto count = count_files(folder, GoldenPart::kOutputs);
  return !count.ok() || *count > 0;
}

// The folders of test data in a directory, in the order of their numbers.
std::vector<std::string> folders_in(const std::string& directory) {
  std::vector<std::string> out;
  const auto entries = list_directory(directory);
  if (!entries.ok()) return out;
  for (const DirectoryEntry& entry : *entries)
    if (entry.is_directory && entry.name.starts_with(kSet) && has_outputs(entry.path))
      out.push_back(entry.name);
  return out;
}

// All test data of the directory is in these folders: what lost its outputs must not go by unseen.
Status expect_all(const std::string& directory, const std::vector<std::string>& folders) {
  ONNXTOOL_ASSIGN(const auto entries, list_directory(directory));
  std::set<size_t> numbers;
  for (const DirectoryEntry& entry : entries) {
    if (!entry.is_directory || !entry.name.starts_with(kSet)) continue;
    if (std::ranges::find(folders, entry.name) == folders.end())
      return bad_data(entry.path + ": has no " + tensor_file(GoldenPart::kOutputs, 0) +
                          ", though others of these folders have outputs",
                      "restore its outputs, or remove the folder");
    size_t number = 0;
    const char* end = entry.name.data() + entry.name.size();
    const auto parsed = std::from_chars(entry.name.data() + kSet.size(), end, number);
    if (parsed.ec == std::errc() && parsed.ptr == end) numbers.insert(number);
  }
  size_t expected = numbers.empty() ? 0 : *numbers.begin();
  for (const size_t n : numbers)
    if (n != expected++)
      return bad_data(directory + ": " + std::string(kSet) + std::to_string(n) +
                          " is there, but not " + std::string(kSet) + std::to_string(expected - 1),
                      "restore the missing folder, or number the folders without gaps");
  return {};
}

}  // namespace

std::unique_ptr<GoldenStore> open_golden_store(const std::string& directory, GoldenForm form) {
  if (form == GoldenForm::kTestData) return std::make_unique<TestDataStore>(directory);
  return std::make_unique<SafetensorsStore>(directory);
}

Status write_golden_sample(const AtomicDirectory& directory, GoldenForm form,
                           const std::string& name, const std::vector<NamedTensor>& inputs,
                           const std::vector<NamedTensor>& outputs, GoldenSample& sample) {
  Sha256 digest;
  if (form == GoldenForm::kSafetensors) {
    std::vector<NamedTensor> tensors;
    for (const NamedTensor& t : inputs) tensors.push_back({"input/" + t.name, t.tensor});
    for (const NamedTensor& t : outputs) tensors.push_back({"output/" + t.name, t.tensor});
    ONNXTOOL_ASSIGN(const std::string bytes, safetensors_bytes(tensors));
    sample.file = name + ".safetensors";
    digest.add(std::string_view(bytes));
    sample.sha256 = digest.hex();
    return directory.write("samples/" + sample.file, std::as_bytes(std::span(bytes)));
  }
  sample.file = name;
  const auto put = [&](GoldenPart part, const std::vector<NamedTensor>& tensors) -> Status {
    for (size_t i = 0; i < tensors.size(); ++i) {
      const std::string bytes = encode_tensor(tensors[i].name, tensors[i].tensor).flatten();
      digest.add(tensor_file(part, i) + " " + std::to_string(bytes.size()) + "\n");
      digest.add(std::string_view(bytes));
      ONNXTOOL_TRY(
          directory.write(name + "/" + tensor_file(part, i), std::as_bytes(std::span(bytes))));
    }
    return {};
  };
  ONNXTOOL_TRY(put(GoldenPart::kInputs, inputs));
  ONNXTOOL_TRY(put(GoldenPart::kOutputs, outputs));
  sample.sha256 = digest.hex();
  return {};
}

bool has_test_data_sets(const std::string& directory) {
  return has_outputs(directory) || !folders_in(directory).empty();
}

Result<Golden> describe_test_data_sets(std::string& directory) {
  Golden g;
  g.form = GoldenForm::kTestData;
  std::vector<std::string> folders;
  if (has_outputs(directory)) {
    const fs::path path = fs::path(directory).lexically_normal();
    folders = {path.has_filename() ? path.filename().string() : "."};
    if (folders[0] == "." || folders[0] == "..") {
      directory += "/..";  // of the folder that one stands in
      std::error_code e;
      folders = {fs::canonical(path, e).filename().string()};
    } else {
      directory = path.has_parent_path() ? path.parent_path().string() : ".";
    }
  } else {
    folders = folders_in(directory);
    ONNXTOOL_TRY(expect_all(directory, folders));
  }
  ONNXTOOL_CHECK(!folders.empty());
  ONNXTOOL_ASSIGN(g.inputs, describe(directory + "/" + folders[0], GoldenPart::kInputs));
  ONNXTOOL_ASSIGN(g.outputs, describe(directory + "/" + folders[0], GoldenPart::kOutputs));
  for (const std::string& folder : folders) g.samples.push_back({folder, folder, -1, {}});
  return g;
}

}  // namespace onnxtool
