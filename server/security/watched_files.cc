#include "server/security/watched_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/security/sha256.h"

namespace ration {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;

absl::Status CannotRead(const WatchedFiles::File& file, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("--", file.flag, ": cannot read ", file.path, ": ", why));
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const WatchedFiles::File& file) {
  // Not blocking: opening a pipe that nobody writes to would.
  const int fd = open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return CannotRead(file, std::strerror(errno));
  std::string content;
  absl::Status status;
  struct stat info {};
  if (fstat(fd, &info) != 0) {
    status = CannotRead(file, std::strerror(errno));
  } else if (!S_ISREG(info.st_mode)) {
    status = CannotRead(file, "not a regular file");
  }
  char buffer[16 << 10];
  while (status.ok()) {
    const ssize_t count = read(fd, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) status = CannotRead(file, std::strerror(errno));
    if (count <= 0) break;
    content.append(buffer, static_cast<size_t>(count));
    if (content.size() > kMaxFileBytes) status = CannotRead(file, "more than 1 MiB");
  }
  close(fd);
  if (!status.ok()) return status;
  return content;
}

WatchedFiles::WatchedFiles(std::vector<File> files, Use use) : files_(std::move(files)), use_(std::move(use)) {}

absl::Status WatchedFiles::Load() {
  const Snapshot now = Read();
  handled_ = last_seen_ = now.fingerprint;
  return now.status.ok() ? use_(now.contents) : now.status;
}

void WatchedFiles::Poll() {
  const Snapshot now = Read();
  const bool settled = now.fingerprint == std::exchange(last_seen_, now.fingerprint);
  if (!settled || now.fingerprint == handled_) return;
  handled_ = now.fingerprint;
  if (absl::Status status = now.status.ok() ? use_(now.contents) : now.status; !status.ok()) {
    spdlog::warn("{}; what was read before stays in force", std::string(status.message()));
  } else {
    spdlog::info("{} changed and is in force now", Names());
  }
}

WatchedFiles::Snapshot WatchedFiles::Read() const {
  Snapshot snapshot;
  std::string hashes;
  for (const File& file : files_) {
    absl::StatusOr<std::string> content = ReadSmallFile(file);
    if (!content.ok()) {
      snapshot.status = content.status();
      hashes = std::string(snapshot.status.message());
      break;
    }
    absl::StrAppend(&hashes, Sha256(*content));
    snapshot.contents.push_back(*std::move(content));
  }
  snapshot.fingerprint = Sha256(hashes);
  return snapshot;
}

std::string WatchedFiles::Names() const {
  return absl::StrJoin(files_, ", ", [](std::string* out, const File& file) { absl::StrAppend(out, "--", file.flag); });
}

}  // namespace ration
