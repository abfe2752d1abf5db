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

#include <nlohmann/json.hpp>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_set.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/base/strict_json.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data is little-endian and is used as it lies in the file"
#endif

namespace ration {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100000000;  // the reference implementation's limit
constexpr size_t kMaxDims = 8;

// One entry of the header, as read; checked against the data section afterwards.
struct Entry {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> offsets;  // [begin, end) in the data section
};

// Reads the header {name: {"dtype", "shape", "data_offsets"}, "__metadata__": {text: text}} event by event, so that anything
// else is refused where it starts and a large header of nonsense costs no memory.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_float(double, const std::string& text) override { return Unexpected(absl::StrCat("the number ", text.substr(0, 40))); }
  bool binary(nlohmann::json::binary_t&) override { return Unexpected("binary data"); }
  bool number_integer(int64_t value) override {  // called for negative numbers only
    return Unexpected(absl::StrCat("the negative number ", value));
  }

  bool number_unsigned(uint64_t value) override {
    if (state_ == State::kShape) {
      if (entry_.shape.size() >= kMaxDims) return Fail(absl::StrCat("shape has more than ", kMaxDims, " dimensions"));
      entry_.shape.push_back(value);
      return true;
    }
    if (state_ == State::kOffsets) {
      if (entry_.offsets.size() >= 2) return Fail("data_offsets has more than 2 entries");
      entry_.offsets.push_back(value);
      return true;
    }
    return Unexpected(absl::StrCat("the number ", value));
  }

  bool string(std::string& value) override {
    if (state_ == State::kMetadata && !expecting_key_) {
      expecting_key_ = true;
      return true;
    }
    if (state_ != State::kTensor || field_ != Field::kDType) return Unexpected(absl::StrCat("the text ", Quoted(value)));
    entry_.dtype = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (state_ == State::kStart) {
      state_ = State::kTop;
    } else if (state_ == State::kTop && expecting_tensor_) {
      state_ = entry_.name == "__metadata__" ? State::kMetadata : State::kTensor;
      expecting_tensor_ = false;
      expecting_key_ = true;
      field_ = Field::kNone;
    } else {
      return Unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (state_ == State::kTop) {
      state_ = State::kEnd;
      return true;
    }
    if (state_ == State::kTensor) {
      if (!(seen_dtype_ && seen_shape_ && seen_offsets_)) {
        return Fail(absl::StrCat(!seen_dtype_ ? "dtype" : !seen_shape_ ? "shape" : "data_offsets", " is missing"));
      }
      if (entry_.offsets.size() != 2) return Fail("data_offsets must have 2 entries");
      entries_.push_back(std::move(entry_));
    }
    entry_ = Entry();
    metadata_keys_.clear();
    seen_dtype_ = seen_shape_ = seen_offsets_ = false;
    state_ = State::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (state_ != State::kTensor || (field_ != Field::kShape && field_ != Field::kOffsets)) return Unexpected("an array");
    state_ = field_ == Field::kShape ? State::kShape : State::kOffsets;
    return true;
  }

  bool end_array() override {
    state_ = State::kTensor;
    field_ = Field::kNone;
    return true;
  }

  bool key(std::string& name) override {
    if (state_ == State::kTop) {
      if (!names_.insert(name).second) return Fail(absl::StrCat("tensor ", Quoted(name), " occurs twice"));
      entry_.name = std::move(name);
      expecting_tensor_ = true;
      return true;
    }
    if (state_ == State::kMetadata) {
      if (!metadata_keys_.insert(name).second) return Fail(absl::StrCat("key ", Quoted(name), " occurs twice"));
      expecting_key_ = false;
      return true;
    }
    bool* seen = nullptr;
    if (name == "dtype") {
      field_ = Field::kDType;
      seen = &seen_dtype_;
    } else if (name == "shape") {
      field_ = Field::kShape;
      seen = &seen_shape_;
    } else if (name == "data_offsets") {
      field_ = Field::kOffsets;
      seen = &seen_offsets_;
    } else {
      return Fail(absl::StrCat("unknown key ", Quoted(name)));
    }
    if (*seen) return Fail(absl::StrCat("key ", Quoted(name), " occurs twice"));
    *seen = true;
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    error_ = absl::StrCat("the header is not valid JSON: ", JsonErrorText(error.what()));
    return false;
  }

  const std::string& error() const { return error_; }
  std::vector<Entry>& entries() { return entries_; }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };
  enum class Field { kNone, kDType, kShape, kOffsets };

  bool Fail(const std::string& what) {
    const bool in_entry = state_ != State::kStart && state_ != State::kTop;
    error_ = in_entry ? absl::StrCat("tensor ", Quoted(entry_.name), ": ", what) : what;
    return false;
  }

  bool Unexpected(const std::string& what) {
    switch (state_) {
      case State::kShape:
        return Fail(absl::StrCat("shape must hold non-negative integers, not ", what));
      case State::kOffsets:
        return Fail(absl::StrCat("data_offsets must hold non-negative integers, not ", what));
      case State::kMetadata:
        return Fail(absl::StrCat("must hold text, not ", what));
      case State::kTensor:
        return Fail(absl::StrCat(field_ == Field::kDType ? "dtype must be text, not " : "its fields must be arrays, not ", what));
      case State::kTop:
        return Fail(absl::StrCat("tensor ", Quoted(entry_.name), " must be an object, not ", what));
      case State::kStart:
      case State::kEnd:
        break;
    }
    return Fail(absl::StrCat("the header must be a JSON object, not ", what));
  }

  State state_ = State::kStart;
  Field field_ = Field::kNone;      // in kTensor: the field whose value comes next
  bool expecting_tensor_ = false;   // in kTop: a key was read, its object comes next
  bool expecting_key_ = true;       // in kMetadata
  bool seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
  Entry entry_;
  std::vector<Entry> entries_;
  absl::flat_hash_set<std::string> names_;
  absl::flat_hash_set<std::string> metadata_keys_;
  std::string error_;
};

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

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Parse(absl::string_view bytes, const std::string& name) {
  const auto error = [&name](const auto&... parts) { return absl::InvalidArgumentError(absl::StrCat(name, ": ", parts...)); };
  if (bytes.size() < 8) return error("is ", bytes.size(), " bytes long, too short for a safetensors file (8 bytes of header length)");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes) {
    return error("header length ", header_bytes, " exceeds the limit of ", kMaxHeaderBytes, " bytes (not a safetensors file?)");
  }
  if (header_bytes > bytes.size() - 8) {
    return error("header length ", header_bytes, " exceeds the ", bytes.size() - 8, " bytes that follow it (truncated?)");
  }
  const absl::string_view header = bytes.substr(8, header_bytes);
  const absl::string_view data = bytes.substr(8 + header_bytes);
  if (header.empty() || header[0] != '{') return error("the header must be a JSON object that starts with '{'");
  // The JSON library takes a NUL byte for the end of the text and ignores the rest.
  if (header.find('\0') != absl::string_view::npos) return error("the header holds a NUL byte");

  HeaderReader reader;
  if (!nlohmann::json::sax_parse(header.data(), header.data() + header.size(), &reader)) return error(reader.error());

  auto file = absl::WrapUnique(new SafetensorsFile);
  file->path_ = name;
  for (const Entry& entry : reader.entries()) {
    const std::string where = absl::StrCat("tensor ", Quoted(entry.name), ": ");
    const std::optional<StoredDType> dtype = DTypeOf(entry.dtype);
    if (!dtype) return error(where, "dtype ", Quoted(entry.dtype), " is not supported (F32, F16 and BF16 are)");
    const std::optional<uint64_t> num_bytes = NumBytes(*dtype, entry.shape);
    const std::string shape = absl::StrCat("[", absl::StrJoin(entry.shape, ", "), "]");
    if (!num_bytes) return error(where, "shape ", shape, " has too many elements");
    const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
    if (begin > end) return error(where, "data_offsets [", begin, ", ", end, "] run backwards");
    if (end > data.size()) {
      return error(where, "data_offsets [", begin, ", ", end, "] exceed the ", data.size(), " bytes of data in the file (truncated?)");
    }
    if (end - begin != *num_bytes) {
      return error(where, "data_offsets [", begin, ", ", end, "] span ", end - begin, " bytes, but ", entry.dtype, " of shape ", shape,
                   " needs ", *num_bytes);
    }
    TensorInfo info;
    info.dtype = *dtype;
    info.shape.assign(entry.shape.begin(), entry.shape.end());
    info.data = reinterpret_cast<const uint8_t*>(data.data()) + begin;
    info.num_bytes = static_cast<int64_t>(*num_bytes);
    file->tensors_.emplace(entry.name, std::move(info));
  }

  // The format wants the tensors to tile the data section: bytes that no tensor owns, or that two own, are a broken or forged file.
  std::vector<Entry>& entries = reader.entries();
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.offsets < b.offsets; });
  uint64_t tiled = 0;
  for (const Entry& entry : entries) {
    if (entry.offsets[0] < tiled) {
      return error("tensor ", Quoted(entry.name), ": starts at ", entry.offsets[0], " inside another tensor that ends at ", tiled);
    }
    if (entry.offsets[0] > tiled) {
      return error("tensor ", Quoted(entry.name), ": starts at ", entry.offsets[0], ", which leaves a hole after ", tiled);
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

const SafetensorsFile::TensorInfo* SafetensorsFile::Find(absl::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

}  // namespace ration
