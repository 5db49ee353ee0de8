#include "libopt/support/sha256.h"

#include <openssl/evp.h>

#include "libopt/support/status.h"

namespace onnxtool {

struct Sha256::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  ONNXTOOL_CHECK(impl_->context && EVP_DigestInit_ex(impl_->context, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;

void Sha256::add(std::span<const std::byte> bytes) {
  ONNXTOOL_CHECK(EVP_DigestUpdate(impl_->context, bytes.data(), bytes.size()) == 1);
}

std::array<unsigned char, 32> Sha256::finish() {
  std::array<unsigned char, 32> digest;
  ONNXTOOL_CHECK(EVP_DigestFinal_ex(impl_->context, digest.data(), nullptr) == 1);
  return digest;
}

std::array<uint64_t, 4> Sha256::words() {
  std::array<uint64_t, 4> out = {};
  const std::array<unsigned char, 32> digest = finish();
  for (size_t i = 0; i < digest.size(); ++i) out[i / 8] = out[i / 8] << 8 | digest[i];
  return out;
}

std::string Sha256::hex() {
  std::string out;
  for (const unsigned char b : finish()) {
    out += "0123456789abcdef"[b >> 4];
    out += "0123456789abcdef"[b & 15];
  }
  return out;
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace onnxtool
