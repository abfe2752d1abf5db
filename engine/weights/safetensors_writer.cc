#include "engine/weights/safetensors_writer.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/base/strict_json.h"

namespace ration {
namespace {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector load

absl::Status SystemError(const std::string& path, absl::string_view action, int error) {
  const std::string message = absl::StrCat(path, ": cannot ", action, ": ", std::strerror(error));
  if (error == EACCES || error == EPERM || error == EROFS) return absl::PermissionDeniedError(message);
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(message);
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

const char* DTypeName(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "F32";
    case at::kHalf:
      return "F16";
    case at::kBFloat16:
      return "BF16";
    default:
      return nullptr;
  }
}

// A file under a temporary name that vanishes unless it is committed.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& path) : path_(path), name_(path + ".tmp.XXXXXX") {}
  ~TemporaryFile() {
    if (fd_ >= 0) close(fd_);
    if (!name_.empty() && created_) unlink(name_.c_str());
  }

  absl::Status Create() {
    fd_ = mkostemp(name_.data(), O_CLOEXEC);
    if (fd_ < 0) return SystemError(path_, "create", errno);
    created_ = true;
    if (fchmod(fd_, 0644) != 0) return SystemError(path_, "set the mode of", errno);
    return absl::OkStatus();
  }

  absl::Status Write(const void* data, size_t size) {
    const char* next = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t written = write(fd_, next, std::min<size_t>(size, size_t{1} << 30));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return SystemError(path_, "write", errno);
      next += written;
      size -= static_cast<size_t>(written);
    }
    return absl::OkStatus();
  }

  absl::Status Commit() {
    if (fsync(fd_) != 0) return SystemError(path_, "sync", errno);
    const int fd = std::exchange(fd_, -1);
    if (close(fd) != 0) return SystemError(path_, "close", errno);
    if (rename(name_.c_str(), path_.c_str()) != 0) return SystemError(path_, "rename to", errno);
    created_ = false;
    return absl::OkStatus();
  }

 private:
  const std::string path_;
  std::string name_;
  int fd_ = -1;
  bool created_ = false;
};

}  // namespace

absl::Status WriteSafetensors(const std::string& path, const absl::btree_map<std::string, at::Tensor>& tensors,
                              const absl::btree_map<std::string, std::string>& metadata) {
  try {
    // Wider elements first: with no holes allowed between tensors, this alone keeps every tensor aligned to its element
    // size.
    std::vector<std::pair<std::string, at::Tensor>> ordered;
    for (const auto& [name, tensor] : tensors) {
      if (!tensor.defined() || DTypeName(tensor.scalar_type()) == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": tensor ", Quoted(name), ": dtype ",
                         tensor.defined() ? at::toString(tensor.scalar_type()) : "undefined",
                         " cannot be stored (kFloat, kHalf and kBFloat16 can)"));
      }
      ordered.emplace_back(name, tensor.detach().to(at::kCPU).contiguous());
    }
    std::stable_sort(ordered.begin(), ordered.end(),
                     [](const auto& a, const auto& b) { return a.second.element_size() > b.second.element_size(); });

    nlohmann::json header = nlohmann::json::object();
    if (!metadata.empty())
      header["__metadata__"] = std::map<std::string, std::string>(metadata.begin(), metadata.end());
    int64_t offset = 0;
    for (const auto& [name, tensor] : ordered) {
      if (name == "__metadata__")
        return absl::InvalidArgumentError(absl::StrCat(path, ": a tensor cannot be named __metadata__"));
      const int64_t end = offset + static_cast<int64_t>(tensor.nbytes());
      header[name] = {
          {"dtype", DTypeName(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
      offset = end;
    }
    std::string text = header.dump();
    while ((8 + text.size()) % kAlignment != 0) text.push_back(' ');
    const uint64_t header_bytes = text.size();

    TemporaryFile file(path);
    RATION_RETURN_IF_ERROR(file.Create());
    RATION_RETURN_IF_ERROR(file.Write(&header_bytes, sizeof(header_bytes)));
    RATION_RETURN_IF_ERROR(file.Write(text.data(), text.size()));
    for (const auto& [name, tensor] : ordered) RATION_RETURN_IF_ERROR(file.Write(tensor.data_ptr(), tensor.nbytes()));
    return file.Commit();
  } catch (const nlohmann::json::exception& error) {  // a name that is not UTF-8
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", JsonErrorText(error.what())));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(path, ": ", error.what()));
  }
}

}  // namespace ration
