// External data: what a model may name, and what it may not.

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "libopt/analysis/seam.h"
#include "libopt/io/decode.h"
#include "libopt/io/encode.h"
#include "libopt/io/load.h"
#include "libopt/io/mapped_file.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

// A directory `models` with data inside, and a secret beside it.
class Sandbox {
 public:
  Sandbox() {
    std::string pattern = (fs::temp_directory_path() / "onnxtool-test-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()));
    root = pattern;
    models = root / "models";
    fs::create_directories(models / "sub");
    write(root / "secret.bin", std::string(8, 's'));
    write(models / "data.bin", std::string("\0\0\x80\x3f\0\0\0\x40", 8));  // 1.0f, 2.0f
    write(models / "sub/data.bin", std::string("\0\0\x80\x3f\0\0\0\x40", 8));
    fs::create_symlink(root / "secret.bin", models / "link.bin");
    fs::create_symlink("data.bin", models / "inner_link.bin");
    fs::create_symlink(root, models / "out");
    fs::create_symlink("sub", models / "sub_link");
    REQUIRE(::mkfifo((models / "pipe").c_str(), 0600) == 0);
  }
  ~Sandbox() { fs::remove_all(root); }

  static void write(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }

  // Loads a model whose weight lies at `location`.
  Result<std::unique_ptr<Model>> load(const std::string& location, uint64_t offset = 0) const {
    auto model = parse_text(
        R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) <float[2] w = {0, 0}> { y = Add (x, w) })");
    REQUIRE(model.ok());
    const ExternalPlace place{location, offset};
    write(models / "model.onnx",
          encode_model(**model, [&](const Tensor&) { return &place; }).flatten());
    return load_model((models / "model.onnx").string());
  }
  std::string error(const std::string& location, uint64_t offset = 0) const {
    const auto loaded = load(location, offset);
    return loaded.ok() ? "ok" : loaded.error().message;
  }

  fs::path root, models;
};

bool says(const std::string& message, const std::string& what) {
  return message.find(what) != std::string::npos;
}

TEST_CASE("external data beneath the model's directory is mapped") {
  const Sandbox box;
  // `..` that only goes back leads nowhere else where no component may be a link.
  for (const char* location : {"data.bin", "./data.bin", "sub/data.bin", "sub/../data.bin",
                               "./sub//.././sub/../data.bin"}) {
    INFO(location);
    const auto model = box.load(location);
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
    CHECK((*model)->had_external_data);
    CHECK((*model)->graph().find("w")->constant()->values<float>() == std::vector<float>{1, 2});
  }
}

TEST_CASE("external data is one mapping however its location is written") {
  const Sandbox box;
  const auto directory = DataDirectory::of_model((box.models / "m.onnx").string());
  REQUIRE(directory.ok());
  const auto first = (*directory)->open("data.bin"), other = (*directory)->open("sub/data.bin");
  REQUIRE(first.ok());
  REQUIRE(other.ok());
  CHECK(*first != *other);
  for (const char* location : {"data.bin", "./data.bin", "sub/../data.bin"}) {
    const auto again = (*directory)->open(location);
    REQUIRE(again.ok());
    CHECK(*again == *first);
  }
}

TEST_CASE("external data cannot leave the model's directory") {
  const Sandbox box;
  CHECK(says(box.error("../secret.bin"), "leaves the directory through '..'"));
  CHECK(says(box.error("sub/../../secret.bin"), "leaves the directory through '..'"));
  CHECK(says(box.error("../models/data.bin"), "leaves the directory through '..'"));
  CHECK(says(box.error("sub/.."), "leaves the directory through '..'"));
  CHECK(says(box.error("out/../data.bin"), "symbolic link"));
  CHECK(says(box.error("none/../data.bin"), "No such file"));
  CHECK(says(box.error(".."), "leaves the directory through '..'"));
  CHECK(says(box.error((box.root / "secret.bin").string()), "absolute path"));
  CHECK(says(box.error("/etc/passwd"), "absolute path"));
  CHECK(says(box.error("link.bin"), "symbolic link"));
  CHECK(says(box.error("inner_link.bin"), "symbolic link"));
  CHECK(says(box.error("out/secret.bin"), "symbolic link"));
  CHECK(says(box.error("sub_link/data.bin"), "symbolic link"));
  CHECK(says(box.error(std::string("data.bin\0.txt", 13)), "not a file name"));
  CHECK(says(box.error(""), "not a file name"));
}

TEST_CASE("external data is a regular file that is there and long enough") {
  const Sandbox box;
  CHECK(says(box.error("missing.bin"), "No such file"));
  CHECK(says(box.error("sub"), "not a regular file"));
  CHECK(
      says(box.error("pipe"), "not a regular file"));  // and opening it must not wait for a writer
  CHECK(says(box.error("data.bin", 4), "at offset 4 needs 8 bytes, but 'data.bin' has 8"));
  CHECK(says(box.error("data.bin", ~uint64_t{0}), "needs 8 bytes"));
}

TEST_CASE("a model without a directory has no external data") {
  const Sandbox box;
  REQUIRE(box.load("data.bin").ok());
  const auto file = MappedFile::open((box.models / "model.onnx").string());
  REQUIRE(file.ok());
  const auto model = decode_model({(*file)->bytes(), *file, nullptr});
  REQUIRE_FALSE(model.ok());
  CHECK(says(model.error().message, "the model was not read from a directory"));
}

TEST_CASE("mapped files say what cannot be opened") {
  const Sandbox box;
  const auto directory = MappedFile::open(box.models.string());
  REQUIRE_FALSE(directory.ok());
  CHECK(says(directory.error().message, "is a directory, expected a file"));
  const auto missing = MappedFile::open((box.models / "none").string());
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().code == ErrorCode::kNotFound);
  Sandbox::write(box.models / "empty", "");
  const auto empty = MappedFile::open((box.models / "empty").string());
  REQUIRE(empty.ok());
  CHECK((*empty)->bytes().empty());
}

}  // namespace
}  // namespace onnxtool
