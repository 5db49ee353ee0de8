// JPEG by libjpeg-turbo with its defaults (integer DCT, smooth upsampling), which are Pillow's too.

#include <csetjmp>
#include <cstddef>
#include <cstdio>

#include <jpeglib.h>
// jerror.h needs jpeglib.h before it
#include <jerror.h>

#include "calib/images/decoder.h"

namespace onnxtool {
namespace {

// A progressive file of a few bytes can name as many scans as it likes, each a pass over all
// pixels.
constexpr int kMaxScans = 500;

// libjpeg reports through callbacks that must not return; the first member is what it knows of.
struct ErrorState {
  jpeg_error_mgr manager;
  std::jmp_buf leave;
  char message[JMSG_LENGTH_MAX];
};

extern "C" {
static void on_error(j_common_ptr info) {
  auto* state = reinterpret_cast<ErrorState*>(info->err);
  state->manager.format_message(info, state->message);
  std::longjmp(state->leave, 1);
}
// Warnings are about data that most decoders accept. A file that ends early is not: its missing
// part would be grey.
static void on_message(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) on_error(info);
}
static void on_progress(j_common_ptr info) {
  const auto* decoder = reinterpret_cast<j_decompress_ptr>(info);
  if (decoder->input_scan_number <= kMaxScans) return;
  auto* state = reinterpret_cast<ErrorState*>(info->err);
  std::snprintf(state->message, sizeof state->message, "more than %d scans", kMaxScans);
  std::longjmp(state->leave, 1);
}
}

struct Decoder {
  jpeg_decompress_struct info = {};
  ErrorState error = {};
  jpeg_progress_mgr progress = {};

  Decoder() {
    info.err = jpeg_std_error(&error.manager);
    error.manager.error_exit = on_error;
    error.manager.emit_message = on_message;
    progress.progress_monitor = on_progress;
  }
  ~Decoder() { jpeg_destroy_decompress(&info); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // The three steps hold nothing with a destructor: longjmp leaves them. False: see error.message.
  bool start(std::span<const std::byte> bytes) {
    if (setjmp(error.leave)) return false;
    jpeg_create_decompress(&info);
    info.progress = &progress;
    jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()),
                 static_cast<unsigned long>(bytes.size()));
    jpeg_read_header(&info, TRUE);
    return true;
  }
  bool begin_rows() {
    if (setjmp(error.leave)) return false;
    jpeg_start_decompress(&info);
    return true;
  }
  bool read_rows(uint8_t* pixels, size_t row_bytes) {
    if (setjmp(error.leave)) return false;
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = pixels + info.output_scanline * row_bytes;
      jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
    return true;
  }
};

// a * b / 255, rounded.
unsigned scale_255(unsigned a, unsigned b) {
  const unsigned t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

}  // namespace

Result<Image> decode_jpeg(std::span<const std::byte> bytes) {
  Decoder decoder;
  const auto failed = [&] {
    return bad_image(std::string("not a readable JPEG: ") + decoder.error.message);
  };
  if (!decoder.start(bytes)) return failed();
  jpeg_decompress_struct& info = decoder.info;
  ONNXTOOL_TRY(check_image_size(info.image_height, info.image_width));
  const bool inverted_cmyk = info.num_components == 4;
  if (info.num_components == 1) {
    info.out_color_space = JCS_GRAYSCALE;
  } else if (info.num_components == 3) {
    info.out_color_space = JCS_RGB;
  } else if (inverted_cmyk) {
    info.out_color_space = JCS_CMYK;
  } else {
    return bad_image("JPEG with " + std::to_string(info.num_components) +
                     " channels, expected 1, 3 or 4");
  }
  if (!decoder.begin_rows()) return failed();

  const size_t channels = static_cast<size_t>(info.output_components);
  const size_t count = static_cast<size_t>(info.output_height) * info.output_width;
  std::vector<uint8_t> pixels(count * channels);
  if (!decoder.read_rows(pixels.data(), info.output_width * channels)) return failed();
  if (inverted_cmyk) {
    // What Adobe stores is 255 - ink, that is, how much light each ink lets through.
    for (size_t i = 0; i < count; ++i)
      for (size_t c = 0; c < 3; ++c) {
        const unsigned light = pixels[i * 4 + 3], ink = 255u - pixels[i * 4 + c];
        pixels[i * 3 + c] = static_cast<uint8_t>(light - scale_255(ink, light));
      }
    pixels.resize(count * 3);
  }
  return Image{info.output_height, info.output_width, info.num_components == 1 ? 1 : 3,
               std::move(pixels)};
}

}  // namespace onnxtool
