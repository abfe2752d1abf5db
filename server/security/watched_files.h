// A few files that belong together, such as a certificate and its key: read at start, and read again when they change while the
// server runs. Compared by content: atomic renames, Kubernetes' swaps of a symbolic link and plain overwriting all look the same.
// Layer: server/security. Load before Poll; one thread at a time.
//
// Invariant: what is in force is always the newest content that was found good. Content is kept as a hash only: it may be secret.
#ifndef RATION_SERVER_SECURITY_WATCHED_FILES_H_
#define RATION_SERVER_SECURITY_WATCHED_FILES_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ration {

class WatchedFiles {
 public:
  struct File {
    std::string flag;  // without dashes; errors name it
    std::string path;
  };
  // Takes the files' contents, in their order, into force, or says what is wrong with them and changes nothing.
  using Use = std::function<absl::Status(const std::vector<std::string>& contents)>;

  WatchedFiles(std::vector<File> files, Use use);

  // Reads and uses the files. InvalidArgument names flag and file.
  absl::Status Load();
  // Looks at the files, and uses them if they have changed and stayed the same for two polls in a row (so that files which are being
  // written, or written one after the other, are not taken half done). Logs what was taken, and a warning for what could not be:
  // once for each content.
  void Poll();

 private:
  struct Snapshot {
    absl::Status status;  // of reading
    std::vector<std::string> contents;
    std::string fingerprint;  // SHA-256 of contents and status
  };
  Snapshot Read() const;
  std::string Names() const;

  const std::vector<File> files_;
  const Use use_;
  std::string handled_;    // fingerprint of what was last used or found bad
  std::string last_seen_;  // at the last poll
};

// The content of a regular file of at most 1 MiB. InvalidArgument: "--FLAG: cannot read PATH: why".
absl::StatusOr<std::string> ReadSmallFile(const WatchedFiles::File& file);

}  // namespace ration

#endif  // RATION_SERVER_SECURITY_WATCHED_FILES_H_
