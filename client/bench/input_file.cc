// Layer: client/bench. Reads until the end rather than asking for the size: pipes have none, and sizes change.
#include "client/bench/input_file.h"

#include <cerrno>
#include <cstdio>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace ration {

absl::StatusOr<std::string> ReadInputFile(const std::string& path, int64_t max_bytes) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  std::string content;
  char buffer[1 << 16];
  while (true) {
    errno = 0;
    const size_t bytes = std::fread(buffer, 1, sizeof(buffer), file.get());
    content.append(buffer, bytes);
    if (static_cast<int64_t>(content.size()) > max_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": more than the limit of ", max_bytes, " bytes"));
    }
    if (bytes < sizeof(buffer)) break;
  }
  if (std::ferror(file.get()) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
  return content;
}

}  // namespace ration
