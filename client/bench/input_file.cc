// Layer: client/bench. Reads until the end rather than asking for the size: pipes have none, and sizes change.
#include "client/bench/input_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace ration {

namespace {

// Up to `max_bytes` + 1 bytes, so that the caller sees whether there is more.
absl::StatusOr<std::string> ReadSome(const std::string& path, int64_t max_bytes) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  const size_t wanted = static_cast<size_t>(max_bytes) + 1;
  std::string content;
  char buffer[1 << 16];
  while (content.size() < wanted) {
    const size_t bytes = std::fread(buffer, 1, std::min(sizeof(buffer), wanted - content.size()), file.get());
    if (bytes == 0) break;
    content.append(buffer, bytes);
  }
  if (std::ferror(file.get()) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
  return content;
}

}  // namespace

absl::StatusOr<std::string> ReadInputFile(const std::string& path, int64_t max_bytes) {
  absl::StatusOr<std::string> content = ReadSome(path, max_bytes);
  if (content.ok() && static_cast<int64_t>(content->size()) > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": more than the limit of ", max_bytes, " bytes"));
  }
  return content;
}

absl::StatusOr<std::string> ReadTextBeginning(const std::string& path, int64_t max_bytes) {
  absl::StatusOr<std::string> content = ReadSome(path, max_bytes);
  if (!content.ok() || static_cast<int64_t>(content->size()) <= max_bytes) return content;
  // The one byte too many, and while that one continued a character, the byte before it, too.
  const auto continues = [&content] { return (static_cast<unsigned char>(content->back()) & 0xc0) == 0x80; };
  while (content->size() > 1 && continues()) content->pop_back();
  content->pop_back();
  return content;
}

}  // namespace ration
