// SHA-256, by OpenSSL.
// Layer: server/security. Stateless; thread-safe.
#ifndef RATION_SERVER_SECURITY_SHA256_H_
#define RATION_SERVER_SECURITY_SHA256_H_

#include <string>

#include "absl/strings/string_view.h"

namespace ration {

inline constexpr size_t kSha256Bytes = 32;

// The 32 bytes of the hash.
std::string Sha256(absl::string_view data);

}  // namespace ration

#endif  // RATION_SERVER_SECURITY_SHA256_H_
