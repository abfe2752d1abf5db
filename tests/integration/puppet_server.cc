#include "tests/integration/puppet_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/check.h"
#include "engine/base/mutex.h"
#include "tests/testing/tiny_tokenizer.h"

namespace ration {

PuppetServer::PuppetServer(const Options& options)
    : credentials_(options.credentials), strings_(std::make_shared<PuppetStrings>()) {
  ServedModel model;
  if (options.with_tokenizer) {
    model.tokenizer = tokenizer_ = MakeTinyTokenizer(kPuppetVocab);
  } else {
    model.no_tokenizer_reason = "no tokenizer.json";
  }
  model.info.num_layers = 2;
  model.info.vocab_size = kPuppetVocab;
  model.info.max_positions = kPuppetContext;
  model.info.experts = PuppetEngine::Experts();
  for (int group_size : model.info.experts.group_sizes()) {
    v1::Expert& expert = *model.description.add_experts();
    expert.set_group_size(group_size);
    expert.set_bytes_per_token(1024 / group_size);
  }
  model.description.set_name("puppet");
  model.description.set_architecture("PuppetForCausalLM");
  model.description.set_compute_dtype("float32");
  model.description.set_context_tokens(kPuppetContext);
  model.description.set_has_tokenizer(options.with_tokenizer);
  model.clock = options.clock;
  model.engine = std::make_unique<PuppetEngine>(strings_, model.clock);

  ServerOptions server_options;
  server_options.listen = ListenAddress{"127.0.0.1", 0};
  server_options.control_listen = ListenAddress{"127.0.0.1", 0};
  server_options.metrics_listen.reset();
  if (options.with_metrics) server_options.metrics_listen = ListenAddress{"127.0.0.1", 0};
  server_options.max_live_requests = options.max_live_requests;
  server_options.max_prompt_bytes = options.max_prompt_bytes;
  server_options.slow_reader_timeout = options.slow_reader_timeout;
  if (options.with_health_port) server_options.health_listen = ListenAddress{"127.0.0.1", 0};
  server_options.drain_delay = options.drain_delay;
  server_options.request_log = options.request_log;
  server_options.security = options.security;
  server_options.connections = options.connections;
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(server_options, std::move(model));
  RATION_CHECK(server.ok());
  server_ = *std::move(server);
  channel_ = NewChannel();
  stub_ = v1::Generation::NewStub(channel_);
  control_channel_ = NewChannel(server_->control_port());
  control_stub_ = v1::Control::NewStub(control_channel_);
}

PuppetServer::~PuppetServer() = default;

std::shared_ptr<grpc::Channel> PuppetServer::NewChannel(int port, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // the window does not grow
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65535);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port), credentials, arguments);
}

void PuppetServer::Destroy() { server_.reset(); }

v1::GenerateRequest SimpleRequest(const std::string& request_id, int64_t max_new_tokens) {
  v1::GenerateRequest request;
  request.set_request_id(request_id);
  for (int id : {1, 5, 9}) request.mutable_token_ids()->add_ids(id);
  request.mutable_stopping()->set_max_new_tokens(max_new_tokens);
  return request;
}

std::string StreamResult::text() const {
  std::string text;
  for (const v1::GenerateResponse& message : messages) text += message.text();
  return text;
}

int64_t StreamResult::num_tokens() const {
  int64_t tokens = 0;
  for (const v1::GenerateResponse& message : messages) tokens += message.token_ids_size();
  return tokens;
}

StreamResult ReadStream(v1::Generation::Stub& stub, const v1::GenerateRequest& request, grpc::ClientContext* call) {
  StreamResult result;
  auto reader = stub.GenerateStream(call, request);
  v1::GenerateResponse message;
  while (reader->Read(&message)) result.messages.push_back(message);
  result.status = reader->Finish();
  return result;
}

StreamResult ReadStream(v1::Generation::Stub& stub, const v1::GenerateRequest& request) {
  grpc::ClientContext call;
  return ReadStream(stub, request, &call);
}

std::pair<grpc::Status, std::string> CallWithBytes(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                                                   const std::string& bytes, const std::string& token) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext call;
  call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
  if (!token.empty()) call.AddMetadata("authorization", absl::StrCat("Bearer ", token));
  grpc::Slice slice(bytes);
  grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  Mutex mutex;
  CondVar changed;
  bool done = false;
  grpc::Status status;
  stub.UnaryCall(&call, method, grpc::StubOptions(), &request, &response, [&](grpc::Status s) {
    MutexLock lock(&mutex);
    status = std::move(s);
    done = true;
    changed.Signal();
  });
  {
    MutexLock lock(&mutex);
    while (!done) changed.Wait(&mutex);
  }
  std::string text;
  grpc::Slice joined;
  if (status.ok() && response.DumpToSingleSlice(&joined).ok()) {
    text.assign(reinterpret_cast<const char*>(joined.begin()), joined.size());
  }
  return {status, text};
}

int ConnectSocket(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

std::string HttpExchange(int port, const std::string& request) {
  const int fd = ConnectSocket(port);
  if (fd < 0) return "";
  std::string answer;
  send(fd, request.data(), request.size(), MSG_NOSIGNAL);
  char buffer[4096];
  for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;) answer.append(buffer, static_cast<size_t>(n));
  close(fd);
  return answer;
}

std::string HttpGet(int port, const std::string& path) {
  return HttpExchange(port, absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
}

std::string HealthOf(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  // HealthCheckRequest { string service = 1; }, HealthCheckResponse { ServingStatus status = 1; }: 1 SERVING, 2 NOT_SERVING.
  std::string request;
  if (!service.empty()) request = absl::StrCat("\x0a", std::string(1, static_cast<char>(service.size())), service);
  const auto [status, response] = CallWithBytes(channel, "/grpc.health.v1.Health/Check", request);
  if (!status.ok()) return status.error_message();
  if (response == "\x08\x01") return "SERVING";
  if (response == "\x08\x02") return "NOT_SERVING";
  return "other";
}

}  // namespace ration
