// Certificate authorities and certificates made while a test runs: nothing secret in the tree, nothing that expires in it.
// For one test's thread.
#ifndef RATION_TESTS_TESTING_TEST_CERTIFICATES_H_
#define RATION_TESTS_TESTING_TEST_CERTIFICATES_H_

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace ration {

// PEM.
struct TestCertificate {
  std::string certificate;
  std::string key;
};

class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name);
  ~TestAuthority();

  // A certificate for localhost and 127.0.0.1 with the common name `name`, for servers and clients.
  TestCertificate Issue(const std::string& name, absl::Time not_before = absl::Now() - absl::Hours(1),
                        absl::Time not_after = absl::Now() + absl::Hours(24)) const;
  // One that has expired.
  TestCertificate IssueExpired(const std::string& name) const {
    return Issue(name, absl::Now() - absl::Hours(2), absl::Now() - absl::Hours(1));
  }
  const std::string& pem() const { return pem_; }

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
  std::string pem_;
};

// `key` under a password.
std::string EncryptKey(const std::string& key);

}  // namespace ration

#endif  // RATION_TESTS_TESTING_TEST_CERTIFICATES_H_
