// SHA-256 digests.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace onnxtool {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text.data(), text.size()))); }
  /// 64 lower-case hex digits. Either this or words() is called, once.
  std::string hex();
  /// The digest as a number, most significant word first.
  std::array<uint64_t, 4> words();

 private:
  std::array<unsigned char, 32> finish();

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Whether the text is a digest as hex() gives it.
bool is_sha256(std::string_view text);

}  // namespace onnxtool
