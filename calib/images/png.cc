// PNG by libpng. Only the samples matter: gamma, profiles and transparency are left out.

#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "calib/images/decoder.h"

namespace onnxtool {
namespace {

struct Reader {
  std::span<const std::byte> rest;
  std::jmp_buf leave;
  char message[200] = {};
  png_structp png = nullptr;
  png_infop info = nullptr;

  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }

  static void on_error(png_structp png, png_const_charp message) {
    auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
    std::snprintf(reader->message, sizeof reader->message, "%s", message);
    std::longjmp(reader->leave, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep out, size_t count) {
    auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
    if (count > reader->rest.size()) png_error(png, "the file ends early");
    std::memcpy(out, reader->rest.data(), count);
    reader->rest = reader->rest.subspan(count);
  }

  // The steps hold nothing with a destructor: longjmp leaves them. False: see `message`.
  bool read_header() {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (!png) return false;
    if (setjmp(leave)) return false;
    info = png_create_info_struct(png);
    if (!info) png_error(png, "out of memory");
    png_set_read_fn(png, this, on_read);
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff);  // check_image_size() decides
    png_read_info(png, info);
    return true;
  }
  bool set_transforms() {
    if (setjmp(leave)) return false;
    const int type = png_get_color_type(png, info);
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (type == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
    if (png_get_bit_depth(png, info) == 16) png_set_strip_16(png);
    png_set_strip_alpha(png);  // after the palette: its transparency becomes alpha first
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return true;
  }
  bool read_rows(png_bytepp rows) {
    if (setjmp(leave)) return false;
    png_read_image(png, rows);
    png_read_end(png, nullptr);
    return true;
  }
};

}  // namespace

Result<Image> decode_png(std::span<const std::byte> bytes) {
  Reader reader;
  reader.rest = bytes;
  const auto failed = [&] {
    return bad_image(std::string("not a readable PNG: ") + reader.message);
  };
  if (!reader.read_header()) return failed();
  Image image;
  image.height = png_get_image_height(reader.png, reader.info);
  image.width = png_get_image_width(reader.png, reader.info);
  ONNXTOOL_TRY(check_image_size(image.height, image.width));
  if (!reader.set_transforms()) return failed();
  image.channels = png_get_channels(reader.png, reader.info);
  const size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
  ONNXTOOL_CHECK((image.channels == 1 || image.channels == 3) &&
                 row_bytes == static_cast<size_t>(image.width * image.channels));
  image.pixels.resize(static_cast<size_t>(image.height) * row_bytes);
  std::vector<png_bytep> rows(static_cast<size_t>(image.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = image.pixels.data() + y * row_bytes;
  if (!reader.read_rows(rows.data())) return failed();
  return image;
}

}  // namespace onnxtool
