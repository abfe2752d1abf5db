// The file that tells scripts and tests which ports a server took: there once it is ready, and never with another run's ports.
// Layer: server. Stateless.
#ifndef RATION_SERVER_PORT_FILE_H_
#define RATION_SERVER_PORT_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace ration {

// Removes what a run that was killed has left. Unavailable if it is there and cannot be removed.
absl::Status RemovePortFile(const std::string& path);

// Writes one port a line, whole or not at all. Unavailable names the file and why.
absl::Status WritePortFile(const std::string& path, absl::Span<const int> ports);

}  // namespace ration

#endif  // RATION_SERVER_PORT_FILE_H_
