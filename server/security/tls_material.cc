#include "server/security/tls_material.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "server/security/openssl_handles.h"

namespace ration {
namespace {

using openssl::Bio;
using openssl::Certificate;
using openssl::Key;
using Context = std::unique_ptr<SSL_CTX, openssl::Deleter<SSL_CTX, SSL_CTX_free>>;

absl::Status Wrong(absl::string_view flag, const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", path, ": ", what));
}

// The reason of OpenSSL's newest error, which says nothing of the content.
std::string Reason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  std::string text = reason == nullptr ? "unknown reason" : reason;
  ERR_clear_error();
  return text;
}

Bio Reader(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

// Keys under a password are refused: nobody is there to type it.
int NoPassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

absl::StatusOr<std::vector<Certificate>> ReadCertificates(absl::string_view flag, const std::string& path, const std::string& pem) {
  std::vector<Certificate> certificates;
  const Bio bio = Reader(pem);
  ERR_clear_error();
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) certificates.emplace_back(certificate);
  const unsigned long error = ERR_peek_last_error();
  if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return Wrong(flag, path, absl::StrCat("certificate ", certificates.size() + 1, " cannot be read: ", Reason()));
  }
  ERR_clear_error();
  if (certificates.empty()) return Wrong(flag, path, "no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
  return certificates;
}

std::string Subject(const X509* certificate) {
  char text[256];
  X509_NAME_oneline(X509_get_subject_name(certificate), text, sizeof(text));
  return Quoted(text);
}

std::string TimeText(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable time";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromTM(parts, absl::UTCTimeZone()), absl::UTCTimeZone());
}

// Why the certificate is not valid at `now`; empty if it is.
std::string NotValid(const X509* certificate, absl::Time now) {
  std::time_t at = absl::ToTimeT(now);
  // 0 is an error, -1 a time before or at `at`.
  if (X509_cmp_time(X509_get0_notAfter(certificate), &at) <= 0) {
    return absl::StrCat("the certificate of ", Subject(certificate), " expired at ", TimeText(X509_get0_notAfter(certificate)));
  }
  const int start = X509_cmp_time(X509_get0_notBefore(certificate), &at);
  if (start >= 0) {
    return absl::StrCat("the certificate of ", Subject(certificate), " is not valid before ",
                        TimeText(X509_get0_notBefore(certificate)));
  }
  return "";
}

absl::StatusOr<Key> ReadKey(const TlsMaterial& material, const TlsPaths& paths) {
  const Bio bio = Reader(material.private_key);
  bool asked = false;
  ERR_clear_error();
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassword, &asked));
  ERR_clear_error();
  if (asked) return Wrong("tls_key", paths.key, "the key is encrypted; a key without a password is needed");
  if (key == nullptr) return Wrong("tls_key", paths.key, "no private key in PEM form (-----BEGIN PRIVATE KEY-----)");
  return key;
}

absl::Status CheckClientCa(const TlsMaterial& material, const TlsPaths& paths, absl::Time now) {
  RATION_ASSIGN_OR_RETURN(const std::vector<Certificate> authorities,
                          ReadCertificates("tls_client_ca", paths.client_ca, material.client_ca));
  // A bundle may keep old authorities beside the new one; without any valid one nobody could connect.
  std::string why;
  for (const Certificate& authority : authorities) {
    why = NotValid(authority.get(), now);
    if (why.empty()) return absl::OkStatus();
  }
  return Wrong("tls_client_ca", paths.client_ca, why);
}

}  // namespace

absl::Status CheckTlsMaterial(const TlsMaterial& material, const TlsPaths& paths, absl::Time now) {
  RATION_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                          ReadCertificates("tls_cert", paths.cert, material.certificate_chain));
  RATION_ASSIGN_OR_RETURN(const Key key, ReadKey(material, paths));
  for (const Certificate& certificate : chain) {
    if (const std::string why = NotValid(certificate.get(), now); !why.empty()) return Wrong("tls_cert", paths.cert, why);
  }
  if (X509_check_private_key(chain[0].get(), key.get()) != 1) {
    ERR_clear_error();
    return Wrong("tls_key", paths.key,
                 absl::StrCat("is not the key of the certificate in ", paths.cert, " (", Subject(chain[0].get()), ")"));
  }
  const Context context(SSL_CTX_new(TLS_server_method()));
  if (SSL_CTX_use_certificate(context.get(), chain[0].get()) != 1) return Wrong("tls_cert", paths.cert, Reason());
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1) return Wrong("tls_key", paths.key, Reason());
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) != 1) return Wrong("tls_cert", paths.cert, Reason());
  }
  return paths.client_ca.empty() ? absl::OkStatus() : CheckClientCa(material, paths, now);
}

}  // namespace ration
