// Temporary files for the tests of calib/data.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "calib/data/source.h"
#include "libopt/ir/tensor.h"

namespace onnxtool::data_test {

/// A directory that goes with the test.
class TempDir {
 public:
  TempDir() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "onnxtool-data-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path(std::string_view name = {}) const {
    return (name.empty() ? path_ : path_ / name).string();
  }
  /// Writes a file, with the directories that lead to it.
  std::string write(std::string_view name, std::string_view bytes) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
    return file.string();
  }
  void directory(std::string_view name) const { std::filesystem::create_directories(path_ / name); }

 private:
  std::filesystem::path path_;
};

inline std::string fixture(std::string_view name) {
  return (std::filesystem::path(ONNXTOOL_SOURCE_DIR) / "testdata" / "data" / name).string();
}

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE_MESSAGE(in.good(), path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  std::string s(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(s.data(), values.data(), s.size());
  return s;
}

/// A version 1 .npy with this header text (padded as NumPy does) and payload.
inline std::string npy_with_header(std::string header, std::string_view payload) {
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string s("\x93NUMPY\x01\x00", 8);
  s += static_cast<char>(header.size() & 255);
  s += static_cast<char>(header.size() >> 8);
  return s.append(header).append(payload);
}

template <class T>
std::string npy(std::string_view descr, const std::vector<int64_t>& dims,
                const std::vector<T>& values) {
  std::string shape;
  for (int64_t d : dims) shape += std::to_string(d) + ", ";
  return npy_with_header(
      "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (" + shape + "), }",
      bytes_of(values));
}
inline std::string npy_f32(const std::vector<int64_t>& dims, const std::vector<float>& values) {
  return npy("<f4", dims, values);
}

/// A zip of stored entries: what a reader may believe of it is up to the caller.
struct ZipEntryText {
  std::string name;
  std::string bytes;
  uint16_t method = 0;
  uint32_t claimed_size = UINT32_MAX;  // UINT32_MAX: the size of `bytes`
};
std::string zip_of(const std::vector<ZipEntryText>& entries);

/// A TensorProto of raw data.
std::string tensor_proto(const Tensor& tensor, std::string_view name);

inline InputSpec spec(std::string name, DataType dtype, std::vector<int64_t> dims) {
  return {std::move(name), dtype, std::move(dims), true};
}
inline InputSpec float_spec(std::string name, std::vector<int64_t> dims) {
  return spec(std::move(name), DataType::kFloat, std::move(dims));
}

using Floats = std::vector<float>;
using Dims = std::vector<int64_t>;

inline Floats floats(const Tensor& t) {
  REQUIRE(t.dtype() == DataType::kFloat);
  return t.values<float>();
}

inline DataOptions stacked(int64_t axis = 0) {
  DataOptions options;
  options.batch_axis = axis;
  return options;
}

inline DataOptions forced(DataFormat format) {
  DataOptions options;
  options.format = format;
  return options;
}

/// Opens, or fails the test with the error.
std::unique_ptr<SampleSource> open_ok(const std::string& path, const DataOptions& options,
                                      const std::vector<InputSpec>& specs);
Sample read_ok(const SampleSource& source, int64_t index);
/// The error of opening and reading everything; fails the test when there is none.
Error error_of(const std::string& path, const DataOptions& options,
               const std::vector<InputSpec>& specs);

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace onnxtool::data_test

/// The message or hint holds every part, and reads as STYLE.md wants: lower case, no final period.
#define CHECK_ERROR(error_expression, expected_code, ...)                           \
  do {                                                                              \
    const ::onnxtool::Error checked_error = (error_expression);                     \
    CHECK_MESSAGE(checked_error.code == (expected_code), checked_error.message);    \
    for (const std::string& part : std::initializer_list<std::string>{__VA_ARGS__}) \
      CHECK_MESSAGE(::onnxtool::data_test::contains(                                \
                        checked_error.message + "\n" + checked_error.hint, part),   \
                    "'" << part << "' is not in: " << checked_error.message         \
                        << "\nhint: " << checked_error.hint);                       \
    CHECK(!checked_error.message.ends_with('.'));                                   \
  } while (false)
