// Netpbm's grey and colour maps, plain (P2, P3) and raw (P5, P6).

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "calib/images/decoder.h"

namespace onnxtool {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  // A decimal number after spaces and comments; nullopt for anything else or beyond 9 digits.
  std::optional<int64_t> number() {
    while (!rest_.empty() && (is_space(rest_[0]) || rest_[0] == '#')) {
      if (rest_[0] == '#') rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size() - 1));
      rest_.remove_prefix(1);
    }
    int64_t v = 0;
    size_t digits = 0;
    while (digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9') {
      if (digits == 9) return std::nullopt;
      v = v * 10 + (rest_[digits++] - '0');
    }
    rest_.remove_prefix(digits);
    if (digits == 0) return std::nullopt;
    return v;
  }
  bool one_space() {
    if (rest_.empty() || !is_space(rest_[0])) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace

Result<Image> decode_ppm(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.size() < 3 || text[0] != 'P') return bad_image("not a PPM");
  const char kind = text[1];
  const bool plain = kind == '2' || kind == '3';
  Scanner scanner(text.substr(2));
  const auto width = scanner.number(), height = scanner.number(), maximum = scanner.number();
  if (!width || !height || !maximum)
    return bad_image("not a readable PPM: the header lacks width, height or maximum");
  ONNXTOOL_TRY(check_image_size(*height, *width));
  if (*maximum < 1 || *maximum > 65535)
    return bad_image("PPM with maximum " + std::to_string(*maximum) + ", expected 1 to 65535");
  if (!plain && !scanner.one_space())
    return bad_image("not a readable PPM: no space ends the header");

  Image image{*height, *width, kind == '3' || kind == '6' ? 3 : 1, {}};
  const auto count = static_cast<size_t>(image.height * image.width * image.channels);
  const size_t sample_bytes = plain            ? 2
                              : *maximum > 255 ? 2
                                               : 1;  // plain: a digit and a space at least
  const std::string_view data = scanner.rest();
  if (count * sample_bytes - (plain ? 1 : 0) > data.size())
    return bad_image("PPM ends early: " + std::to_string(data.size()) +
                     " bytes follow the header, expected " + std::to_string(count * sample_bytes) +
                     " for " + std::to_string(image.height) + "x" + std::to_string(image.width));
  const auto to_byte = [&](int64_t v) {
    if (*maximum == 255) return static_cast<uint8_t>(std::min<int64_t>(v, 255));
    const double scaled =
        std::nearbyint(static_cast<double>(v) / static_cast<double>(*maximum) * 255.0);
    return static_cast<uint8_t>(std::min(scaled, 255.0));
  };
  image.pixels.resize(count);
  for (size_t i = 0; i < count; ++i) {
    if (plain) {
      const auto v = scanner.number();
      if (!v)
        return bad_image("PPM ends early: sample " + std::to_string(i) + " of " +
                         std::to_string(count) + " is no number");
      image.pixels[i] = to_byte(*v);
    } else if (sample_bytes == 1) {
      image.pixels[i] = to_byte(static_cast<unsigned char>(data[i]));
    } else {
      image.pixels[i] = to_byte(static_cast<unsigned char>(data[2 * i]) * 256 +
                                static_cast<unsigned char>(data[2 * i + 1]));
    }
  }
  return image;
}

}  // namespace onnxtool
