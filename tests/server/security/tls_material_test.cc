// Certificates and keys that cannot work are refused at once, in words that say which file to look at.
#include "server/security/tls_material.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "tests/testing/test_certificates.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class TlsMaterialTest : public ::testing::Test {
 protected:
  TlsMaterialTest() {
    material_.certificate_chain = certificate_.certificate;
    material_.private_key = certificate_.key;
  }
  absl::Status Check(absl::Time now = absl::Now()) const { return CheckTlsMaterial(material_, paths_, now); }
  std::string Error(absl::Time now = absl::Now()) const {
    const absl::Status status = Check(now);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  }

  const TestAuthority authority_{"Test CA"};
  const TestCertificate certificate_ = authority_.Issue("localhost");
  TlsPaths paths_{"/etc/tls.crt", "/etc/tls.key", ""};
  TlsMaterial material_;
};

TEST_F(TlsMaterialTest, TakesAChainAndItsKey) {
  EXPECT_TRUE(Check().ok()) << Check();
  material_.certificate_chain += authority_.pem();
  EXPECT_TRUE(Check().ok()) << Check();
  paths_.client_ca = "/etc/ca.crt";
  material_.client_ca = TestAuthority("Clients' CA").pem();
  EXPECT_TRUE(Check().ok()) << Check();
}

TEST_F(TlsMaterialTest, RefusesWhatIsNoCertificate) {
  material_.certificate_chain = "";
  EXPECT_EQ(Error(), "--tls_cert: /etc/tls.crt: no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
  material_.certificate_chain = certificate_.key;
  EXPECT_THAT(Error(), HasSubstr("no certificate in PEM form"));
  material_.certificate_chain = certificate_.certificate.substr(0, 200);
  EXPECT_THAT(Error(), StartsWith("--tls_cert: /etc/tls.crt: certificate 1 cannot be read: "));
  material_.certificate_chain = certificate_.certificate + authority_.pem().substr(0, 200);
  EXPECT_THAT(Error(), StartsWith("--tls_cert: /etc/tls.crt: certificate 2 cannot be read: "));
}

TEST_F(TlsMaterialTest, RefusesWhatIsNoKeyOfThisCertificate) {
  material_.private_key = certificate_.certificate;
  EXPECT_EQ(Error(), "--tls_key: /etc/tls.key: no private key in PEM form (-----BEGIN PRIVATE KEY-----)");
  material_.private_key = EncryptKey(certificate_.key);
  EXPECT_EQ(Error(), "--tls_key: /etc/tls.key: the key is encrypted; a key without a password is needed");
  material_.private_key = authority_.Issue("localhost").key;
  EXPECT_EQ(Error(), "--tls_key: /etc/tls.key: is not the key of the certificate in /etc/tls.crt (\"/CN=localhost\")");
}

TEST_F(TlsMaterialTest, RefusesCertificatesOutOfTheirTime) {
  const absl::Time now = absl::FromUnixSeconds(absl::ToUnixSeconds(absl::Now()));
  const TestCertificate brief = authority_.Issue("localhost", now, now + absl::Hours(1));
  material_.certificate_chain = brief.certificate;
  material_.private_key = brief.key;
  EXPECT_TRUE(Check(now + absl::Seconds(1)).ok());
  EXPECT_EQ(Error(now + absl::Hours(1)), "--tls_cert: /etc/tls.crt: the certificate of \"/CN=localhost\" expired at " +
                                             absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", now + absl::Hours(1), absl::UTCTimeZone()));
  EXPECT_THAT(Error(now - absl::Seconds(1)), HasSubstr("is not valid before "));
  // Of intermediate ones too.
  material_.certificate_chain += authority_.IssueExpired("Old intermediate").certificate;
  EXPECT_THAT(Error(), HasSubstr("the certificate of \"/CN=Old intermediate\" expired at "));
}

TEST_F(TlsMaterialTest, NeedsOneValidAuthorityForClients) {
  paths_.client_ca = "/etc/ca.crt";
  EXPECT_EQ(Error(), "--tls_client_ca: /etc/ca.crt: no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
  material_.client_ca = authority_.IssueExpired("Old CA").certificate;
  EXPECT_THAT(Error(), StartsWith("--tls_client_ca: /etc/ca.crt: the certificate of \"/CN=Old CA\" expired at "));
  material_.client_ca += authority_.pem();
  EXPECT_TRUE(Check().ok()) << Check();
}

TEST_F(TlsMaterialTest, SurvivesDamageAnywhere) {
  for (size_t i = 0; i < certificate_.certificate.size(); i += 7) {
    for (const char damage : {'A', '\0', '-', '\xff'}) {
      material_.certificate_chain = certificate_.certificate;
      material_.certificate_chain[i] = damage;
      Check().IgnoreError();
    }
  }
}

}  // namespace
}  // namespace ration
