#include "engine/weights/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/quote.h"
#include "engine/weights/safetensors_header.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data is little-endian and is used as it lies in the file"
#endif

namespace ration {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100000000;  // the reference implementation's limit

std::optional<StoredDType> DTypeOf(absl::string_view text) {
  if (text == "F32") return StoredDType::kF32;
  if (text == "F16") return StoredDType::kF16;
  if (text == "BF16") return StoredDType::kBF16;
  return std::nullopt;
}

// The tensor's bytes by dtype and shape, or nullopt if they exceed int64.
std::optional<uint64_t> NumBytes(StoredDType dtype, const std::vector<uint64_t>& shape) {
  constexpr uint64_t kLimit = std::numeric_limits<int64_t>::max();
  uint64_t bytes = dtype == StoredDType::kF32 ? 4 : 2;
  bool empty = false;
  for (uint64_t dim : shape) {
    if (dim > kLimit) return std::nullopt;
    if (dim == 0) {
      empty = true;
    } else if (bytes > kLimit / dim) {  // also of an empty tensor: its strides would overflow
      return std::nullopt;
    } else {
      bytes *= dim;
    }
  }
  return empty ? 0 : bytes;
}

absl::Status FileError(const std::string& path, absl::string_view action, int error) {
  const std::string message = absl::StrCat(path, ": cannot ", action, ": ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  return absl::InvalidArgumentError(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Parse(absl::string_view bytes,
                                                                        const std::string& name) {
  const auto error = [&name](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", parts...));
  };
  if (bytes.size() < 8)
    return error("is ", bytes.size(), " bytes long, too short for a safetensors file (8 bytes of header length)");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes) {
    return error("header length ", header_bytes, " exceeds the limit of ", kMaxHeaderBytes,
                 " bytes (not a safetensors file?)");
  }
  if (header_bytes > bytes.size() - 8) {
    return error("header length ", header_bytes, " exceeds the ", bytes.size() - 8,
                 " bytes that follow it (truncated?)");
  }
  const absl::string_view header = bytes.substr(8, header_bytes);
  const absl::string_view data = bytes.substr(8 + header_bytes);
  absl::StatusOr<std::vector<SafetensorsEntry>> parsed = ParseSafetensorsHeader(header);
  if (!parsed.ok()) return error(parsed.status().message());
  std::vector<SafetensorsEntry>& entries = *parsed;

  auto file = absl::WrapUnique(new SafetensorsFile);
  file->path_ = name;
  for (const SafetensorsEntry& entry : entries) {
    const std::string where = absl::StrCat("tensor ", Quoted(entry.name), ": ");
    const std::optional<StoredDType> dtype = DTypeOf(entry.dtype);
    if (!dtype) return error(where, "dtype ", Quoted(entry.dtype), " is not supported (F32, F16 and BF16 are)");
    const std::optional<uint64_t> num_bytes = NumBytes(*dtype, entry.shape);
    const std::string shape = absl::StrCat("[", absl::StrJoin(entry.shape, ", "), "]");
    if (!num_bytes) return error(where, "shape ", shape, " has too many elements");
    const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
    if (begin > end) return error(where, "data_offsets [", begin, ", ", end, "] run backwards");
    if (end > data.size()) {
      return error(where, "data_offsets [", begin, ", ", end, "] exceed the ", data.size(),
                   " bytes of data in the file (truncated?)");
    }
    if (end - begin != *num_bytes) {
      return error(where, "data_offsets [", begin, ", ", end, "] span ", end - begin, " bytes, but ", entry.dtype,
                   " of shape ", shape, " needs ", *num_bytes);
    }
    TensorInfo info;
    info.dtype = *dtype;
    info.shape.assign(entry.shape.begin(), entry.shape.end());
    info.data = reinterpret_cast<const uint8_t*>(data.data()) + begin;
    info.num_bytes = static_cast<int64_t>(*num_bytes);
    file->tensors_.emplace(entry.name, std::move(info));
  }

  // The format wants the tensors to tile the data section: bytes that no tensor owns, or that two own, are a broken or
  // forged file.
  std::sort(entries.begin(), entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) { return a.offsets < b.offsets; });
  uint64_t tiled = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.offsets[0] < tiled) {
      return error("tensor ", Quoted(entry.name), ": starts at ", entry.offsets[0],
                   " inside another tensor that ends at ", tiled);
    }
    if (entry.offsets[0] > tiled) {
      return error("tensor ", Quoted(entry.name), ": starts at ", entry.offsets[0], ", which leaves a hole after ",
                   tiled);
    }
    tiled = entry.offsets[1];
  }
  if (tiled != data.size()) return error(data.size() - tiled, " bytes after the last tensor belong to none");
  return file;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  // O_NONBLOCK: a named pipe must not hang the server; it is refused below.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return FileError(path, "open", errno);
  const auto close_fd = absl::MakeCleanup([fd] { close(fd); });
  struct stat info;
  if (fstat(fd, &info) != 0) return FileError(path, "stat", errno);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": is not a regular file"));
  const size_t size = static_cast<size_t>(info.st_size);
  if (size == 0) return Parse("", path);  // says that it is too short; mmap would fail with EINVAL
  void* mapping = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapping == MAP_FAILED) return FileError(path, "map", errno);
  auto file = Parse(absl::string_view(static_cast<const char*>(mapping), size), path);
  if (!file.ok()) {
    munmap(mapping, size);
    return file.status();
  }
  (*file)->mapping_ = mapping;
  (*file)->mapping_bytes_ = size;
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
}

void SafetensorsFile::ReleasePages() const {
  if (mapping_ != nullptr) madvise(mapping_, mapping_bytes_, MADV_DONTNEED);  // never written, so they come back from the file
}

const SafetensorsFile::TensorInfo* SafetensorsFile::Find(absl::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

}  // namespace ration
