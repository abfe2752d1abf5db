#include "server/security/sha256.h"

#include <openssl/evp.h>

#include "engine/base/check.h"

namespace ration {

std::string Sha256(absl::string_view data) {
  std::string hash(kSha256Bytes, '\0');
  unsigned int size = 0;
  RATION_CHECK(EVP_Digest(data.data(), data.size(), reinterpret_cast<unsigned char*>(&hash[0]), &size, EVP_sha256(), nullptr) == 1);
  RATION_CHECK(size == kSha256Bytes);
  return hash;
}

}  // namespace ration
