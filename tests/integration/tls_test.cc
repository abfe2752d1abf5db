// TLS and mutual TLS on both ports: who can connect, who is refused, and certificates that change under a running server.
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "tests/integration/puppet_server.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/test_certificates.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

using Credentials = std::shared_ptr<grpc::ChannelCredentials>;

Credentials Trusting(const TestAuthority& authority, const TestCertificate& own = {}) {
  return grpc::SslCredentials({authority.pem(), own.key, own.certificate});
}

// How a call fares on a connection of its own.
grpc::Status TryPort(int port, const Credentials& credentials, bool control = false) {
  const auto channel = PuppetServer::NewChannel(port, credentials);
  grpc::ClientContext call;
  if (control) {
    v1::ServerState state;
    return v1::Control::NewStub(channel)->GetState(&call, v1::GetStateRequest(), &state);
  }
  v1::GetModelInfoResponse info;
  return v1::Generation::NewStub(channel)->GetModelInfo(&call, v1::GetModelInfoRequest(), &info);
}

class TlsTest : public ::testing::Test {
 protected:
  void Write(const TestCertificate& certificate) const {
    directory_.Write("tls.crt", certificate.certificate);
    directory_.Write("tls.key", certificate.key);
  }
  PuppetServer::Options ServerWith(const TestCertificate& certificate, const Credentials& client) const {
    Write(certificate);
    PuppetServer::Options options;
    options.security.tls.cert = directory_.Path("tls.crt");
    options.security.tls.key = directory_.Path("tls.key");
    options.security.poll_interval = absl::Milliseconds(2);
    options.credentials = client;
    return options;
  }
  PuppetServer::Options MutualServer() const {
    PuppetServer::Options options = ServerWith(authority_.Issue("localhost"), Trusting(authority_));
    options.security.tls.client_ca = directory_.Write("clients.crt", clients_.pem());
    return options;
  }

  const TestAuthority authority_{"Servers' CA"};
  const TestAuthority clients_{"Clients' CA"};
  const TestAuthority stranger_{"Somebody else's CA"};
  const TemporaryDirectory directory_;
};

TEST_F(TlsTest, BothPortsServeIt) {
  PuppetServer server(ServerWith(authority_.Issue("localhost"), Trusting(authority_)));
  server.puppet().StartAutopilot("x");
  EXPECT_TRUE(ReadStream(server.stub(), SimpleRequest("a")).status.ok());
  EXPECT_TRUE(TryPort(server.server().control_port(), Trusting(authority_), /*control=*/true).ok());
  EXPECT_EQ(HealthOf(server.channel(), ""), "SERVING");
}

TEST_F(TlsTest, PlainClientsAreRefused) {
  PuppetServer server(ServerWith(authority_.Issue("localhost"), Trusting(authority_)));
  const Credentials plain = grpc::InsecureChannelCredentials();
  EXPECT_EQ(TryPort(server.server().port(), plain).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(TryPort(server.server().control_port(), plain, true).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, ClientsRefuseACertificateOfAnAuthorityThatTheyDoNotTrust) {
  PuppetServer server(ServerWith(authority_.Issue("localhost"), Trusting(authority_)));
  const grpc::Status status = TryPort(server.server().port(), Trusting(stranger_));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("certificate verify failed"));
}

TEST_F(TlsTest, WithMutualTlsOnlyClientsWithAGoodCertificateGetIn) {
  PuppetServer server(MutualServer());
  for (const bool control : {false, true}) {
    const int port = control ? server.server().control_port() : server.server().port();
    EXPECT_TRUE(TryPort(port, Trusting(authority_, clients_.Issue("a client")), control).ok());
    const Credentials refused[] = {Trusting(authority_), Trusting(authority_, stranger_.Issue("a client")),
                                   Trusting(authority_, clients_.IssueExpired("a client")),
                                   Trusting(authority_, authority_.Issue("a client"))};
    for (const Credentials& credentials : refused) {
      EXPECT_EQ(TryPort(port, credentials, control).error_code(), grpc::StatusCode::UNAVAILABLE);
    }
  }
}

TEST_F(TlsTest, ANewCertificateIsForNewConnectionsAndStreamsGoOn) {
  PuppetServer server(ServerWith(authority_.Issue("localhost"), Trusting(authority_)));
  const int port = server.server().port();
  grpc::ClientContext call;
  const auto reader = server.stub().GenerateStream(&call, SimpleRequest("long"));
  ASSERT_TRUE(server.puppet().WaitForRequest("long"));

  const TestAuthority next("Next CA");
  Write(next.Issue("localhost"));
  while (!TryPort(port, Trusting(next)).ok()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_FALSE(TryPort(port, Trusting(authority_)).ok()) << "the old certificate is gone";
  while (!TryPort(server.server().control_port(), Trusting(next), true).ok()) absl::SleepFor(absl::Milliseconds(1));

  server.puppet().EmitText("long", "still here");
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.text(), "still here");
  server.puppet().Finish("long", FinishInfo());
  while (reader->Read(&message)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(TlsTest, ANewClientAuthorityIsInForceForNewConnections) {
  PuppetServer server(MutualServer());
  const int port = server.server().port();
  const Credentials newcomer = Trusting(authority_, stranger_.Issue("a client"));
  const Credentials known = Trusting(authority_, clients_.Issue("a client"));
  EXPECT_FALSE(TryPort(port, newcomer).ok());
  directory_.Write("clients.crt", clients_.pem() + stranger_.pem());  // as in a rotation: both, for a while
  while (!TryPort(port, newcomer).ok()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_TRUE(TryPort(port, known).ok());
  directory_.Write("clients.crt", stranger_.pem());
  while (TryPort(port, known).ok()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_TRUE(TryPort(port, newcomer).ok());
}

TEST_F(TlsTest, BadFilesChangeNothingAndAreWarnedOf) {
  CapturedLog log;
  {
    const TestCertificate good = authority_.Issue("localhost");
    PuppetServer server(ServerWith(good, Trusting(authority_)));
    const std::pair<std::string, std::string> bad[] = {{"half a certificate", "no certificate in PEM form"},
                                                       {authority_.IssueExpired("localhost").certificate, "expired at"},
                                                       {authority_.Issue("localhost").certificate, "is not the key of"}};
    for (const auto& [certificate, why] : bad) {
      directory_.Write("tls.crt", certificate);
      log.WaitFor(why);
      EXPECT_TRUE(TryPort(server.server().port(), Trusting(authority_)).ok()) << why;
    }
    EXPECT_THAT(log.text(), HasSubstr("--tls_cert: " + directory_.Path("tls.crt")));
    EXPECT_THAT(log.text(), HasSubstr("what was read before stays in force"));
    EXPECT_THAT(log.text(), Not(HasSubstr("PRIVATE KEY")));
    EXPECT_THAT(log.text(), Not(HasSubstr(good.key.substr(40, 20))));
  }
}

TEST_F(TlsTest, ABadCertificateKeepsTheServerFromStarting) {
  const TestCertificate expired = authority_.IssueExpired("localhost");
  ServerOptions options;
  options.listen = ListenAddress{"127.0.0.1", 0};
  options.metrics_listen.reset();
  options.control_listen.reset();
  options.security = ServerWith(expired, nullptr).security;
  ServedModel model;
  model.engine = std::make_unique<PuppetEngine>(std::make_shared<PuppetStrings>(), model.clock);
  const absl::Status status = Server::Start(options, std::move(model)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--tls_cert: " + directory_.Path("tls.crt") + ": the certificate of"));
}

}  // namespace
}  // namespace ration
