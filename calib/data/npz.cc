#include "calib/data/npz.h"

#include <zip.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>

#include "calib/data/npy.h"

namespace onnxtool {
namespace {

// Deflate codes at most 258 bytes in two bits.
constexpr uint64_t kMaxDeflateRatio = 1032;

// libzip's handles are not thread safe: one lock serves all entries of an archive.
struct Archive {
  std::string path;
  zip_t* zip = nullptr;
  std::mutex lock;
  uint64_t kept_bytes = 0;
  uint64_t max_memory_bytes = 0;

  ~Archive() {
    if (zip) zip_discard(zip);
  }
};

struct CloseEntry {
  void operator()(zip_file_t* f) const { zip_fclose(f); }
};
using EntryHandle = std::unique_ptr<zip_file_t, CloseEntry>;

class ZipEntry final : public ByteSource {
 public:
  ZipEntry(std::shared_ptr<Archive> archive, uint64_t index, uint64_t size, bool stored, bool keep,
           std::string place)
      : archive_(std::move(archive)),
        index_(index),
        size_(size),
        stored_(stored),
        keep_(keep),
        place_(std::move(place)) {}

  uint64_t size() const override { return size_; }

  Status read_at(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > size_ || out.size() > size_ - offset)
      return bad_data(place_ + ": ends within the array");
    const std::lock_guard guard(archive_->lock);
    // The header's few bytes are unpacked each time; so is an array that is read once.
    if (keep_ && !stored_ && offset > 0 && kept_.empty() && out.size() > 0) ONNXTOOL_TRY(unpack());
    if (!kept_.empty()) {
      std::memcpy(out.data(), kept_.data() + offset, out.size());
      return {};
    }
    ONNXTOOL_ASSIGN(EntryHandle entry, open());
    // Slices of a stored array are sought; all else is read from the start, so that its end tells
    // the checksum.
    const bool seek = stored_ && keep_;
    if (seek) {
      if (offset > 0 && zip_fseek(entry.get(), static_cast<zip_int64_t>(offset), SEEK_SET) != 0)
        return failed(entry.get());
    } else {
      ONNXTOOL_TRY(skip(entry.get(), offset));
    }
    ONNXTOOL_TRY(fill(entry.get(), out));
    if (offset + out.size() == size_ && !seek) ONNXTOOL_TRY(expect_end(entry.get()));
    return {};
  }

 private:
  Status failed(zip_file_t* entry) const {
    return bad_data(place_ + ": cannot unpack: " + zip_error_strerror(zip_file_get_error(entry)));
  }
  Result<EntryHandle> open() const {
    EntryHandle entry(zip_fopen_index(archive_->zip, index_, 0));
    if (!entry)
      return bad_data(place_ +
                      ": cannot unpack: " + zip_error_strerror(zip_get_error(archive_->zip)));
    return entry;
  }
  Status fill(zip_file_t* entry, std::span<std::byte> out) const {
    size_t done = 0;
    while (done < out.size()) {
      const zip_int64_t n = zip_fread(entry, out.data() + done, out.size() - done);
      if (n < 0) return failed(entry);
      if (n == 0)
        return bad_data(place_ + ": unpacks to fewer bytes than the archive says, expected " +
                        std::to_string(size_));
      done += static_cast<size_t>(n);
    }
    return {};
  }
  Status skip(zip_file_t* entry, uint64_t count) const {
    std::byte buffer[4096];
    while (count > 0) {
      const auto n = static_cast<size_t>(std::min<uint64_t>(count, sizeof buffer));
      ONNXTOOL_TRY(fill(entry, std::span(buffer, n)));
      count -= n;
    }
    return {};
  }
  Status expect_end(zip_file_t* entry) const {
    std::byte extra;
    const zip_int64_t n = zip_fread(entry, &extra, 1);
    if (n < 0) return failed(entry);
    if (n > 0)
      return bad_data(place_ + ": unpacks to more bytes than the archive says, expected " +
                      std::to_string(size_));
    return {};
  }
  Status unpack() const {
    if (archive_->max_memory_bytes > 0 &&
        size_ >
            archive_->max_memory_bytes - std::min(archive_->kept_bytes, archive_->max_memory_bytes))
      return Error{ErrorCode::kLimit,
                   place_ + ": takes " + std::to_string(size_) +
                       " bytes unpacked, over the limit of --max-memory",
                   "raise --max-memory, or save the archive uncompressed (numpy.savez) so that "
                   "samples are read one by one"};
    ONNXTOOL_ASSIGN(EntryHandle entry, open());
    // Memory follows what really comes out of the archive, not what it claims.
    std::vector<std::byte> bytes;
    constexpr size_t kStep = 16 << 20;
    while (bytes.size() < size_) {
      const size_t begin = bytes.size();
      bytes.resize(begin + static_cast<size_t>(std::min<uint64_t>(kStep, size_ - begin)));
      ONNXTOOL_TRY(fill(entry.get(), std::span(bytes).subspan(begin)));
    }
    ONNXTOOL_TRY(expect_end(entry.get()));
    kept_ = std::move(bytes);
    archive_->kept_bytes += size_;
    return {};
  }

  std::shared_ptr<Archive> archive_;
  uint64_t index_;
  uint64_t size_;
  bool stored_;
  bool keep_;
  std::string place_;
  mutable std::vector<std::byte> kept_;  // guarded by the archive's lock
};

}  // namespace

Result<std::vector<StoredArray>> open_npz(const std::string& path, bool keep_unpacked,
                                          uint64_t max_memory_bytes) {
  // Opened once by us first: libzip's own message for a directory or a FIFO would mislead.
  ONNXTOOL_ASSIGN(std::shared_ptr<const DataFile> file, DataFile::open(path));
  auto archive = std::make_shared<Archive>();
  archive->path = path;
  archive->max_memory_bytes = max_memory_bytes;
  int code = 0;
  archive->zip = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (!archive->zip) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    std::string message = path + ": not a readable .npz archive: " + zip_error_strerror(&error);
    zip_error_fini(&error);
    ONNXTOOL_ASSIGN(std::vector<std::byte> head, file->read_head(kSniffBytes));
    return bad_data(message + "; it " + describe_start(head));
  }

  std::vector<StoredArray> arrays;
  std::set<std::string> names;
  const zip_int64_t count = zip_get_num_entries(archive->zip, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t st;
    if (zip_stat_index(archive->zip, static_cast<zip_uint64_t>(i), 0, &st) != 0)
      return bad_data(path + ": cannot read entry " + std::to_string(i) +
                      " of the archive: " + zip_strerror(archive->zip));
    constexpr zip_uint64_t kNeeded =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((st.valid & kNeeded) != kNeeded)
      return bad_data(path + ": entry " + std::to_string(i) + " has no name or size");
    std::string name = st.name;
    if (!name.ends_with(".npy")) continue;
    name.resize(name.size() - 4);
    const std::string place = path + ": array '" + name + "'";
    if (!names.insert(name).second) return bad_data(place + " is there twice");
    if ((st.valid & ZIP_STAT_ENCRYPTION_METHOD) && st.encryption_method != ZIP_EM_NONE)
      return bad_data(place + " is encrypted");
    const bool stored = st.comp_method == ZIP_CM_STORE;
    if (!stored && st.comp_method != ZIP_CM_DEFLATE)
      return bad_data(place + ": compression method " + std::to_string(st.comp_method) +
                      ", expected stored or deflate");
    if (st.comp_size > file->size() || st.size / (stored ? 1 : kMaxDeflateRatio) > st.comp_size)
      return bad_data(place + ": " + std::to_string(st.comp_size) + " bytes cannot unpack to " +
                      std::to_string(st.size));
    auto bytes = std::make_shared<ZipEntry>(archive, static_cast<uint64_t>(i), st.size, stored,
                                            keep_unpacked, place);
    ONNXTOOL_ASSIGN(StoredArray array, read_npy(std::move(bytes), std::move(name), place));
    arrays.push_back(std::move(array));
  }
  if (arrays.empty()) return bad_data(path + ": the archive holds no .npy array");
  return arrays;
}

}  // namespace onnxtool
