#include "server/port_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace ration {

absl::Status RemovePortFile(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("--port_file: cannot remove the old ", path, ": ", std::strerror(errno)));
}

absl::Status WritePortFile(const std::string& path, absl::Span<const int> ports) {
  const std::string temporary = path + ".tmp";  // so that a reader sees all of it or nothing
  {
    std::ofstream file(temporary, std::ios::trunc);
    for (int port : ports) file << port << "\n";
    file.close();
    if (!file) return absl::UnavailableError(absl::StrCat("--port_file: cannot write ", temporary));
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(
        absl::StrCat("--port_file: cannot rename ", temporary, " to ", path, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace ration
