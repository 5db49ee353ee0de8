#include "calib/data/write.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "calib/data/npy.h"
#include "calib/data/safetensors.h"
#include "tests/apps/command_line.h"

namespace onnxtool {
namespace {

using testing::TemporaryDirectory;

Tensor read_back_npy(const TemporaryDirectory& directory, const Tensor& t) {
  const auto bytes = npy_bytes(t);
  REQUIRE(bytes.ok());
  const std::string path = (directory.path() / "t.npy").string();
  testing::write_file(path, *bytes);
  const auto array = open_npy(path, "t");
  REQUIRE(array.ok());
  const auto loaded = load_array(*array, std::nullopt);
  REQUIRE(loaded.ok());
  return *loaded;
}

TEST_CASE("arrays written as .npy read back the same") {
  const TemporaryDirectory directory;
  const Tensor tensors[] = {Tensor::scalar(3.5f), Tensor::vector<int64_t>({-1, 2, 3}),
                            Tensor::from<double>({2, 0, 4}, std::vector<double>{}),
                            Tensor::from<uint8_t>({2, 2}, std::vector<uint8_t>{1, 2, 3, 255}),
                            Tensor::from_strings({2}, {"a", "longer"})};
  for (const Tensor& t : tensors) CHECK(read_back_npy(directory, t).same_content(t));
  const Tensor bf16 =
      Tensor::from_bytes(DataType::kBfloat16, {1}, {std::byte{0x80}, std::byte{0x3f}});
  CHECK(read_back_npy(directory, bf16).same_content(Tensor::vector<float>({1.0f})));
  CHECK(npy_bytes(Tensor::from_strings({1}, {std::string("a\0", 2)})).ok() == false);
  // The payload is aligned, as NumPy's own files are.
  CHECK(npy_bytes(tensors[0])->size() == 128 + 4);
}

TEST_CASE("tensors written as safetensors read back the same, names included") {
  const TemporaryDirectory directory;
  const std::vector<NamedTensor> tensors = {{"a/b:0", Tensor::vector<float>({1, 2})},
                                            {"", Tensor::from<int8_t>({0}, std::vector<int8_t>{})},
                                            {"\"quoted\"", Tensor::scalar<int64_t>(7)}};
  const auto bytes = safetensors_bytes(tensors);
  REQUIRE(bytes.ok());
  const std::string path = (directory.path() / "t.safetensors").string();
  testing::write_file(path, *bytes);
  const auto arrays = open_safetensors(path);
  REQUIRE(arrays.ok());
  REQUIRE(arrays->size() == tensors.size());
  for (const NamedTensor& t : tensors) {
    const auto it = std::find_if(arrays->begin(), arrays->end(),
                                 [&](const StoredArray& a) { return a.name == t.name; });
    REQUIRE(it != arrays->end());
    CHECK(load_array(*it, std::nullopt)->same_content(t.tensor));
  }
  CHECK(safetensors_bytes({{"s", Tensor::from_strings({1}, {"x"})}}).error().code ==
        ErrorCode::kUnsupported);
}

TEST_CASE("names of a model never lead out of the directory") {
  CHECK(safe_file_name("../../etc/passwd") == "_.._.._etc_passwd");
  CHECK(safe_file_name("") == "_");
  CHECK(safe_file_name("..") == "_..");
  CHECK(safe_file_name("a\nb c") == "a_b_c");
  CHECK(safe_file_name(std::string(5000, 'x')).size() == 120);

  const TemporaryDirectory parent;
  const std::string path = (parent.path() / "out").string();
  {
    auto directory = AtomicDirectory::create(path, false);
    REQUIRE(directory.ok());
    const SampleWriter writer(*directory, TensorFileFormat::kNpy,
                              {{"../x", {}}, {"/../x", {}}, {"y", {}}}, 12);
    CHECK(writer.directories() == std::vector<std::string>{"_.._x", "_.._x_2", "y"});
    const std::vector<Datum> outputs(3, Tensor::scalar(1.0f));
    REQUIRE(writer.write(3, "../cat.png", {}, outputs).ok());
    CHECK(!std::filesystem::exists(path));
    REQUIRE(directory->commit().ok());
  }
  CHECK(std::filesystem::exists(path + "/_.._x_2/03-cat.npy"));
  CHECK(testing::snapshot(parent.path()).size() == 7);  // three files in three directories in one
}

TEST_CASE("a directory that is not committed leaves nothing, one that is replaces all") {
  const TemporaryDirectory parent;
  const std::string path = (parent.path() / "out").string();
  std::filesystem::create_directory(path);
  testing::write_file(path + "/old", "old");
  {
    auto directory = AtomicDirectory::create(path, true);
    REQUIRE(directory.ok());
    CHECK(directory->write("a/b", {}).ok());
    CHECK(directory->write("a/b", {}).ok() == false);
  }
  CHECK(testing::snapshot(parent.path()).size() == 2);
  CHECK(AtomicDirectory::create(path, false).error().code == ErrorCode::kWriteFailed);
  {
    auto directory = AtomicDirectory::create(path, true);
    REQUIRE(directory.ok());
    CHECK(directory->write("new", {}).ok());
    CHECK(directory->commit().ok());
  }
  const auto now = testing::snapshot(parent.path());
  CHECK(now.size() == 2);
  CHECK(now.count("out/new") == 1);
}

}  // namespace
}  // namespace onnxtool
