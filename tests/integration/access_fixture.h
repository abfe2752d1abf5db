// A server with an access file of three clients, and calls with their tokens.
// For one test's thread.
#ifndef RATION_TESTS_INTEGRATION_ACCESS_FIXTURE_H_
#define RATION_TESTS_INTEGRATION_ACCESS_FIXTURE_H_

#include <memory>
#include <string>

#include <grpcpp/client_context.h>

#include "tests/integration/puppet_server.h"
#include "tests/testing/temporary_directory.h"

namespace ration {

inline constexpr char kChatToken[] = "token-of-the-tenant-chat";
inline constexpr char kBatchToken[] = "token-of-the-tenant-batch";
inline constexpr char kOperatorToken[] = "token-of-the-operators";
inline constexpr char kNewToken[] = "token-that-comes-later";

inline std::string AccessEntry(const std::string& name, const std::string& token, const std::string& role,
                               const std::string& quota = "") {
  return "clients { name: '" + name + "' token: '" + token + "' roles: " + role + " quota { " + quota + " } }\n";
}

struct AccessServer {
  AccessServer() : AccessServer(PuppetServer::Options()) {}
  explicit AccessServer(PuppetServer::Options options) {
    options.security.access_file = WriteAccess(kChatToken);
    options.security.poll_interval = absl::Milliseconds(2);
    server = std::make_unique<PuppetServer>(options);
  }
  // Writes the access file with `chat_token` for the tenant chat. Returns its path.
  std::string WriteAccess(const std::string& chat_token) const {
    return directory.Write("access.textproto", AccessEntry("chat", chat_token, "ROLE_GENERATE") +
                                                   AccessEntry("batch", kBatchToken, "ROLE_GENERATE") +
                                                   AccessEntry("operators", kOperatorToken, "ROLE_CONTROL"));
  }
  TemporaryDirectory directory;
  std::unique_ptr<PuppetServer> server;
};

// A call's context that carries `token` (empty: none).
inline std::unique_ptr<grpc::ClientContext> CallWith(const std::string& token) {
  auto call = std::make_unique<grpc::ClientContext>();
  if (!token.empty()) call->AddMetadata("authorization", "Bearer " + token);
  return call;
}

}  // namespace ration

#endif  // RATION_TESTS_INTEGRATION_ACCESS_FIXTURE_H_
