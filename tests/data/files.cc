#include "tests/data/files.h"

namespace onnxtool::data_test {
namespace {

void put(std::string& s, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i, value >>= 8) s += static_cast<char>(value & 255);
}

uint32_t crc32_of(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

void put_varint(std::string& s, uint64_t v) {
  for (; v > 127; v >>= 7) s += static_cast<char>((v & 127) | 128);
  s += static_cast<char>(v);
}

}  // namespace

std::string zip_of(const std::vector<ZipEntryText>& entries) {
  std::string file, directory;
  for (const ZipEntryText& e : entries) {
    const uint64_t offset = file.size();
    const uint32_t size =
        e.claimed_size == UINT32_MAX ? static_cast<uint32_t>(e.bytes.size()) : e.claimed_size;
    std::string common;
    put(common, 20, 2);
    put(common, 0, 2);
    put(common, e.method, 2);
    put(common, 0, 4);  // time
    put(common, crc32_of(e.bytes), 4);
    put(common, e.bytes.size(), 4);
    put(common, size, 4);
    put(common, e.name.size(), 2);
    put(common, 0, 2);
    file += "PK\x03\x04" + common + e.name + e.bytes;
    directory += "PK\x01\x02";
    put(directory, 20, 2);
    directory += common;
    put(directory, 0, 2 + 2 + 2 + 4);
    put(directory, offset, 4);
    directory += e.name;
  }
  const uint64_t begin = file.size();
  file += directory + "PK\x05\x06";
  put(file, 0, 4);
  put(file, entries.size(), 2);
  put(file, entries.size(), 2);
  put(file, directory.size(), 4);
  put(file, begin, 4);
  put(file, 0, 2);
  return file;
}

std::string tensor_proto(const Tensor& tensor, std::string_view name) {
  std::string s;
  for (int64_t d : tensor.dims()) {
    s += '\x08';
    put_varint(s, static_cast<uint64_t>(d));
  }
  s += '\x10';
  put_varint(s, static_cast<uint64_t>(tensor.dtype()));
  s += '\x42';
  put_varint(s, name.size());
  s += name;
  s += '\x4a';
  put_varint(s, tensor.size_bytes());
  return s.append(reinterpret_cast<const char*>(tensor.bytes().data()), tensor.size_bytes());
}

std::unique_ptr<SampleSource> open_ok(const std::string& path, const DataOptions& options,
                                      const std::vector<InputSpec>& specs) {
  Result<std::unique_ptr<SampleSource>> source = open_source(path, options, specs);
  if (!source.ok()) FAIL(source.error().message);
  return *std::move(source);
}

Sample read_ok(const SampleSource& source, int64_t index) {
  Result<Sample> sample = source.read(index);
  if (!sample.ok()) FAIL(sample.error().message);
  return *std::move(sample);
}

Error error_of(const std::string& path, const DataOptions& options,
               const std::vector<InputSpec>& specs) {
  Result<std::unique_ptr<SampleSource>> source = open_source(path, options, specs);
  if (!source.ok()) return std::move(source).error();
  for (int64_t i = 0; i < (*source)->size(); ++i) {
    Result<Sample> sample = (*source)->read(i);
    if (!sample.ok()) return std::move(sample).error();
  }
  FAIL("no error from " << path);
  return {};
}

}  // namespace onnxtool::data_test
