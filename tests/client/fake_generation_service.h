// A Generation service without an engine, over real gRPC on a free loopback port: replies what a test told it to and remembers
// what it was asked.
// Thread rule: set the public members before calls are made; read them after.
#ifndef RATION_TESTS_CLIENT_FAKE_GENERATION_SERVICE_H_
#define RATION_TESTS_CLIENT_FAKE_GENERATION_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_context.h>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "proto/generation.grpc.pb.h"

namespace ration::testing {

class FakeGenerationService final : public v1::Generation::Service {
 public:
  FakeGenerationService() : FakeGenerationService(grpc::InsecureServerCredentials()) {}
  explicit FakeGenerationService(const std::shared_ptr<grpc::ServerCredentials>& credentials);
  ~FakeGenerationService() override;

  const std::string& target() const { return target_; }  // HOST:PORT

  // Replies of GenerateStream, in order; Generate replies the first. Then the call ends with `status`.
  std::vector<v1::GenerateResponse> replies;
  grpc::Status status;
  // After the replies the stream stays open until the client has gone, and `client_gone` is notified.
  bool hang = false;
  absl::Notification client_gone;
  v1::GetModelInfoResponse model_info;

  // The last request of each kind.
  v1::GenerateRequest generate_request;
  v1::AbortRequest abort_request;
  v1::TokenizeRequest tokenize_request;
  v1::DetokenizeRequest detokenize_request;
  std::string authorization;  // the metadata of that name, of GetModelInfo and GenerateStream; "none" if there was none

 private:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        v1::GenerateResponse* response) override;
  grpc::Status GenerateStream(grpc::ServerContext* context, const v1::GenerateRequest* request,
                              grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status Abort(grpc::ServerContext* context, const v1::AbortRequest* request, v1::AbortResponse* response) override;
  // One token a byte: ids are the byte values, after id 1 for the beginning.
  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override;
  grpc::Status Detokenize(grpc::ServerContext* context, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override;
  grpc::Status GetModelInfo(grpc::ServerContext* context, const v1::GetModelInfoRequest* request,
                            v1::GetModelInfoResponse* response) override;

  std::string target_;
  std::unique_ptr<grpc::Server> server_;
};

// A status with google.rpc.RetryInfo among its details.
grpc::Status StatusWithRetryInfo(grpc::StatusCode code, const std::string& message, absl::Duration delay);

// A stream of three messages: "Once", " upon" and, with `finish`, " a time": 3 + 4 tokens over three experts.
std::vector<v1::GenerateResponse> StoryReplies();

}  // namespace ration::testing

#endif  // RATION_TESTS_CLIENT_FAKE_GENERATION_SERVICE_H_
