// TLS and tokens on the client's side: what the flags take, what they refuse, and what the server sees.
#include "client/transport.h"

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/bench/bench_flags.h"
#include "client/commands.h"
#include "client/generation_client.h"
#include "tests/client/fake_generation_service.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/test_certificates.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kToken[] = "s3cr3t-token-of-a-client";

class TransportTest : public ::testing::Test {
 protected:
  TransportTest() { unsetenv("RATION_TOKEN"); }
  ~TransportTest() override { unsetenv("RATION_TOKEN"); }

  static std::shared_ptr<grpc::ServerCredentials> ServerTls(const TestCertificate& own, const std::string& client_ca = "") {
    grpc::SslServerCredentialsOptions options(client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                                : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_key_cert_pairs.push_back({own.key, own.certificate});
    options.pem_root_certs = client_ca;
    return grpc::SslServerCredentials(options);
  }
  // `rationctl info` with these flags, at `service`.
  int Info(const testing::FakeGenerationService& service, const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"info", "--server=" + service.target()};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return Run(arguments);
  }
  int Run(const std::vector<std::string>& arguments) {
    std::ostringstream out, err;
    Console console;
    std::istringstream in;
    console.in = &in;
    console.out = &out;
    console.err = &err;
    Cancellation cancellation;
    const int exit_status = RunRationctl(arguments, console, &cancellation);
    err_ = err.str();
    EXPECT_THAT(out.str() + err_, Not(HasSubstr("s3cr3t")));
    return exit_status;
  }

  const TestAuthority authority_{"Test CA"};
  const TemporaryDirectory directory_;
  const std::string ca_file_ = directory_.Write("ca.crt", authority_.pem());
  std::string err_;
};

TEST_F(TransportTest, TheTokenComesFromAFileOrTheEnvironmentAndGoesWithEveryCall) {
  testing::FakeGenerationService service;
  EXPECT_EQ(Info(service, {}), kExitOk) << err_;
  EXPECT_EQ(service.authorization, "none");
  EXPECT_EQ(Info(service, {"--token_file=" + directory_.Write("token", std::string(kToken) + "\n")}), kExitOk) << err_;
  EXPECT_EQ(service.authorization, std::string("Bearer ") + kToken);
  setenv("RATION_TOKEN", "another-s3cr3t", 1);
  EXPECT_EQ(Info(service, {}), kExitOk) << err_;
  EXPECT_EQ(service.authorization, "Bearer another-s3cr3t");
  EXPECT_EQ(Info(service, {"--token_file=" + directory_.Path("token")}), kExitOk) << err_;
  EXPECT_EQ(service.authorization, std::string("Bearer ") + kToken) << "the flag wins";
  service.replies.emplace_back().mutable_finish();
  Run({"generate", "--server=" + service.target(), "hello"});
  EXPECT_EQ(service.authorization, "Bearer another-s3cr3t") << "streams too";
}

TEST_F(TransportTest, WhatIsNoTokenIsRefusedAndNeverShown) {
  testing::FakeGenerationService service;
  for (const std::string& content : {std::string(), std::string("two s3cr3t"), std::string("s3cr3t\x01"), std::string(1025, 's')}) {
    EXPECT_EQ(Info(service, {"--token_file=" + directory_.Write("token", content)}), kExitUsage);
    EXPECT_THAT(err_, HasSubstr("--token_file: " + directory_.Path("token") + ": must hold one token"));
  }
  EXPECT_EQ(Info(service, {"--token_file=" + directory_.Path("none")}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--token_file: cannot read " + directory_.Path("none") + ": No such file or directory"));
}

TEST_F(TransportTest, ATokenLeavesThisMachineOnlyUnderTlsUnlessToldTo) {
  setenv("RATION_TOKEN", kToken, 1);
  TransportFlags flags;
  const Transport transport = flags.Read().value();
  for (const char* target : {"example.com:1", "127.evil.com:1", "192.168.1.2:50051", "localhost.evil.com:1", "[2001:db8::1]:1"}) {
    EXPECT_THAT(std::string(flags.CheckTarget(transport, target).message()), HasSubstr("unencrypted")) << target;
  }
  for (const char* target : {"localhost:1", "127.0.0.1:1", "127.3.4.5:1", "[::1]:1"}) {
    EXPECT_TRUE(flags.CheckTarget(transport, target).ok()) << target;
  }
  flags.insecure = true;
  EXPECT_TRUE(flags.CheckTarget(transport, "example.com:1").ok());
  flags.insecure = false;
  flags.tls_ca = ca_file_;
  EXPECT_TRUE(flags.CheckTarget(flags.Read().value(), "example.com:1").ok());
  EXPECT_EQ(Run({"info", "--server=example.com:1"}), kExitUsage);
  BenchOptions bench;
  EXPECT_THAT(std::string(ParseBenchFlags({"--server=localhost:1", "--control=example.com:1"}, &bench).message()),
              HasSubstr("example.com:1 unencrypted"));
}

TEST_F(TransportTest, FlagsThatDoNotGoTogetherAreExplained) {
  testing::FakeGenerationService service;
  const std::string key_file = directory_.Write("key", authority_.Issue("c").key);
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"--tls_ca=" + directory_.Path("none")}, "--tls_ca: cannot read"},
      {{"--tls_ca=" + key_file}, "holds no CERTIFICATE in PEM form"},
      {{"--tls_ca=" + ca_file_, "--tls_cert=" + ca_file_}, "--tls_cert: needs --tls_key=FILE"},
      {{"--tls_ca=" + ca_file_, "--tls_key=" + key_file}, "--tls_key: needs --tls_cert=FILE"},
      {{"--tls_cert=" + ca_file_, "--tls_key=" + key_file}, "--tls_cert: applies only to TLS"},
      {{"--tls_server_name=x"}, "--tls_server_name: applies only to TLS"}};
  for (const auto& [flags, message] : cases) {
    EXPECT_EQ(Info(service, flags), kExitUsage) << message;
    EXPECT_THAT(err_, HasSubstr(message));
  }
}

TEST_F(TransportTest, ServersMustHaveAGoodCertificate) {
  testing::FakeGenerationService good(ServerTls(authority_.Issue("server")));
  EXPECT_EQ(Info(good, {"--tls_ca=" + ca_file_}), kExitOk) << err_;
  EXPECT_EQ(Info(good, {"--tls_ca=" + ca_file_, "--tls_server_name=localhost"}), kExitOk) << err_;
  EXPECT_EQ(Info(good, {"--tls_ca=" + ca_file_, "--tls_server_name=other.example"}), kExitRpcError);
  EXPECT_EQ(Info(good, {"--tls_ca=system"}), kExitRpcError);
  EXPECT_THAT(err_, HasSubstr("certificate verify failed"));
  EXPECT_EQ(Info(good, {}), kExitRpcError);
  EXPECT_THAT(err_, HasSubstr("If it serves TLS, give --tls_ca=FILE."));

  testing::FakeGenerationService expired(ServerTls(authority_.IssueExpired("server")));
  EXPECT_EQ(Info(expired, {"--tls_ca=" + ca_file_}), kExitRpcError);
  EXPECT_THAT(err_, HasSubstr("certificate verify failed"));
}

TEST_F(TransportTest, TheClientsOwnCertificateIsForMutualTls) {
  const TestAuthority clients("Clients' CA");
  testing::FakeGenerationService service(ServerTls(authority_.Issue("server"), clients.pem()));
  EXPECT_EQ(Info(service, {"--tls_ca=" + ca_file_}), kExitRpcError);
  const TestCertificate own = clients.Issue("a client");
  EXPECT_EQ(Info(service, {"--tls_ca=" + ca_file_, "--tls_cert=" + directory_.Write("own.crt", own.certificate),
                           "--tls_key=" + directory_.Write("own.key", own.key)}),
            kExitOk)
      << err_;
}

TEST_F(TransportTest, WithoutATokenTheRefusalSaysHowToGiveOne) {
  testing::FakeGenerationService service;
  service.status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "a token is needed");
  EXPECT_EQ(Info(service, {}), kExitRpcError);
  EXPECT_THAT(err_, HasSubstr("Give the token with --token_file=FILE or in $RATION_TOKEN."));
}

}  // namespace
}  // namespace ration
