// OpenSSL's objects, owned.
// Layer: server/security. Value types.
#ifndef RATION_SERVER_SECURITY_OPENSSL_HANDLES_H_
#define RATION_SERVER_SECURITY_OPENSSL_HANDLES_H_

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>

namespace ration::openssl {

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* object) const { Free(object); }
};
using Certificate = std::unique_ptr<X509, Deleter<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY, EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO, BIO_free_all>>;

}  // namespace ration::openssl

#endif  // RATION_SERVER_SECURITY_OPENSSL_HANDLES_H_
