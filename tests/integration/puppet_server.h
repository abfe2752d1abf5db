// A whole Server on free ports of this machine around a PuppetEngine, with a client's stub: the real gRPC stack without a model.
// For one test's thread.
#ifndef RATION_TESTS_INTEGRATION_PUPPET_SERVER_H_
#define RATION_TESTS_INTEGRATION_PUPPET_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/status.h>

#include "engine/base/clock.h"
#include "engine/tokenizer/tokenizer.h"
#include "proto/control.grpc.pb.h"
#include "proto/generation.grpc.pb.h"
#include "server/connection_limits.h"
#include "server/security/security_options.h"
#include "server/server.h"
#include "server/server_options.h"
#include "tests/testing/puppet_engine.h"

namespace ration {

inline constexpr int64_t kPuppetVocab = 400;
inline constexpr int64_t kPuppetContext = 4096;  // tokens

class PuppetServer {
 public:
  struct Options {
    bool with_tokenizer = true;
    bool with_metrics = false;
    int64_t max_live_requests = 4096;
    int64_t max_prompt_bytes = 64 << 10;
    absl::Duration slow_reader_timeout = absl::Seconds(30);
    bool with_health_port = false;
    absl::Duration drain_delay;
    const Clock* clock = Clock::Real();
    RequestLogOptions request_log;
    SecurityOptions security;
    ConnectionLimits connections;
    std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();  // of the clients' channels
  };
  PuppetServer() : PuppetServer(Options()) {}
  explicit PuppetServer(const Options& options);
  ~PuppetServer();

  PuppetStrings& puppet() { return *strings_; }
  v1::Generation::Stub& stub() { return *stub_; }
  v1::Control::Stub& control() { return *control_stub_; }
  Server& server() { return *server_; }
  // A new connection, with HTTP/2 windows of the smallest size so that a client that does not read blocks the server soon.
  std::shared_ptr<grpc::Channel> NewChannel() const { return NewChannel(server_->port()); }
  std::shared_ptr<grpc::Channel> NewChannel(int port) const { return NewChannel(port, credentials_); }
  static std::shared_ptr<grpc::Channel> NewChannel(int port, const std::shared_ptr<grpc::ChannelCredentials>& credentials);
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  const std::shared_ptr<grpc::Channel>& control_channel() const { return control_channel_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // Takes the server down as its owner would.
  void Destroy();

 private:
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<PuppetStrings> strings_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Generation::Stub> stub_;
  std::shared_ptr<grpc::Channel> control_channel_;
  std::unique_ptr<v1::Control::Stub> control_stub_;
};

// A request for `max_new_tokens` tokens behind a short prompt.
v1::GenerateRequest SimpleRequest(const std::string& request_id, int64_t max_new_tokens = 16);

// Everything a stream sends, and how it ends.
struct StreamResult {
  std::vector<v1::GenerateResponse> messages;
  grpc::Status status;

  std::string text() const;
  int64_t num_tokens() const;
};
StreamResult ReadStream(v1::Generation::Stub& stub, const v1::GenerateRequest& request);
StreamResult ReadStream(v1::Generation::Stub& stub, const v1::GenerateRequest& request, grpc::ClientContext* call);

// A unary call of any method with any bytes, and a bearer token unless that is empty.
std::pair<grpc::Status, std::string> CallWithBytes(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                                                   const std::string& bytes, const std::string& token = "");

// A socket connected to this machine, or -1.
int ConnectSocket(int port);
// Sends bytes over a plain socket to this machine and returns the whole answer; HttpGet with a request made for it.
std::string HttpExchange(int port, const std::string& request);
std::string HttpGet(int port, const std::string& path);

// The status of grpc.health.v1 for a service: "SERVING", "NOT_SERVING", or the error's message.
std::string HealthOf(const std::shared_ptr<grpc::Channel>& channel, const std::string& service);

}  // namespace ration

#endif  // RATION_TESTS_INTEGRATION_PUPPET_SERVER_H_
